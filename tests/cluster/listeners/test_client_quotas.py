"""Quotas of clients: how long who waits, in virtual time."""

import pytest

from cluster.listeners.kafka import quotas as module
from cluster.listeners.kafka.quotas import BURST_S, ClientQuotas, throttle_ms
from kraft.metadata.client_quotas import (
    CLIENT_ID,
    CONSUMER_BYTE_RATE,
    PRODUCER_BYTE_RATE,
    USER,
    entity,
)

RATE = 100.0
FREE = int(RATE * BURST_S)


class House:
    def __init__(self, rates: dict[tuple[tuple[str, str | None], ...], float]) -> None:
        self.now_s = 1000.0
        self.rates = {
            entity(dict(parts)): {PRODUCER_BYTE_RATE: rate} for parts, rate in rates.items()
        }
        self.quotas = ClientQuotas(lambda: self.rates, lambda: self.now_s)

    def take(self, count: int, client: str = "c", key: str = PRODUCER_BYTE_RATE) -> float:
        return self.quotas.take(client, key, count)


def of_client(name: str | None, rate: float = RATE) -> House:
    return House({((CLIENT_ID, name),): rate})


def test_a_burst_is_free_and_then_the_rate_is_kept() -> None:
    house = of_client("c")
    assert house.take(FREE) == 0
    assert house.take(50) == pytest.approx(0.5)
    house.now_s += 0.5
    assert house.take(100) == pytest.approx(1.0)
    house.now_s += 1.0 + 2.0
    assert house.take(200) == 0
    assert house.take(1) == pytest.approx(0.01)


def test_over_time_nobody_gets_more_than_the_rate_and_the_burst() -> None:
    house, taken = of_client("c"), 0
    began_s = house.now_s
    while house.now_s < began_s + 1000:
        taken += 333
        house.now_s += max(house.take(333), 0.001)
    assert RATE * 1000 - 333 < taken <= RATE * 1000 + FREE + 333


def test_who_was_quiet_saves_up_no_more_than_a_burst() -> None:
    house = of_client("c")
    house.take(FREE)
    house.now_s += 1_000_000
    assert house.take(FREE) == 0
    assert house.take(1) > 0


def test_without_a_quota_nobody_waits() -> None:
    house = of_client("other")
    assert house.take(10**12) == 0
    assert of_client("c").take(10**12, key=CONSUMER_BYTE_RATE) == 0
    assert House({}).take(10**12) == 0


def test_a_default_is_for_each_client_by_itself() -> None:
    house = of_client(None)
    assert house.take(FREE + 1, "a") > 0
    assert house.take(FREE, "b") == 0


def test_a_users_quota_is_for_all_its_clients_together() -> None:
    """Everybody is ANONYMOUS as long as nobody can say who it is."""
    house = House({((USER, "ANONYMOUS"),): RATE})
    assert house.take(FREE, "a") == 0
    assert house.take(1, "b") > 0


ME = "ANONYMOUS"
ORDER: list[tuple[tuple[str, str | None], ...]] = [
    ((USER, ME), (CLIENT_ID, "c")),
    ((USER, ME), (CLIENT_ID, None)),
    ((USER, ME),),
    ((USER, None), (CLIENT_ID, "c")),
    ((USER, None), (CLIENT_ID, None)),
    ((USER, None),),
    ((CLIENT_ID, "c"),),
    ((CLIENT_ID, None),),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_closest_quota_counts(first: int) -> None:
    """KIP-55."""
    others = dict.fromkeys(ORDER[first + 1 :], 1e9)
    house = House({**others, ORDER[first]: RATE})
    assert house.take(FREE) == 0
    assert house.take(1) > 0


def test_a_quota_for_other_bytes_hides_none() -> None:
    house = of_client(None)
    house.rates[entity({CLIENT_ID: "c"})] = {CONSUMER_BYTE_RATE: 1.0}
    assert house.take(FREE + 1) > 0


def test_a_changed_rate_holds_at_once() -> None:
    house = of_client("c")
    house.take(FREE + 100)
    house.rates[entity({CLIENT_ID: "c"})] = {PRODUCER_BYTE_RATE: 10 * RATE}
    assert house.take(0) == pytest.approx(0.1)
    house.rates.clear()
    assert house.take(10**9) == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Client ids are strangers' words."""
    monkeypatch.setattr(module, "BUCKETS_MAX", 3)
    house = of_client(None)
    for name in ("a", "b", "c"):
        house.take(FREE + 1, name)
    house.take(0, "a")
    house.take(1, "d")
    assert house.take(0, "a") > 0
    assert house.take(0, "b") == 0, "who was quiet for longest is forgotten"


def test_a_reader_is_given_no_more_at_once_than_it_may_use_in_advance() -> None:
    house = of_client("c")
    assert house.quotas.most("c", PRODUCER_BYTE_RATE, 10**9) == FREE
    assert house.quotas.most("c", PRODUCER_BYTE_RATE, 5) == 5
    assert house.quotas.most("x", PRODUCER_BYTE_RATE, 10**9) == 10**9


def test_a_wait_is_told_in_whole_milliseconds() -> None:
    assert [throttle_ms(each) for each in (0.0, 1e-9, 1.0, 1e12)] == [0, 1, 1000, 2**31 - 1]

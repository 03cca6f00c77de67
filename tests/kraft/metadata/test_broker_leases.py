"""Leases: silence is noticed, suspicion shortens it, a new controller begins with fresh ones."""

from hypothesis import given
from hypothesis import strategies as st

from kraft.metadata.broker_leases import WORD_SESSIONS, BrokerLeases
from tests.kraft.metadata.lab import Lab


def leases() -> BrokerLeases:
    return BrokerLeases(session_ms=1000, suspect_ms=100)


def test_a_silent_broker_is_named_once() -> None:
    watch = leases()
    watch.touch(1, 0)
    watch.touch(2, 500)
    assert watch.next_deadline() == 1000
    assert watch.expired(999) == []
    assert watch.expired(1000) == [1]
    assert watch.expired(1000) == []
    assert watch.next_deadline() == 1500
    watch.touch(1, 1200)
    assert watch.expired(1500) == [2]
    assert watch.next_deadline() == 2200


def test_a_suspect_has_little_time_and_a_word_from_it_is_enough() -> None:
    watch = leases()
    watch.touch(1, 0)
    watch.suspect(1, 50)
    assert watch.next_deadline() == 150
    watch.touch(1, 140)
    assert watch.expired(150) == []
    assert watch.next_deadline() == 1140


def test_suspicion_never_lengthens_a_lease_and_makes_none() -> None:
    watch = leases()
    watch.touch(1, 0)
    watch.suspect(1, 950)
    watch.suspect(2, 0)
    assert watch.next_deadline() == 1000


def test_the_time_in_which_the_controller_did_not_run_is_nobodys_silence() -> None:
    watch = leases()
    watch.touch(1, 0)
    watch.held_up(700)
    assert watch.expired(1699) == []
    assert watch.expired(1700) == [1]
    assert not watch.watches(1)
    watch.touch(1, 1710)
    assert watch.watches(1)


def test_who_answers_the_quorum_is_not_silent_though_its_heartbeats_are_late() -> None:
    contact = {1: 850, 2: 300}
    watch = BrokerLeases(1000, 100, contact.__getitem__)
    watch.touch(1, 0)
    watch.touch(2, 200)
    assert watch.expired(1000) == []
    assert watch.next_deadline() == 1200
    assert watch.expired(1200) == [2]
    assert watch.expired(1749) == []
    contact[1] = 1700
    assert watch.expired(1750) == []
    assert watch.next_deadline() == 2600
    watch.touch(1, 2590)
    assert watch.next_deadline() == 3590


def test_the_quorums_word_is_not_taken_for_ever() -> None:
    """A broker whose quorum part is well may be stuck all the same."""
    now = 0
    watch = BrokerLeases(1000, 100, lambda _: now)
    watch.touch(1, 0)
    fenced: list[int] = []
    while not fenced:
        now += 10
        fenced = watch.expired(now)
    assert now == WORD_SESSIONS * 1000


def test_a_contact_from_before_the_take_over_is_no_sign_of_life() -> None:
    """The predecessor's short lease: to be elected is to begin with a contact to everybody."""
    lab = Lab(3)
    watch = BrokerLeases(1000, 100, lambda _: 0)
    watch.take_over(lab.image, 0, suspects=[3])
    assert watch.expired(100) == [3]


def test_a_new_controller_gives_the_unfenced_a_fresh_lease_and_the_last_controller_a_short_one() -> (
    None
):
    lab = Lab(4)
    lab.fence(4)
    watch = leases()
    watch.touch(9, 0)
    watch.take_over(lab.image, 5000, suspects=[2, 4])
    assert watch.expired(5100) == [2]
    assert watch.expired(5999) == []
    assert watch.expired(6000) == [1, 3]
    assert watch.next_deadline() is None


def test_a_forgotten_broker_is_not_watched() -> None:
    watch = leases()
    watch.touch(1, 0)
    watch.forget(1)
    assert watch.next_deadline() is None
    assert watch.expired(9999) == []


def test_what_all_unfenced_brokers_have_applied() -> None:
    lab = Lab(3)
    watch = leases()
    watch.take_over(lab.image, 0)
    assert watch.lowest_offset(lab.image) == -1, "two have not said anything to this controller"
    for node_id, offset in [(1, 10), (2, 7), (3, 9)]:
        watch.touch(node_id, 0, offset)
    assert watch.lowest_offset(lab.image) == 7
    watch.touch(2, 1, 3)
    assert watch.lowest_offset(lab.image) == 7, "an older word overtaken by a newer one"
    lab.fence(2)
    assert watch.lowest_offset(lab.image) == 9
    lab.fence(1, 3)
    assert watch.lowest_offset(lab.image) == lab.image.offset


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 300), st.booleans()), max_size=40))
def test_who_is_named_was_silent_and_who_was_silent_is_named(
    words: list[tuple[int, int, bool]],
) -> None:
    watch = leases()
    heard: dict[int, int] = {}
    doubted: dict[int, int] = {}
    now = 0
    for node_id, pause, doubt in words:
        now += pause
        for late in watch.expired(now):
            silent = now - heard.pop(late)
            assert silent >= 1000 or (late in doubted and now - doubted[late] >= 100)
        assert all(now - since < 1000 for since in heard.values())
        if doubt:
            watch.suspect(node_id, now)
            doubted.setdefault(node_id, now)
        else:
            watch.touch(node_id, now)
            heard[node_id] = now
            doubted.pop(node_id, None)

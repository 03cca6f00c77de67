"""How soon a connection is given records again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.listeners.kafka.fetch_pace import CREDIT_S, FetchPace, is_librdkafka
from cluster.listeners.kafka.request import Software

RATE = 1_000_000


@pytest.mark.parametrize(
    ("name", "version", "found"),
    [
        ("librdkafka", "2.16.0", True),
        ("confluent-kafka-python", "2.16.1-librdkafka-2.16.0", True),
        ("apache-kafka-java", "4.3.1", False),
        ("", "", False),
    ],
)
def test_librdkafka_is_known_by_name_or_version(name: str, version: str, found: bool) -> None:
    assert is_librdkafka(Software(name, version)) is found


def test_what_was_given_delays_the_next_by_its_size() -> None:
    assert FetchPace(RATE).next_s([bytes(200_000), bytes(300_000)], 7.0, 7.0) == 7.5


def test_a_long_silence_is_no_credit() -> None:
    assert FetchPace(RATE).next_s([bytes(1_000_000)], 7.0, 100.0) == 101.0 - CREDIT_S


@given(st.lists(st.tuples(st.integers(0, 3_000_000), st.floats(0, 0.2)), min_size=1))
def test_nobody_is_given_more_than_the_rate_but_the_first_answer(
    answers: list[tuple[int, float]],
) -> None:
    """`late_s`: how much later than due the answer is ready."""
    pace, due_s, now_s, sent = FetchPace(RATE), 0.0, 0.0, 0
    for size, late_s in answers:
        now_s = max(now_s, due_s) + late_s
        assert sent <= (now_s + CREDIT_S) * RATE + 1
        due_s = pace.next_s([bytes(size)], due_s, now_s)
        sent += size

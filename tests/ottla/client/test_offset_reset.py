"""Where positions are moved to, as kafka-consumer-groups would."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.client.errors import ClientError
from ottla.client.offset_reset import (
    Known,
    Move,
    Scenario,
    chosen,
    datetime_ms,
    duration_ms,
    exported,
    imported,
    planned,
)
from ottla.client.records import TopicPartition

WHERE = TopicPartition("orders", 0)
COMMITTED = Known(committed=50, start=10, end=100, by_time=70)
NEW = Known(committed=-1, start=10, end=100)


@pytest.mark.parametrize(
    ("scenario", "known", "number", "after", "note"),
    [
        (Scenario.EARLIEST, COMMITTED, 0, 10, ""),
        (Scenario.LATEST, COMMITTED, 0, 100, ""),
        (Scenario.CURRENT, COMMITTED, 0, 50, ""),
        (Scenario.CURRENT, NEW, 0, 100, ""),
        (Scenario.OFFSET, COMMITTED, 60, 60, ""),
        (Scenario.OFFSET, COMMITTED, 3, 10, "3 is before the start: 10 instead"),
        (Scenario.OFFSET, NEW, 300, 100, "300 is beyond the end: 100 instead"),
        (Scenario.SHIFT, COMMITTED, 7, 57, ""),
        (Scenario.SHIFT, COMMITTED, -7, 43, ""),
        (Scenario.SHIFT, COMMITTED, -70, 10, "-20 is before the start: 10 instead"),
        (Scenario.TIME, COMMITTED, 0, 70, ""),
        (Scenario.TIME, NEW, 0, 100, ""),
    ],
)
def test_scenarios(scenario: Scenario, known: Known, number: int, after: int, note: str) -> None:
    assert planned("g", scenario, {WHERE: known}, number=number) == [
        Move("g", WHERE, known.committed, after, note)
    ]


def test_what_has_no_position_cannot_be_shifted() -> None:
    with pytest.raises(ClientError, match="orders-0 has no committed offset to shift"):
        planned("g", Scenario.SHIFT, {WHERE: NEW}, number=1)


@given(
    st.dictionaries(
        st.builds(
            TopicPartition,
            st.text('ab,"- ', min_size=1).map(lambda each: f"t{each}t"),
            st.integers(0, 9),
        ),
        st.integers(0, 2**62),
        max_size=5,
    ),
    st.booleans(),
)
def test_a_plan_that_was_exported_is_read_back(
    offsets: dict[TopicPartition, int], with_group: bool
) -> None:
    moves = [Move("g", where, -1, offset) for where, offset in offsets.items()]
    text = exported(moves, with_group=with_group)
    assert imported(text, ["g"]) == ({"g": offsets} if offsets else {})


def test_the_csv_is_kafkas() -> None:
    moves = [Move("g", WHERE, 1, 5)]
    assert exported(moves, with_group=False) == "orders,0,5\n"
    assert exported(moves, with_group=True) == "g,orders,0,5\n"


@pytest.mark.parametrize("line", ["orders", "orders,x,5", "orders,0,", "a,b,c,d,e"])
def test_lines_that_are_none_are_named(line: str) -> None:
    with pytest.raises(ClientError, match="line 2"):
        imported(f"orders,0,1\n{line}\n", ["g"])


def test_times() -> None:
    assert duration_ms("P1DT2H3M4.5S") == ((26 * 60 + 3) * 60 + 4) * 1000 + 500
    assert duration_ms("PT10M") == 600_000
    assert datetime_ms("1970-01-01T00:01:00.000") == 60_000
    assert datetime_ms("1970-01-01T01:00:00+01:00") == 0
    for wrong in ("P", "10M", "PT", ""):
        with pytest.raises(ValueError, match="ISO 8601"):
            duration_ms(wrong)


def test_topics_with_partitions() -> None:
    assert chosen("orders") == ("orders", None)
    assert chosen("orders:0,2") == ("orders", [0, 2])
    with pytest.raises(ValueError, match="not like orders"):
        chosen("orders:a")

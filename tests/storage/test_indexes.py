"""Sparse indexes, of offsets and of times, against a full list."""

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import UnreadableFileError
from storage.offset_index import OffsetIndex
from storage.time_index import TimeIndex

BASE = 10**12
COLUMN = st.lists(st.integers(1, 2**31 - 1), unique=True, max_size=40).map(sorted)


@given(COLUMN, COLUMN, st.integers(0, 2**31))
def test_the_floor_is_the_last_entry_at_or_before(
    offsets: list[int], positions: list[int], asked: int
) -> None:
    pairs = list(zip(offsets, positions, strict=False))
    index = OffsetIndex(BASE)
    for offset, position in pairs:
        index.append(BASE + offset, position)
    place = bisect_right([offset for offset, _ in pairs], asked)
    expected = (BASE + pairs[place - 1][0], pairs[place - 1][1]) if place else (BASE, 0)
    assert index.floor(BASE + asked) == expected
    again = OffsetIndex.decode(BASE, index.encode(), 2**31)
    assert again.floor(BASE + asked) == expected
    again.truncate(BASE + asked)
    assert len(again) == sum(offset < asked for offset, _ in pairs)


def test_the_bytes_are_kafkas() -> None:
    index, times = OffsetIndex(100), TimeIndex(100)
    index.append(101, 4096)
    times.append(7, 102)
    assert index.encode() == bytes.fromhex("0000000100001000")
    assert times.encode() == bytes.fromhex("000000000000000700000002")


@pytest.mark.parametrize("data", [b"x", bytes(16), bytes.fromhex("0000000100001000")])
def test_an_offset_index_that_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFileError):
        OffsetIndex.decode(0, data, 4096)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(-1, 51), st.integers(0, 45))
def test_no_record_at_or_after_a_time_lies_before_the_index_answer(
    stamps: list[int], asked: int, end: int
) -> None:
    times, best = TimeIndex(BASE), (-1, -1)
    for number, stamp in enumerate(stamps):
        if stamp > best[0]:
            best = (stamp, number)
        if number % 3 == 0:
            times.append(best[0], BASE + best[1])
    start = times.offset_before(asked) - BASE
    assert all(stamp < asked for stamp in stamps[:start])
    again = TimeIndex.decode(BASE, times.encode())
    found = again.largest_before(BASE + end)
    if found is not None:
        assert found[1] - BASE < end
        assert stamps[found[1] - BASE] == found[0]
    again.truncate(BASE + end)
    assert all(again.entry(index)[1] < BASE + end for index in range(len(again)))


@pytest.mark.parametrize("data", [b"x", bytes(24)])
def test_a_time_index_that_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableFileError):
        TimeIndex.decode(0, data)

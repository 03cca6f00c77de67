"""Long reads of a log leave the loop to others, and notice what others did meanwhile."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from storage.log_config import LogConfig
from storage.log_replay import before_cut
from storage.partition_log import PartitionLog
from storage.steps import BATCHES_PER_STEP
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch, run

T = TypeVar("T")
STEPS = 4
BATCHES = STEPS * BATCHES_PER_STEP


@pytest.fixture
def log() -> PartitionLog:
    """One segment of a producer's batches; the first has the largest timestamp, so that no index helps."""
    made = PartitionLog.create(SimDisk(random.Random(1)), "t-0", LogConfig())
    for number in range(BATCHES):
        stamp = NOW_MS + (1000 if number == 0 else 0)
        data = batch(b"v", timestamp_ms=stamp, producer_id=7, base_sequence=number)
        made.append_as_leader(data, 0, NOW_MS)
    made.advance_log_start(1)
    return made


async def _among_others(work: Awaitable[T], meanwhile: Callable[[int], None]) -> T:
    """`meanwhile` is called with 1, 2, ... whenever the loop has time for somebody else."""
    done = asyncio.Event()

    async def others() -> None:
        turns = 0
        while not done.is_set():
            turns += 1
            meanwhile(turns)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(others())
        result = await work
        done.set()
    return result


def test_a_search_through_a_whole_segment_lets_others_run(log: PartitionLog) -> None:
    turns: list[int] = []
    found = run(_among_others(log.max_timestamp(end_offset=BATCHES), turns.append))
    assert found == (1, NOW_MS, 0)
    assert len(turns) >= STEPS - 1
    turns.clear()
    asked = log.offset_for_timestamp(NOW_MS + 1, end_offset=BATCHES)
    assert run(_among_others(asked, turns.append)) is None
    assert len(turns) >= STEPS - 1


def test_a_search_begins_anew_when_its_segments_are_cut_or_gone(log: PartitionLog) -> None:
    log.append_as_leader(batch(b"late", timestamp_ms=NOW_MS + 5), 0, NOW_MS)

    def cut(turn: int) -> None:
        if turn == 2:
            log.truncate_to(BATCHES)

    asked = log.offset_for_timestamp(NOW_MS + 2, end_offset=BATCHES + 1)
    assert run(_among_others(asked, cut)) is None

    def lose_the_first_segment(turn: int) -> None:
        if turn == 2:
            log.roll(NOW_MS)
            log.append_as_leader(batch(b"new", timestamp_ms=NOW_MS + 3), 0, NOW_MS)
            log.segments.pop(0).file.close()

    asked = log.offset_for_timestamp(NOW_MS + 2, end_offset=BATCHES + 1)
    assert run(_among_others(asked, lose_the_first_segment)) == (BATCHES, NOW_MS + 3, 0)
    assert log.offline is None


def test_producers_read_before_a_cut_are_those_that_the_cut_would_read(log: PartitionLog) -> None:
    turns: list[int] = []
    known = run(_among_others(before_cut(log, BATCHES - 10), turns.append))
    assert known is not None
    assert len(turns) >= STEPS - 1
    log.truncate_to(BATCHES - 10, known)
    assert log.segments[0].max_timestamp == NOW_MS + 1000
    again = log.append_as_leader(
        batch(b"v", timestamp_ms=NOW_MS, producer_id=7, base_sequence=BATCHES - 10), 0, NOW_MS
    )
    assert (again.duplicate, again.base_offset) == (False, BATCHES - 10)


def test_what_was_read_before_another_cut_is_not_believed(log: PartitionLog) -> None:
    async def two_cuts() -> None:
        known = await before_cut(log, BATCHES - 10)
        log.truncate_to(BATCHES - 20)
        for number in range(20):
            data = batch(b"w", timestamp_ms=NOW_MS, producer_id=8, base_sequence=number)
            log.append_as_leader(data, 0, NOW_MS)
        log.truncate_to(BATCHES - 10, known)

    run(two_cuts())
    assert set(log.producers.view()) == {7, 8}


def test_nothing_is_read_where_there_is_nothing_to_know(log: PartitionLog) -> None:
    assert run(before_cut(log, BATCHES)) is None
    assert run(before_cut(log, 0)) is None, "below the log's start nothing is kept"

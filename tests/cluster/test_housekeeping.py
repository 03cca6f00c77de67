"""Retention, compaction, and replicas that go away while they are looked at."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.housekeeping import Housekeeping
from cluster.replication.partition import Partition
from cluster.replication.replica_manager import Clock
from storage.compactor import NOTHING, CompactionResult
from storage.log_config import LogConfig
from storage.record_stream import decode_batches
from tests.cluster.replication.replicas import flush, lead, replica
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS, batch

HOUR_MS = 3_600_000


def keeper(*partitions: Partition, now_ms: int = NOW_MS) -> tuple[Housekeeping, Any]:
    manager: Any = SimpleNamespace(partitions={each.identity: each for each in partitions})
    return Housekeeping(manager, Clock(lambda: 0, lambda: now_ms)), manager


def filled(index: int = 0, **config: Any) -> Partition:
    """Ten batches, the same three keys over and over, one segment each, all committed."""
    partition = replica(1, index)
    partition.log.reconfigure(LogConfig(segment_bytes=64, **config))
    lead(partition, 1, isr=(1,), min_isr=1)
    for number in range(10):
        data = batch(b"%d" % number, key=b"k%d" % (number % 3))
        partition.append_as_leader(data, acks_all=True, now_wall_ms=NOW_MS, now_ms=0)
        flush(partition)
    assert partition.high_watermark == 10
    return partition


def values(partition: Partition) -> list[bytes | None]:
    found = []
    offset = partition.log.log_start_offset
    while offset < partition.log.log_end_offset:
        data = partition.read_committed(offset, 1 << 20)
        found += [record.value for record in decode_batches(data.batches)]
        offset = data.next_offset
    return found


def test_old_segments_go() -> None:
    partition = filled(retention_ms=HOUR_MS)
    house, _ = keeper(partition, now_ms=NOW_MS + 2 * HOUR_MS)
    simulate(house.tidy())
    assert partition.log.log_start_offset == 10


def test_a_compacted_topic_keeps_the_newest_of_each_key() -> None:
    partition = filled(cleanup_policy="compact", min_cleanable_dirty_ratio=0.0)
    house, _ = keeper(partition)
    simulate(house.tidy())
    assert values(partition) == [b"6", b"7", b"8", b"9"], "the active segment is never compacted"


@pytest.mark.parametrize("policy", ["delete", "compact"])
def test_what_is_not_committed_is_left_alone(policy: str) -> None:
    """I6: a follower may still need it, and the record that it stands for may be cut away again."""
    partition = filled(cleanup_policy=policy, min_cleanable_dirty_ratio=0.0, retention_ms=HOUR_MS)
    partition.role.high_watermark = 3
    house, _ = keeper(partition, now_ms=NOW_MS + 2 * HOUR_MS)
    simulate(house.tidy())
    partition.role.high_watermark = 10
    assert values(partition)[-7:] == [b"%d" % number for number in range(3, 10)]


def test_closed_segments_are_settled_so_that_a_start_need_not_read_them() -> None:
    partition = filled()
    house, _ = keeper(partition)
    simulate(house.tidy())
    assert all(segment.settled for segment in partition.log.segments[:-1])


@pytest.mark.parametrize(("threads", "together"), [(1, 1), (2, 2), (9, 3)])
def test_so_many_logs_are_worked_on_at_a_time(threads: int, together: int) -> None:
    """`log.cleaner.threads`."""
    busy = most = 0

    async def compact(**_: int) -> CompactionResult:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(1)
        busy -= 1
        return NOTHING

    partitions = [filled(index, cleanup_policy="compact") for index in range(3)]
    for each in partitions:
        each.log.compact = compact  # type: ignore[method-assign]
    manager: Any = SimpleNamespace(partitions={each.identity: each for each in partitions})
    clock = Clock(lambda: 0, lambda: NOW_MS)
    simulate(Housekeeping(manager, clock, at_a_time=lambda: threads).tidy())
    assert (most, busy) == (together, 0)


@pytest.mark.parametrize("steps", range(0, 60, 3))
def test_a_replica_that_goes_away_meanwhile_disturbs_nothing(steps: int) -> None:
    async def run() -> None:
        going = filled(0, cleanup_policy="compact", min_cleanable_dirty_ratio=0.0)
        staying = filled(1, cleanup_policy="compact", min_cleanable_dirty_ratio=0.0)
        house, manager = keeper(going, staying)
        tidying = asyncio.get_running_loop().create_task(house.tidy())
        for _ in range(steps):
            await asyncio.sleep(0)
        manager.partitions.pop(going.identity)
        going.close()
        await going.log.close(clean=False)
        await tidying
        assert values(staying) == [b"6", b"7", b"8", b"9"]

    simulate(run())

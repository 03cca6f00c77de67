"""A replica: check and append are one step, waiters belong to their epoch, readers see what is committed."""

import errno

import pytest

from cluster.errors import (
    FencedLeaderEpochError,
    NotEnoughReplicasError,
    NotLeaderError,
    UnknownLeaderEpochError,
)
from cluster.replication.disk_guard import DiskGuard
from cluster.replication.partition import Appended, Partition
from storage.errors import DiskFullError, LogOfflineError, OffsetOutOfRangeError
from tests.cluster.replication.replicas import append, disk, flush, lead, replica
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS, batch


def put(partition: Partition, data: bytes, *, acks_all: bool = True) -> Appended:
    return partition.append_as_leader(data, acks_all=acks_all, now_wall_ms=NOW_MS, now_ms=0)


def ack(partition: Partition, offset: int) -> None:
    moved = partition.leader().follower_acked(
        2, offset, log_end_offset=partition.log.log_end_offset, broker_epoch=1, now_ms=0
    )
    if moved:
        partition.commit()


def test_a_follower_refuses_and_names_the_leader() -> None:
    partition = replica(1)
    partition.become_follower(2, 4)
    with pytest.raises(NotLeaderError) as raised:
        put(partition, batch())
    assert (raised.value.leader_id, raised.value.leader_epoch) == (2, 4)


def test_too_few_in_sync_replicas_append_nothing_for_acks_all() -> None:
    partition = replica(1)
    lead(partition, 1, isr=(1,))
    with pytest.raises(NotEnoughReplicasError):
        put(partition, batch())
    assert partition.log.log_end_offset == 0
    assert put(partition, batch(), acks_all=False).base_offset == 0


def test_epochs_are_compared_as_kip_320_says() -> None:
    partition = replica(1)
    lead(partition, 5)
    partition.check_epoch(-1)
    partition.check_epoch(5)
    with pytest.raises(FencedLeaderEpochError):
        partition.check_epoch(4)
    with pytest.raises(UnknownLeaderEpochError):
        partition.check_epoch(6)


def test_a_leader_epoch_is_in_the_log_before_its_first_record() -> None:
    """KIP-101: a follower that asks for it must not be told of an older one."""
    partition = replica(1)
    lead(partition, 3)
    assert partition.log.latest_epoch == 3


def test_a_waiter_is_done_when_leader_and_follower_are_durable() -> None:
    async def run() -> None:
        partition = replica(1)
        lead(partition, 1)
        done = partition.committed(put(partition, batch()))
        assert done is not None
        ack(partition, 1)
        assert not done.done()
        flush(partition)
        assert done.done()
        assert partition.committed(Appended(0, 1, -1, 1)) is None

    simulate(run())


@pytest.mark.parametrize("again", [False, True])
def test_a_waiter_is_never_done_by_another_epoch(again: bool) -> None:
    """KAFKA-20634: the offset may be reached by other records, even when this node leads again."""

    async def run() -> None:
        partition = replica(1)
        lead(partition, 1)
        done = partition.committed(put(partition, batch()))
        assert done is not None
        if again:
            lead(partition, 2)
        else:
            partition.become_follower(2, 2)
            partition.truncate(0)
            partition.log.append_as_follower(batch(b"x", b"y", leader_epoch=2), NOW_MS)
            partition.follower_saw(2)
            partition.commit()
        with pytest.raises(NotLeaderError):
            await done

    simulate(run())


def test_a_wait_must_begin_in_the_epoch_of_its_append() -> None:
    """KAFKA-20634: the high watermark of this epoch says nothing of what the last one appended."""

    async def run() -> None:
        partition = replica(1)
        lead(partition, 1)
        appended = put(partition, batch())
        flush(partition)
        lead(partition, 2)
        ack(partition, 1)
        assert partition.high_watermark == 1
        with pytest.raises(NotLeaderError):
            partition.committed(appended)

    simulate(run())


def test_a_change_of_roles_keeps_the_high_watermark() -> None:
    """No more is committed by it (I6), and nothing is committed no longer."""
    partition = replica(1)
    lead(partition, 1)
    append(partition, b"a")
    ack(partition, 1)
    append(partition, b"b")
    partition.become_follower(2, 2)
    assert partition.high_watermark == 1
    lead(partition, 3)
    assert partition.high_watermark == 1


def test_what_is_cut_away_is_not_called_committed() -> None:
    """I6: after an unclean election the leader may not have what was committed here."""
    partition = replica(1)
    lead(partition, 1)
    append(partition, b"a")
    append(partition, b"b")
    ack(partition, 2)
    partition.become_follower(2, 2)
    assert partition.high_watermark == 2
    partition.truncate(1)
    assert partition.high_watermark == 1
    partition.restart_at(10)
    assert partition.high_watermark == 10


def test_an_append_counts_who_was_caught_up_until_then() -> None:
    """After a silence a follower must not be called lagging because of records that it cannot have yet."""
    partition = replica(1)
    state = lead(partition, 1)
    ack(partition, 0)
    partition.append_as_leader(batch(), acks_all=False, now_wall_ms=NOW_MS, now_ms=60_000)
    assert state.lagging(1, 10_000, 60_001) == frozenset()


def test_the_reserve_of_the_disk_is_left_to_the_metadata() -> None:
    """S7: neither producers nor leaders may fill it."""
    guard = DiskGuard(disk())
    partition = replica(1, guard=guard)
    lead(partition, 1)
    guard.full = True
    with pytest.raises(DiskFullError):
        put(partition, batch())
    partition.become_follower(2, 2)
    with pytest.raises(DiskFullError):
        partition.append_as_follower(batch(leader_epoch=2), NOW_MS)
    assert partition.log.log_end_offset == 0


def test_a_waiter_of_a_closed_or_broken_replica_is_told() -> None:
    async def run() -> None:
        for end in (Partition.close, lambda each: each.went_offline(OSError(errno.EIO, "bad"))):
            partition = replica(1)
            lead(partition, 1)
            done = partition.committed(put(partition, batch()))
            assert done is not None
            end(partition)
            with pytest.raises(NotLeaderError):
                await done

    simulate(run())


def test_a_duplicate_waits_for_the_first_sending() -> None:
    """G4: the retry of an unacknowledged batch is not appended, and not acknowledged before the batch is."""

    async def run() -> None:
        partition = replica(1)
        lead(partition, 1)
        one = batch(b"1", producer_id=9, base_sequence=0)
        two = batch(b"2", producer_id=9, base_sequence=1)
        first = put(partition, one)
        later = partition.committed(put(partition, two))
        again = put(partition, one)
        assert (again.base_offset, again.end_offset) == (first.base_offset, first.end_offset)
        waiting = partition.committed(again)
        assert waiting is not None
        assert later is not None
        flush(partition)
        ack(partition, 1)
        assert waiting.done()
        assert not later.done()

    simulate(run())


def test_readers_see_what_is_committed_and_no_more() -> None:
    partition = replica(1)
    lead(partition, 1)
    append(partition, b"a")
    append(partition, b"b")
    ack(partition, 1)
    assert partition.read_committed(0, 1 << 20).next_offset == 1


def test_between_the_high_watermark_and_the_log_end_there_is_nothing_yet_and_no_error() -> None:
    """A new leader's high watermark lags; who read further with the old one stays where it is."""
    partition = replica(1)
    lead(partition, 1)
    append(partition, b"a", b"b")
    assert tuple(partition.read_committed(2, 1 << 20)) == (b"", 2)
    with pytest.raises(OffsetOutOfRangeError):
        partition.read_committed(3, 1 << 20)


def test_an_io_error_ends_the_leadership_and_is_told_once() -> None:
    """S1, KAFKA-10778."""
    broken = disk()
    partition = replica(1, on=broken)
    lead(partition, 1)
    told: list[int] = []
    partition.on_offline.add(lambda: told.append(1))
    broken.fail_writes = errno.EIO
    with pytest.raises(LogOfflineError):
        put(partition, batch())
    broken.fail_writes = 0
    with pytest.raises(NotLeaderError):
        put(partition, batch())
    assert told == [1]


def test_a_full_disk_is_no_reason_to_go_offline() -> None:
    """S7: refused, retriable, until there is room; reads go on."""
    full = disk()
    guard = DiskGuard(full, reserve_bytes=0)
    partition = replica(1, on=full, guard=guard)
    lead(partition, 1, min_isr=1, isr=(1,))
    append(partition, b"a")
    full.fail_writes = errno.ENOSPC
    with pytest.raises(DiskFullError) as raised:
        put(partition, batch())
    assert raised.value.retriable
    full.fail_writes = 0
    assert guard.full
    assert partition.read_committed(0, 1 << 20).next_offset == 1
    guard.look()
    assert put(partition, batch()).base_offset == 1

"""Fetch: minimum bytes, waiting, limits that no large batch can block, and ListOffsets beside it."""

import asyncio
from typing import Any

import pytest

from cluster.errors import (
    FencedLeaderEpochError,
    NotLeaderError,
    OffsetNotAvailableError,
    UnknownLeaderEpochError,
    UnknownTopicOrPartitionError,
)
from cluster.handlers.fetch import FROM_LEADER, Fetched, FetchFrom, FetchHandler, Reader
from cluster.handlers.offsets import OffsetsHandler, OffsetSpec
from cluster.replication.partition import Partition
from cluster.replication.read_replica import ReplicaBehindError
from storage.errors import OffsetOutOfRangeError
from storage.log_config import LogConfig
from tests.cluster.replication.replicas import append, lead, replica
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS, batch, run


def leading(index: int = 0, *sizes: int) -> Partition:
    """A partition of one batch for each size, all committed."""
    partition = replica(1, index)
    partition.log.reconfigure(LogConfig(max_message_bytes=1 << 20))
    lead(partition, 1, isr=(1,), min_isr=1)
    for size in sizes:
        append(partition, b"x" * size)
    return partition


def handler(*partitions: Partition) -> FetchHandler:
    return FetchHandler(lookup(*partitions))


def lookup(*partitions: Partition):  # type: ignore[no-untyped-def]
    def find(topic: str, index: int) -> Partition:
        for each in partitions:
            if each.identity.partition == index:
                return each
        raise UnknownTopicOrPartitionError(f"there is no {topic}-{index}")

    return find


def at(offset: int, index: int = 0, *, epoch: int = -1, max_bytes: int = 1 << 20) -> FetchFrom:
    return FetchFrom("t", index, offset, epoch, max_bytes)


def fetch(
    to: FetchHandler, *requests: FetchFrom, wait_s: float = 0.0, least: int = 1, most: int = 1 << 20
) -> tuple[list[Fetched], float]:
    """The results, and how long they took in virtual seconds."""

    async def run() -> tuple[list[Fetched], float]:
        began_s = asyncio.get_running_loop().time()
        found = await to.fetch(requests, max_wait_s=wait_s, min_bytes=least, max_bytes=most)
        return found, asyncio.get_running_loop().time() - began_s

    return simulate(run())


def test_what_is_there_is_answered_at_once() -> None:
    found, took_s = fetch(handler(leading(0, 10, 10)), at(0), wait_s=5.0)
    assert found[0].next_offset == 2
    assert took_s == 0


def test_nothing_new_is_waited_for_as_long_as_was_asked() -> None:
    found, took_s = fetch(handler(leading(0, 10)), at(1), wait_s=0.5)
    assert found[0].next_offset == 1
    assert found[0].error is None
    assert took_s == pytest.approx(0.5)


def test_the_wait_ends_when_there_is_enough() -> None:
    async def run() -> None:
        partition = leading()
        loop = asyncio.get_running_loop()
        for index in range(10):
            loop.call_later(0.1 * (index + 1), append, partition, b"x" * 100)
        began_s = loop.time()
        found = await handler(partition).fetch(
            [at(0)], max_wait_s=5.0, min_bytes=350, max_bytes=1 << 20
        )
        assert len(found[0].batches) >= 350
        assert loop.time() - began_s == pytest.approx(0.3)
        assert not len(partition.on_commit)

    simulate(run())


def test_while_it_waits_only_what_has_moved_is_read_again() -> None:
    async def run() -> None:
        partitions = [leading(index) for index in range(50)]
        read: list[int] = []

        class Counting(FetchHandler):
            def read(self, request: FetchFrom, max_bytes: int, **how: Any) -> Fetched:
                read.append(request.partition)
                return super().read(request, max_bytes, **how)

        house = Counting(lookup(*partitions))
        loop = asyncio.get_running_loop()
        for turn in (1, 2, 3):
            loop.call_later(0.1 * turn, append, partitions[7], b"x" * 100)
        loop.call_later(0.25, append, partitions[9], b"x" * 100)
        found = await house.fetch(
            [at(0, index) for index in range(50)], max_wait_s=5.0, min_bytes=600, max_bytes=1000
        )
        assert read == [*range(50), 7, 7, 9, 7]
        assert [each.next_offset for each in found if each.next_offset] == [3, 1]
        assert sum(len(each.on_commit) for each in partitions) == 0

    simulate(run())


def test_a_batch_larger_than_every_limit_still_comes() -> None:
    found, _ = fetch(handler(leading(0, 5000)), at(0, max_bytes=100), most=100)
    assert found[0].next_offset == 1


def test_only_the_first_partition_with_data_may_exceed_the_limit() -> None:
    """Every partition gets its answer, and the whole stays below the limit and one batch."""
    house = handler(leading(0, 5000), leading(1, 5000), leading(2, 10))
    found, _ = fetch(house, at(0), at(0, 1), at(0, 2), most=100)
    assert [each.next_offset for each in found] == [1, 0, 0]
    assert [each.high_watermark for each in found] == [1, 1, 1]


def test_an_error_ends_the_wait_at_once() -> None:
    found, took_s = fetch(handler(leading()), at(0), at(0, 9), wait_s=5.0)
    assert isinstance(found[1].error, UnknownTopicOrPartitionError)
    assert took_s == 0


def test_a_lost_leadership_ends_the_wait() -> None:
    async def run() -> None:
        partition = leading()
        loop = asyncio.get_running_loop()
        loop.call_later(0.2, partition.become_follower, 2, 2)
        began_s = loop.time()
        found = await handler(partition).fetch([at(0)], max_wait_s=5.0, min_bytes=1, max_bytes=100)
        assert isinstance(found[0].error, NotLeaderError)
        assert loop.time() - began_s == pytest.approx(0.2)

    simulate(run())


def test_an_old_epoch_is_fenced() -> None:
    """KIP-320, I7."""
    found, _ = fetch(handler(leading()), at(0, epoch=0))
    assert isinstance(found[0].error, FencedLeaderEpochError)


def test_an_epoch_that_the_node_has_not_heard_of_is_waited_for() -> None:
    """librdkafka rests for half a second when it is told: it knew the new leader before the leader did."""

    async def run() -> None:
        for reader in (FROM_LEADER, ANY_REPLICA):
            partition = following(10, committed=1)
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, partition.follower_saw, 1)
            loop.call_later(0.2, lead, partition, 4)
            began_s = loop.time()
            found = await handler(partition).fetch(
                [at(0, epoch=4)], max_wait_s=5.0, min_bytes=1, max_bytes=100, reader=reader
            )
            assert (found[0].error, found[0].next_offset) == (None, 1)
            assert loop.time() - began_s == pytest.approx(0.2)

    simulate(run())


def test_an_epoch_that_the_node_does_not_hear_of_in_time_is_told() -> None:
    found, took_s = fetch(handler(leading()), at(0, epoch=9), wait_s=0.5)
    assert isinstance(found[0].error, UnknownLeaderEpochError)
    assert took_s == pytest.approx(0.5)
    found, took_s = fetch(handler(leading()), at(0, epoch=9))
    assert isinstance(found[0].error, UnknownLeaderEpochError)


def test_beyond_the_log_end_is_out_of_range() -> None:
    found, _ = fetch(handler(leading(0, 10)), at(2))
    assert isinstance(found[0].error, OffsetOutOfRangeError)


def test_no_offset_beyond_the_high_watermark_is_told() -> None:
    """I6: what is not committed may be gone with the next leader."""
    partition = replica(1)
    state = lead(partition, 1)
    append(partition, b"a")
    state.follower_acked(2, 1, log_end_offset=1, broker_epoch=1, now_ms=0)
    partition.append_as_leader(
        batch(b"b", timestamp_ms=NOW_MS + 5), acks_all=False, now_wall_ms=NOW_MS, now_ms=0
    )
    offsets = OffsetsHandler(lookup(partition))
    assert run(offsets.find("t", 0, OffsetSpec.LATEST, -1)).offset == 1
    assert run(offsets.find("t", 0, OffsetSpec.TIMESTAMP, NOW_MS + 1)).offset == -1
    assert run(offsets.find("t", 0, OffsetSpec.MAX_TIMESTAMP, -1)).timestamp_ms == NOW_MS
    partition.become_follower(2, 2)
    for spec in OffsetSpec:
        assert isinstance(run(offsets.find("t", 0, spec, NOW_MS)).error, NotLeaderError)


def test_only_the_leader_serves_consumers_that_know_no_followers() -> None:
    """I7: a follower's high watermark may be behind what the consumer has seen."""
    partition = leading(0, 10)
    partition.become_follower(2, 2)
    found, _ = fetch(handler(partition), at(0))
    assert isinstance(found[0].error, NotLeaderError)


ANY_REPLICA = Reader(any_replica=True)
IN_RACK_OF_2 = Reader(any_replica=True, near=lambda node: node == 2)


def following(*sizes: int, committed: int) -> Partition:
    """A follower that holds a batch for each size, and was told that so many records are committed."""
    partition = replica(1)
    partition.become_follower(2, 3)
    for index, size in enumerate(sizes):
        data = batch(b"x" * size, base_offset=index, leader_epoch=3)
        partition.append_as_follower(data, NOW_MS)
    partition.follower_saw(committed)
    return partition


def fetch_nearby(
    partition: Partition, request: FetchFrom, reader: Reader = ANY_REPLICA, *, wait_s: float = 0.0
) -> tuple[Fetched, float]:
    async def run() -> tuple[Fetched, float]:
        began_s = asyncio.get_running_loop().time()
        found = await handler(partition).fetch(
            [request], max_wait_s=wait_s, min_bytes=1, max_bytes=1 << 20, reader=reader
        )
        return found[0], asyncio.get_running_loop().time() - began_s

    return simulate(run())


def test_a_follower_serves_what_its_leader_has_told_to_be_committed() -> None:
    """KIP-392: nothing above the high watermark, which may still be lost."""
    partition = following(10, 10, 10, committed=2)
    found, _ = fetch_nearby(partition, at(0))
    assert (found.error, found.next_offset, found.high_watermark) == (None, 2, 2)
    found, _ = fetch_nearby(partition, at(2))
    assert (found.error, found.next_offset, len(found.batches)) == (None, 2, 0)
    partition.follower_saw(99)
    assert fetch_nearby(partition, at(2))[0].next_offset == 3


def test_a_follower_sends_whoever_is_further_back_to_the_leader() -> None:
    """It cannot tell a reader that is ahead of it from one that is lost, and the lost one would begin anew."""
    partition = following(10, committed=1)
    found, took_s = fetch_nearby(partition, at(2), wait_s=5.0)
    assert isinstance(found.error, ReplicaBehindError)
    assert took_s == 0
    assert isinstance(fetch_nearby(partition, at(-1))[0].error, OffsetOutOfRangeError)


def test_a_follower_compares_epochs() -> None:
    partition = following(10, committed=1)
    assert fetch_nearby(partition, at(0, epoch=3))[0].error is None
    assert isinstance(fetch_nearby(partition, at(0, epoch=2))[0].error, FencedLeaderEpochError)
    assert isinstance(fetch_nearby(partition, at(0, epoch=4))[0].error, UnknownLeaderEpochError)


def test_a_follower_wakes_its_readers_when_it_hears_of_the_high_watermark() -> None:
    async def run() -> None:
        partition = following(10, 10, committed=1)
        loop = asyncio.get_running_loop()
        loop.call_later(0.2, partition.follower_saw, 2)
        began_s = loop.time()
        found = await handler(partition).fetch(
            [at(1)], max_wait_s=5.0, min_bytes=1, max_bytes=100, reader=ANY_REPLICA
        )
        assert found[0].next_offset == 2
        assert loop.time() - began_s == pytest.approx(0.2)

    simulate(run())


def test_a_leader_sends_a_reader_to_its_rack_at_once() -> None:
    partition = replica(1)
    state = lead(partition, 1)
    append(partition, b"a", b"b")
    state.follower_acked(2, 1, log_end_offset=2, broker_epoch=1, now_ms=0)
    found, took_s = fetch_nearby(partition, at(1), IN_RACK_OF_2, wait_s=5.0)
    assert (found.read_from, len(found.batches), found.high_watermark, took_s) == (2, 0, 1, 0)
    assert fetch_nearby(partition, at(2), IN_RACK_OF_2)[0].read_from == -1
    assert fetch_nearby(partition, at(0), ANY_REPLICA)[0].read_from == -1
    found, _ = fetch_nearby(partition, at(0, epoch=0), IN_RACK_OF_2)
    assert isinstance(found.error, FencedLeaderEpochError)


def test_offsets_by_name_and_by_time() -> None:
    partition = leading(0, 10, 10)
    offsets = OffsetsHandler(lookup(partition))
    assert run(offsets.find("t", 0, OffsetSpec.EARLIEST, -1)).offset == 0
    assert run(offsets.find("t", 0, OffsetSpec.LATEST, -1)).offset == 2
    assert run(offsets.find("t", 0, OffsetSpec.TIMESTAMP, NOW_MS)).offset == 0
    assert run(offsets.find("t", 0, OffsetSpec.TIMESTAMP, NOW_MS + 1)).offset == -1
    assert run(offsets.find("t", 0, OffsetSpec.MAX_TIMESTAMP, -1)).timestamp_ms == NOW_MS
    assert isinstance(
        run(offsets.find("t", 5, OffsetSpec.LATEST, -1)).error, UnknownTopicOrPartitionError
    )


def test_a_new_leader_does_not_guess_what_is_the_latest_offset() -> None:
    """KIP-207: an answer from its stale high watermark could lie before one that its predecessor gave."""
    partition = leading()
    state = lead(partition, 2)
    append(partition, b"a", b"b")
    lead(partition, 3)
    offsets = OffsetsHandler(lookup(partition))
    error = run(offsets.find("t", 0, OffsetSpec.LATEST, -1)).error
    assert isinstance(error, OffsetNotAvailableError)
    assert error.retriable
    assert run(offsets.find("t", 0, OffsetSpec.EARLIEST, -1)).offset == 0
    state = partition.leader()
    state.follower_acked(2, 2, log_end_offset=2, broker_epoch=1, now_ms=0)
    assert run(offsets.find("t", 0, OffsetSpec.LATEST, -1)).offset == 2

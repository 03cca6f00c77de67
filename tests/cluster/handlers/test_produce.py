"""Produce: order of pipelined requests, what each acks value waits for, one error a partition."""

import asyncio

import pytest

from cluster.errors import (
    InternalTopicError,
    InvalidRequestError,
    NotEnoughReplicasError,
    NotLeaderError,
    ReplicasTimedOutError,
    UnknownTopicOrPartitionError,
)
from cluster.groups.placement import OFFSETS_TOPIC
from cluster.handlers.produce import (
    ACKS_ALL,
    ACKS_LEADER,
    ACKS_NONE,
    PartitionBatches,
    Produced,
    ProduceHandler,
)
from cluster.replication.partition import Partition
from storage.errors import CorruptBatchError, ErrorCode, OutOfOrderSequenceError
from tests.cluster.replication.replicas import flush, lead, replica
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS, batch


def handler(*partitions: Partition) -> ProduceHandler:
    def lookup(topic: str, index: int) -> Partition:
        for each in partitions:
            if (each.topic, each.identity.partition) == (topic, index):
                return each
        raise UnknownTopicOrPartitionError(f"there is no {topic}-{index}")

    return ProduceHandler(lookup, lambda _: None, lambda: 0, lambda: NOW_MS)


def leading(*, alone: bool = False) -> Partition:
    partition = replica(1)
    lead(partition, 1, isr=(1,) if alone else (1, 2), min_isr=1 if alone else 2)
    return partition


def send(to: ProduceHandler, data: bytes, acks: int = ACKS_ALL, *, topic: str = "t") -> Produced:
    return to.begin([PartitionBatches(topic, 0, data)], acks)[0]


def sequenced(number: int) -> bytes:
    return batch(b"%d" % number, producer_id=1, base_sequence=number)


def test_pipelined_requests_are_appended_in_the_order_in_which_they_began() -> None:
    async def run() -> None:
        partition = leading(alone=True)
        produce = handler(partition)
        begun = [send(produce, sequenced(number)) for number in range(5)]
        flush(partition)
        for each in reversed(begun):
            await ProduceHandler.finish([each], 1.0)
        assert [each.base_offset for each in begun] == [0, 1, 2, 3, 4]
        assert all(each.error is None for each in begun)

    simulate(run())


def test_nobody_but_coordinators_writes_what_groups_are_made_of() -> None:
    """A client could move the positions of others, or leave a record that no coordinator can read."""

    async def run() -> None:
        partition = leading(alone=True)
        partition.topic = OFFSETS_TOPIC
        sent = send(handler(partition), batch(b"a position"), topic=OFFSETS_TOPIC)
        assert isinstance(sent.error, InternalTopicError)
        assert sent.error.code == ErrorCode.INVALID_TOPIC_EXCEPTION
        assert partition.log.log_end_offset == 0

    simulate(run())


def test_a_gap_in_the_sequence_is_refused_and_does_not_shift_the_next() -> None:
    async def run() -> None:
        produce = handler(leading(alone=True))
        send(produce, sequenced(0))
        assert isinstance(send(produce, sequenced(2)).error, OutOfOrderSequenceError)
        assert send(produce, sequenced(1)).base_offset == 1

    simulate(run())


@pytest.mark.parametrize("acks", [ACKS_NONE, ACKS_LEADER])
def test_without_acks_all_nobody_is_waited_for(acks: int) -> None:
    async def run() -> None:
        produced = send(handler(leading()), batch(), acks)
        await ProduceHandler.finish([produced], 0.0)
        assert produced.error is None
        assert produced.base_offset == 0

    simulate(run())


@pytest.mark.parametrize("acks", [ACKS_NONE, ACKS_LEADER, ACKS_ALL])
def test_what_was_appended_is_on_its_way_to_the_disk(acks: int) -> None:
    """S5: whatever the client waits for; followers and a later leader count on it."""

    async def run() -> None:
        asked: list[Partition] = []
        partition = leading()
        to = ProduceHandler(
            lambda _topic, _index: partition, asked.append, lambda: 0, lambda: NOW_MS
        )
        send(to, batch(), acks)
        assert asked == [partition]

    simulate(run())


@pytest.mark.parametrize("acks", [-2, 2, 100])
def test_other_acks_are_refused_and_nothing_is_appended(acks: int) -> None:
    partition = leading()
    assert isinstance(send(handler(partition), batch(), acks).error, InvalidRequestError)
    assert partition.log.log_end_offset == 0


def test_silent_replicas_mean_a_timeout_and_no_offset() -> None:
    """The records may still be committed: the client must not believe that they are not."""

    async def run() -> None:
        partition = leading()
        produced = send(handler(partition), batch())
        began_s = asyncio.get_running_loop().time()
        await ProduceHandler.finish([produced], 0.5)
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(0.5)
        assert isinstance(produced.error, ReplicasTimedOutError)
        assert produced.base_offset == -1
        assert partition.log.log_end_offset == 1

    simulate(run())


def test_a_lost_leadership_is_told_at_once() -> None:
    async def run() -> None:
        partition = leading()
        produced = send(handler(partition), batch())
        asyncio.get_running_loop().call_later(0.1, partition.become_follower, 2, 2)
        await ProduceHandler.finish([produced], 10.0)
        assert isinstance(produced.error, NotLeaderError)
        assert asyncio.get_running_loop().time() < 1001

    simulate(run())


def test_each_partition_has_its_own_outcome() -> None:
    async def run() -> None:
        good, small = leading(alone=True), replica(1, 1)
        lead(small, 1, isr=(1,))
        results = handler(good, small).begin(
            [
                PartitionBatches("t", 0, batch()),
                PartitionBatches("t", 1, batch()),
                PartitionBatches("other", 0, batch()),
                PartitionBatches("t", 0, b"garbage"),
            ],
            ACKS_ALL,
        )
        flush(good)
        await ProduceHandler.finish(results, 1.0)
        assert [type(each.error) for each in results] == [
            type(None),
            NotEnoughReplicasError,
            UnknownTopicOrPartitionError,
            CorruptBatchError,
        ]

    simulate(run())


def test_a_client_that_leaves_takes_no_other_waiter_with_it() -> None:
    """A3: cancelled at its only await, the records stay and others are answered."""

    async def run() -> None:
        partition = leading()
        produce = handler(partition)
        leaving, staying = send(produce, batch()), send(produce, batch())
        task = asyncio.get_running_loop().create_task(ProduceHandler.finish([leaving], 5.0))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        flush(partition)
        if partition.leader().follower_acked(2, 2, log_end_offset=2, broker_epoch=1, now_ms=0):
            partition.commit()
        await ProduceHandler.finish([staying], 1.0)
        assert staying.error is None

    simulate(run())

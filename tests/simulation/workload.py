"""Clients of a simulated cluster, and the history that they leave behind.

Producers send unique values, idempotently, and try again until they are acknowledged. Readers read what is committed,
from whoever leads. The history is checked as it grows and once more at the end.
"""

import asyncio
import random
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from cluster.broker import Broker
from cluster.handlers.fetch import FetchFrom
from cluster.handlers.produce import ACKS_ALL, PartitionBatches, ProduceHandler
from kraft.metadata.replies import TopicsCreated
from kraft.metadata.requests import CreateTopics, NewTopic
from storage.errors import ErrorCode, OffsetOutOfRangeError, OttlaError
from storage.record_stream import decode_batches
from storage.records import BatchBuilder
from tests.simulation.cluster import TOPIC, SimCluster

CREATE_LIMIT_S = 300.0
T = TypeVar("T")
CALL_S = 2.0


@dataclass
class History:
    """acked: value -> offset, per partition. seen: offset -> value, as readers saw it."""

    acked: dict[int, dict[str, int]] = field(default_factory=dict)
    seen: dict[int, dict[int, str]] = field(default_factory=dict)
    unclear: dict[int, set[str]] = field(default_factory=dict)

    def note_ack(self, partition: int, value: str, offset: int) -> None:
        """A value was acknowledged at an offset."""
        known = self.acked.setdefault(partition, {})
        assert value not in known, f"{value} was acknowledged twice"
        known[value] = offset

    def note_read(self, partition: int, offset: int, value: str) -> None:
        """A reader saw a value. What was read once is never taken back (bugs I6, R4)."""
        known = self.seen.setdefault(partition, {})
        before = known.setdefault(offset, value)
        assert before == value, (
            f"offset {offset} of partition {partition} was {before}, now it is {value}"
        )

    def check_final(self, partition: int, log: list[tuple[int, str]]) -> None:
        """The whole log at the end: acked once and in order, reads still true."""
        values = [value for _, value in log]
        assert len(set(values)) == len(values), "a value stands twice in the log (G4)"
        by_offset = dict(log)
        for value, offset in self.acked.get(partition, {}).items():
            assert by_offset.get(offset) == value, (
                f"acknowledged {value} at {offset} of partition {partition} is lost; there is {by_offset.get(offset)}"
            )
        for offset, value in self.seen.get(partition, {}).items():
            assert by_offset.get(offset) == value, f"{value} was read at {offset} and is gone"
        for producer in {value.split("/")[0] for value in values}:
            numbers = [
                int(value.split("/")[1]) for value in values if value.startswith(f"{producer}/")
            ]
            assert numbers == sorted(numbers), f"records of {producer} are out of order"


async def call(
    cluster: SimCluster,
    rng: random.Random,
    broker: Broker,
    work: Awaitable[T],
    limit_s: float = CALL_S,
) -> T:
    """A client's call to a broker: takes time both ways, has a timeout, gets no answer from the dead."""
    async with asyncio.timeout(limit_s):
        await asyncio.sleep(rng.uniform(0.0001, 0.002))
        result = await work
        await asyncio.sleep(rng.uniform(0.0001, 0.002))
    if not cluster.node(broker.node_id).alive or cluster.node(broker.node_id).broker is not broker:
        raise TimeoutError("the node died before it answered")
    return result


async def create_topic(
    cluster: SimCluster, rng: random.Random, partitions: int, min_isr: int
) -> None:
    """Make the topic, asking anybody until it is there."""
    topic = NewTopic(
        name=TOPIC,
        partitions=partitions,
        replication_factor=len(cluster.nodes),
        configs={"min.insync.replicas": str(min_isr)},
    )
    loop = asyncio.get_running_loop()
    until_s = loop.time() + CREATE_LIMIT_S
    while True:
        assert loop.time() < until_s, "no topic could be made: does any node live?"
        for broker in cluster.brokers():
            try:
                reply = await call(
                    cluster, rng, broker, broker.admin.change(CreateTopics(topics=(topic,)), 1.0)
                )
            except (OttlaError, TimeoutError):
                continue
            assert isinstance(reply, TopicsCreated)
            refusal = reply.topics[0].refusal
            if refusal is None or refusal.code == ErrorCode.TOPIC_ALREADY_EXISTS:
                return
        await asyncio.sleep(0.1)


def leader_of(cluster: SimCluster, partition: int, rng: random.Random) -> Broker | None:
    """Who leads, as some living node knows it: it may be wrong."""
    brokers = cluster.brokers()
    if not brokers:
        return None
    found = rng.choice(brokers).image.partition(TOPIC, partition)
    if found is None or found.leader < 1:
        return None
    return cluster.node(found.leader).broker if cluster.node(found.leader).alive else None


async def produce(
    cluster: SimCluster, history: History, partition: int, name: str, stop: asyncio.Event
) -> None:
    """One idempotent producer: one batch after the other, each until it is acknowledged."""
    rng = cluster.stream(f"producer {name}")
    producer_id = int(name[1:])
    sequence = number = 0
    while not stop.is_set():
        count = rng.randint(1, 4)
        values = [f"{name}/{number + index}" for index in range(count)]
        builder = BatchBuilder()
        for value in values:
            builder.append(cluster.wall_ms(), None, value.encode())
        batch = builder.build(producer_id=producer_id, producer_epoch=0, base_sequence=sequence)
        base = await _until_acked(cluster, rng, partition, batch, stop)
        if base is None:
            history.unclear.setdefault(partition, set()).update(values)
            return
        for index, value in enumerate(values):
            history.note_ack(partition, value, base + index)
        number += count
        sequence += count
        await asyncio.sleep(rng.uniform(0, 0.05))


async def _until_acked(
    cluster: SimCluster, rng: random.Random, partition: int, batch: bytes, stop: asyncio.Event
) -> int | None:
    while True:
        broker = leader_of(cluster, partition, rng)
        if broker is not None:
            try:
                return await call(cluster, rng, broker, _produce_once(broker, partition, batch))
            except TimeoutError:
                pass
            except OttlaError as error:
                if not error.retriable:
                    raise AssertionError(
                        f"a client was told that it is hopeless: {error!r}"
                    ) from error
        if stop.is_set():
            return None
        await asyncio.sleep(rng.uniform(0.005, 0.05))


async def _produce_once(broker: Broker, partition: int, batch: bytes) -> int:
    results = broker.produce.begin([PartitionBatches(TOPIC, partition, batch)], ACKS_ALL)
    await ProduceHandler.finish(results, 1.0)
    if results[0].error is not None:
        raise results[0].error
    return results[0].base_offset


async def read(cluster: SimCluster, history: History, partition: int, stop: asyncio.Event) -> None:
    """A reader that begins anew now and then."""
    rng = cluster.stream(f"reader {partition}")
    offset = 0
    while not stop.is_set():
        broker = leader_of(cluster, partition, rng)
        if broker is not None:
            request = FetchFrom(TOPIC, partition, offset, -1, 4096)
            try:
                found = (
                    await call(
                        cluster,
                        rng,
                        broker,
                        broker.fetch.fetch([request], max_wait_s=0.2, min_bytes=1, max_bytes=4096),
                    )
                )[0]
            except (OttlaError, TimeoutError):
                found = None
            # A place that was read up to exists on every later leader, too.
            assert found is None or not isinstance(found.error, OffsetOutOfRangeError), found
            if found is not None and found.error is None:
                for record in decode_batches(found.batches):
                    if record.offset >= offset:
                        history.note_read(partition, record.offset, (record.value or b"").decode())
                offset = max(offset, found.next_offset)
        if rng.random() < 0.02:
            offset = 0
        await asyncio.sleep(rng.uniform(0.005, 0.05))

"""Members of groups, of both doors, and the account of what each has read."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
from kafka import KafkaConsumer
from kafka.coordinator.assignors.range import RangePartitionAssignor

from ottla import Admin, BrokerError, Consumer, ConsumerRecord, ErrorCode, Producer, TopicPartition
from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port

LIMIT_S = 40.0
SETTINGS = {
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
}
MEMBER: dict[str, Any] = {
    "session_timeout_ms": 3000,
    "heartbeat_interval_ms": 200,
    "metadata_max_age_ms": 500,
}


def quick_cluster(folder: Path, settings: dict[str, str] | None = None) -> Iterator[LocalCluster]:
    """Three nodes whose groups rebalance without delay."""
    made = LocalCluster.init(
        folder, base_port=free_base_port(3, random.Random()), settings=SETTINGS | (settings or {})
    )
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.down()


class Member:
    """An SDK consumer that reads until it is told to stop."""

    def __init__(self, bootstrap: str, group: str, topics: Any, **settings: Any) -> None:
        self.consumer = Consumer(bootstrap, group_id=group, **(MEMBER | settings))
        self.read: list[ConsumerRecord] = []
        self.told: list[tuple[str, list[int]]] = []
        self.refused: list[ErrorCode] = []
        self._topics = topics

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Plain."""
        self.told.append(("assigned", sorted(each.partition for each in partitions)))

    async def on_revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """A coroutine."""
        await asyncio.sleep(0)
        self.told.append(("revoked", sorted(each.partition for each in partitions)))

    @property
    def partitions(self) -> set[int]:
        """What it has at the moment."""
        return {each.partition for each in self.consumer.assignment}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Member"]:
        """Poll in the background."""
        async with self.consumer, asyncio.TaskGroup() as tasks:
            await self.consumer.subscribe(self._topics, listener=self)
            polling = tasks.create_task(self._poll())
            try:
                yield self
            finally:
                polling.cancel()

    async def _poll(self) -> None:
        try:
            while True:
                self.read += await self.consumer.poll(0.2)
        except BrokerError as error:
            self.refused.append(error.code)


class KafkaMember:
    """The same with librdkafka over the Kafka protocol."""

    def __init__(self, cluster: LocalCluster, group: str, topic: str, **settings: Any) -> None:
        self.read: list[tuple[int, int]] = []
        self.partitions: set[int] = set()
        self._topic = topic
        self._settings = {
            "bootstrap.servers": ",".join(node.kafka for node in cluster.nodes),
            "group.id": group,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 3000,
            "heartbeat.interval.ms": 200,
            **settings,
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator["KafkaMember"]:
        """Poll in a thread."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(self._run, stop))
            try:
                yield self
            finally:
                stop.set()

    def _run(self, stop: asyncio.Event) -> None:
        consumer = confluent_kafka.Consumer(self._settings)
        consumer.subscribe([self._topic])
        try:
            while not stop.is_set():
                message = consumer.poll(0.1)
                self.partitions = {each.partition for each in consumer.assignment()}
                if message is not None and message.error() is None:
                    where = (message.partition(), message.offset())
                    assert where[0] is not None
                    assert where[1] is not None
                    self.read.append((where[0], where[1]))
        finally:
            consumer.close()


class KafkaPythonMember:
    """The same with kafka-python."""

    def __init__(self, cluster: LocalCluster, group: str, topic: str) -> None:
        self.read: list[tuple[int, int]] = []
        self.partitions: set[int] = set()
        self._topic = topic
        self._settings: dict[str, Any] = {
            "bootstrap_servers": [node.kafka for node in cluster.nodes],
            "group_id": group,
            "auto_offset_reset": "earliest",
            "session_timeout_ms": 3000,
            "heartbeat_interval_ms": 200,
            "request_timeout_ms": 20_000,
            "partition_assignment_strategy": [RangePartitionAssignor],
        }

    @asynccontextmanager
    async def running(self) -> AsyncIterator["KafkaPythonMember"]:
        """Poll in a thread."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(self._run, stop))
            try:
                yield self
            finally:
                stop.set()

    def _run(self, stop: asyncio.Event) -> None:
        consumer = KafkaConsumer(self._topic, **self._settings)
        try:
            while not stop.is_set():
                found = consumer.poll(timeout_ms=1000)
                self.partitions = {each.partition for each in consumer.assignment()}
                for where, records in found.items():
                    self.read += [(where.partition, each.offset) for each in records]
        finally:
            consumer.close()


async def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that is looked at now and then, because no event tells it."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not true():  # noqa: ASYNC110 - other processes tell nothing
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {LIMIT_S:g} s: {what}") from None


async def filled(
    cluster: LocalCluster, admin: Admin, topic: str, *, partitions: int, records: int
) -> None:
    """A topic with numbered records, as many in each partition."""
    await admin.create_topic(topic, partitions=partitions, replication_factor=3)
    await send(cluster, topic, range(records), partitions)


async def send(cluster: LocalCluster, topic: str, numbers: Sequence[int], partitions: int) -> None:
    """Numbered records in turn."""
    async with Producer(cluster.bootstrap) as producer:
        for number in numbers:
            await producer.send(topic, b"%d" % number, partition=number % partitions)


def twice(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What was read more than once."""
    return [place for place, count in Counter(places).items() if count > 1]


def places(records: Sequence[ConsumerRecord]) -> list[tuple[int, int]]:
    """(partition, offset) of each."""
    return [(each.partition, each.offset) for each in records]

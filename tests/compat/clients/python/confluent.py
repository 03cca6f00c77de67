"""confluent-kafka, which is librdkafka, at any cluster: `python -m tests.compat.clients.python.confluent BOOTSTRAP`."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from tests.compat.clients.python.checks import (
    BIG,
    FIRST_MS,
    LIMIT_S,
    PARTITIONS,
    STEP_MS,
    TOO_BIG,
    Sent,
    ask_to_kill_the_leader,
    records,
    run,
    same,
    unique,
    until,
)


class Program:
    """One thing a method."""

    NAME = "confluent"

    def __init__(self, bootstrap: str) -> None:
        self.base: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0}
        self.run = unique(self.NAME)
        self.admin = AdminClient(self.base)

    def topic(self, name: str, partitions: int = 1) -> str:
        topic = f"{self.run}-{name}"
        self.admin.create_topics([NewTopic(topic, partitions, 3)])[topic].result(LIMIT_S)
        return topic

    def send(
        self, topic: str, what: list[Sent], settings: Mapping[str, Any] = {}, partitions: int = 1
    ) -> None:
        producer = Producer({**self.base, **settings})
        failed: list[KafkaError] = []

        def told(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)

        for number, each in enumerate(what):
            producer.produce(
                topic,
                each.value,
                each.key,
                partition=number % partitions,
                on_delivery=told,
                timestamp=each.timestamp_ms,
                headers=list(each.headers),
            )
        same(producer.flush(LIMIT_S), 0, "still to be sent")
        same(failed, [], "not delivered")

    def consumer(self, group: str, **settings: Any) -> Consumer:
        return Consumer(
            self.base
            | {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
            | settings
        )

    def read(self, consumer: Consumer, count: int) -> list[Any]:
        found: list[Any] = []
        deadline_s = time.monotonic() + LIMIT_S
        while len(found) < count:
            until(deadline_s, f"{len(found)} of {count} records read")
            for message in consumer.consume(count - len(found), 0.5):
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                found.append(message)
        return found

    def read_topic(self, topic: str, count: int) -> list[Any]:
        consumer = self.consumer(f"{topic}-reader", **{"check.crcs": True})
        try:
            consumer.assign([TopicPartition(topic, 0, 0)])
            return self.read(consumer, count)
        finally:
            consumer.close()

    def codec(self, codec: str) -> None:
        topic = self.topic(codec)
        self.send(topic, records(), {"compression.type": codec, "linger.ms": 20})
        found = [
            Sent(each.key(), each.value() or b"", headers(each), each.timestamp()[1])
            for each in self.read_topic(topic, len(records()))
        ]
        same(found, records(), codec)

    def idempotent(self) -> None:
        topic = self.topic("idempotent")
        self.send(topic, records(500), {"enable.idempotence": True, "batch.num.messages": 10})
        found = [each.value() for each in self.read_topic(topic, 500)]
        same(found, [each.value for each in records(500)])

    def group(self) -> None:
        topic = self.topic("shared", PARTITIONS)
        self.send(topic, records(), partitions=PARTITIONS)
        settings = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}
        first = self.consumer(f"{topic}-group", **settings)
        second = self.consumer(f"{topic}-group", **settings)
        values: list[bytes | None] = []
        members = [first, second]

        def poll_until(what: str, done: Callable[[], bool]) -> None:
            deadline_s = time.monotonic() + LIMIT_S
            while not done():
                until(deadline_s, what)
                for member in members:
                    message = member.poll(0.02)
                    if message is not None and message.error() is None:
                        values.append(message.value())

        for member in members:
            member.subscribe([topic])
        poll_until("two each", lambda: [len(each.assignment()) for each in members] == [2, 2])
        poll_until("all read", lambda: set(values) == {each.value for each in records()})
        members.remove(second)
        second.close()
        poll_until("all for who is left", lambda: len(first.assignment()) == PARTITIONS)
        first.close()

    def commit(self) -> None:
        topic, group = self.topic("commit"), f"{self.run}-commit"
        self.send(topic, records())
        expected = [each.value for each in records()]

        def go_on(offset: int, commit: Callable[[Consumer, list[Any]], None]) -> None:
            consumer = self.consumer(group)
            try:
                consumer.subscribe([topic])
                found = self.read(consumer, 10)
                same([each.value() for each in found], expected[offset : offset + 10])
                commit(consumer, found)
            finally:
                consumer.close()

        def given(consumer: Consumer, _found: list[Any]) -> None:
            where = TopicPartition(topic, 0, 100)
            consumer.commit(offsets=[where], asynchronous=False)
            same(consumer.committed([where], LIMIT_S)[0].offset, 100)

        go_on(0, lambda consumer, _found: discard(consumer.commit(asynchronous=False)))
        # What was committed asynchronously is sent before close() is done.
        go_on(10, lambda consumer, _found: consumer.commit())
        go_on(20, given)
        go_on(100, lambda _consumer, _found: None)

    def by_timestamp(self) -> None:
        topic = self.topic("times")
        self.send(topic, records())
        consumer = self.consumer(f"{topic}-reader")
        try:
            when = FIRST_MS + 50 * STEP_MS - 1
            found = consumer.offsets_for_times([TopicPartition(topic, 0, when)], LIMIT_S)
            same(found[0].offset, 50)
            consumer.assign(found)
            same([each.offset() for each in self.read(consumer, 1)], [50])
        finally:
            consumer.close()

    def list_offsets(self) -> None:
        topic = self.topic("offsets")
        self.send(topic, records())
        where = TopicPartition(topic, 0)
        for spec, offset in (
            (OffsetSpec.earliest(), 0),  # type: ignore[no-untyped-call]
            (OffsetSpec.latest(), 200),  # type: ignore[no-untyped-call]
            (OffsetSpec.max_timestamp(), 199),  # type: ignore[no-untyped-call]
            (OffsetSpec.for_timestamp(FIRST_MS + STEP_MS), 1),
        ):
            found = self.admin.list_offsets({where: spec})[where].result(LIMIT_S)
            same(found.offset, offset, type(spec).__name__)

    def configs(self) -> None:
        topic = self.topic("configs")
        entry = ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(LIMIT_S)
        # Any broker may be asked, and hear of topic and change a moment later.
        deadline_s = time.monotonic() + LIMIT_S
        while self.config(resource, "retention.ms") != "3600000":
            until(deadline_s, "the change is seen")
        same(self.config(resource, "cleanup.policy"), "delete")
        broker = ConfigResource(ResourceType.BROKER, "1")
        same(self.config(broker, "log.segment.bytes") is None, False)

    def config(self, resource: ConfigResource, name: str) -> str | None:
        try:
            found = self.admin.describe_configs([resource])[resource].result(LIMIT_S)
        except KafkaException as error:
            same(error.args[0].code(), KafkaError.UNKNOWN_TOPIC_OR_PART)
            return None
        return str(found[name].value)

    def groups(self) -> None:
        topic, group = self.topic("groups"), f"{self.run}-groups"
        self.send(topic, records(10))
        consumer = self.consumer(group)
        consumer.subscribe([topic])
        self.read(consumer, 10)
        consumer.commit(asynchronous=False)
        listed = self.admin.list_consumer_groups().result(LIMIT_S)
        same(group in {each.group_id for each in listed.valid}, True, "listed")
        found = self.admin.describe_consumer_groups([group])[group].result(LIMIT_S)
        same((found.state.name, len(found.members)), ("STABLE", 1))
        consumer.close()
        wanted = ConsumerGroupTopicPartitions(group)
        offsets = self.admin.list_consumer_group_offsets([wanted])[group].result(LIMIT_S)
        same([each.offset for each in offsets.topic_partitions or []], [10])
        self.admin.delete_consumer_groups([group])[group].result(LIMIT_S)
        listed = self.admin.list_consumer_groups().result(LIMIT_S)
        same(group in {each.group_id for each in listed.valid}, False, "listed after")

    def delete_records(self) -> None:
        topic = self.topic("shortened")
        self.send(topic, records())
        where = TopicPartition(topic, 0, 60)
        same(self.admin.delete_records([where])[where].result(LIMIT_S).low_watermark, 60)
        consumer = self.consumer(f"{topic}-reader")
        try:
            same(consumer.get_watermark_offsets(where, LIMIT_S), (60, 200))
        finally:
            consumer.close()

    def delete_topics(self) -> None:
        topic = self.topic("doomed")
        self.admin.delete_topics([topic])[topic].result(LIMIT_S)
        deadline_s = time.monotonic() + LIMIT_S
        while topic in self.admin.list_topics(timeout=LIMIT_S).topics:
            until(deadline_s, "the topic is gone")

    def unknown_topic(self) -> None:
        """A producer makes it; a consumer does not."""
        self.send(f"{self.run}-made", records(1))
        consumer = self.consumer(f"{self.run}-unknown", **{"allow.auto.create.topics": False})
        try:
            consumer.subscribe([f"{self.run}-unknown"])
            deadline_s = time.monotonic() + LIMIT_S
            while (message := consumer.poll(0.5)) is None:
                until(deadline_s, "an error")
            error = message.error()
            same(error and error.code(), KafkaError.UNKNOWN_TOPIC_OR_PART)
        finally:
            consumer.close()
        same(f"{self.run}-unknown" in self.admin.list_topics(timeout=LIMIT_S).topics, False)

    def big(self) -> None:
        topic = self.topic("big")
        self.send(topic, [Sent(b"big", b"x" * BIG, [], FIRST_MS)])
        same(len(self.read_topic(topic, 1)[0].value() or b""), BIG)

    def too_big(self) -> None:
        topic = self.topic("too-big")
        producer = Producer(self.base | {"message.max.bytes": 2 * TOO_BIG})
        told: list[Any] = []
        producer.produce(
            topic,
            b"x" * TOO_BIG,
            on_delivery=lambda error, _message: told.append(error and error.code()),
        )
        producer.flush(LIMIT_S)
        same(told, [KafkaError.MSG_SIZE_TOO_LARGE])

    def failover(self) -> None:
        topic = self.topic("failover")
        producer = Producer(self.base | {"enable.idempotence": True})
        acked: list[bytes | None] = []

        def told(error: KafkaError | None, message: Message) -> None:
            same(error, None, "not delivered")
            acked.append(message.value())

        for number in range(3000):
            producer.produce(topic, b"%d" % number, on_delivery=told)
            producer.poll(0.001)
            if number == 1000:
                ask_to_kill_the_leader(topic)
        same(producer.flush(LIMIT_S), 0, "still to be sent")
        same(acked, [b"%d" % number for number in range(3000)])
        same([each.value() for each in self.read_topic(topic, 3000)], acked)


def headers(message: Any) -> list[tuple[str, bytes]]:
    """In order."""
    return list(message.headers() or [])


def discard(_value: object) -> None:
    """For a lambda."""


if __name__ == "__main__":
    run(Program)

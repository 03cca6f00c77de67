"""kafka-python at any cluster: `python -m tests.compat.clients.python.kafka_python BOOTSTRAP`."""

import threading
import time
from collections.abc import Callable
from typing import Any

from kafka import (
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.admin import ConfigResource, OffsetSpec
from kafka.errors import MessageSizeTooLargeError

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

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap.split(",")
        self.run = unique("kafka-python")
        self.admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)

    def topic(self, name: str, partitions: int = 1) -> str:
        topic = f"{self.run}-{name}"
        self.admin.create_topics(
            {topic: {"num_partitions": partitions, "replication_factor": 3}},
            wait_for_metadata=True,
        )
        return topic

    def send(self, topic: str, what: list[Sent], partitions: int = 1, **settings: Any) -> None:
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, **settings)
        try:
            sent = [
                producer.send(
                    topic,
                    each.value,
                    each.key,
                    list(each.headers),
                    number % partitions,
                    each.timestamp_ms,
                )
                for number, each in enumerate(what)
            ]
            producer.flush(LIMIT_S)
            for each in sent:
                each.get(LIMIT_S)
        finally:
            producer.close()

    def consumer(self, group: str | None = None, **settings: Any) -> KafkaConsumer:
        return KafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **settings,
        )

    @staticmethod
    def subscribe(consumer: KafkaConsumer, topic: str) -> None:
        """kafka-python 3.0.12 overlooks for five minutes what is subscribed while its first Metadata request is under
        way, and a leader that joins before it knows the topic gives nobody anything: it is asked first.
        """
        assert consumer.partitions_for_topic(topic)
        consumer.subscribe([topic])

    def read(self, consumer: KafkaConsumer, count: int) -> list[Any]:
        found: list[Any] = []
        deadline_s = time.monotonic() + LIMIT_S
        while len(found) < count:
            until(deadline_s, f"{len(found)} of {count} records read")
            for some in consumer.poll(2000, max_records=count - len(found)).values():
                found += some
        return found

    def read_topic(self, topic: str, count: int) -> list[Any]:
        consumer = self.consumer()
        try:
            consumer.assign([TopicPartition(topic, 0)])
            return self.read(consumer, count)
        finally:
            consumer.close()

    def codec(self, codec: str) -> None:
        topic = self.topic(codec)
        compression = None if codec == "none" else codec
        self.send(topic, records(), compression_type=compression, linger_ms=20)
        found = [
            Sent(each.key, each.value, each.headers, each.timestamp)
            for each in self.read_topic(topic, len(records()))
        ]
        same(found, records(), codec)

    def idempotent(self) -> None:
        topic = self.topic("idempotent")
        self.send(topic, records(500), enable_idempotence=True, batch_size=1000)
        found = [each.value for each in self.read_topic(topic, 500)]
        same(found, [each.value for each in records(500)])

    def group(self) -> None:
        """Joining blocks a consumer of kafka-python, so each member has a thread."""
        topic = self.topic("shared", PARTITIONS)
        self.send(topic, records(), PARTITIONS)
        first, second = (Member(self, f"{topic}-group", topic) for _ in range(2))
        try:
            both = (first, second)
            wait("two each", lambda: [len(each.partitions) for each in both] == [2, 2])
            expected = {each.value for each in records()}
            wait("all read", lambda: first.values | second.values == expected)
            second.leave()
            wait("all for who is left", lambda: len(first.partitions) == PARTITIONS)
        finally:
            first.leave()
            second.leave()

    def commit(self) -> None:
        topic, group = self.topic("commit"), f"{self.run}-commit"
        where = TopicPartition(topic, 0)
        self.send(topic, records())
        expected = [each.value for each in records()]

        def go_on(offset: int, commit: Callable[[KafkaConsumer], None]) -> None:
            consumer = self.consumer(group)
            try:
                self.subscribe(consumer, topic)
                same(
                    [each.value for each in self.read(consumer, 10)], expected[offset : offset + 10]
                )
                commit(consumer)
            finally:
                consumer.close()

        def asynchronous(consumer: KafkaConsumer) -> None:
            done: list[Any] = []
            consumer.commit_async(callback=lambda offsets, answer: done.append((offsets, answer)))
            deadline_s = time.monotonic() + LIMIT_S
            while not done:
                until(deadline_s, "the commit is answered")
                consumer.poll(20, max_records=1)
            same(isinstance(done[0][1], Exception), False, f"{done}")

        def given(consumer: KafkaConsumer) -> None:
            consumer.commit({where: OffsetAndMetadata(100, "mine", -1)})
            same(consumer.committed(where), 100)

        go_on(0, lambda consumer: consumer.commit())
        go_on(10, asynchronous)
        go_on(20, given)
        go_on(100, lambda _consumer: None)

    def by_timestamp(self) -> None:
        topic = self.topic("times")
        where = TopicPartition(topic, 0)
        self.send(topic, records())
        consumer = self.consumer()
        try:
            found = consumer.offsets_for_times({where: FIRST_MS + 50 * STEP_MS - 1})
            same(found[where].offset, 50)
            consumer.assign([where])
            consumer.seek(where, found[where].offset)
            same([each.offset for each in self.read(consumer, 1)], [50])
        finally:
            consumer.close()

    def list_offsets(self) -> None:
        topic = self.topic("offsets")
        self.send(topic, records())
        where = TopicPartition(topic, 0)
        for spec, offset in (
            (OffsetSpec.EARLIEST, 0),
            (OffsetSpec.LATEST, 200),
            (OffsetSpec.MAX_TIMESTAMP, 199),
            (FIRST_MS + STEP_MS, 1),
        ):
            same(self.admin.list_partition_offsets({where: spec})[where].offset, offset, f"{spec}")

    def configs(self) -> None:
        topic = self.topic("configs")
        change = ConfigResource("TOPIC", topic, {"retention.ms": "3600000"})
        # Any broker may be asked, and hear of topic and change a moment later: names are not looked up before.
        self.admin.alter_configs([change], raise_on_unknown=False)
        wanted = [ConfigResource("TOPIC", topic), ConfigResource("BROKER", "1")]

        def value(name: str) -> Any:
            described = self.admin.describe_configs(wanted[:1], config_filter="all")
            return described["topic"].get(topic, {}).get(name, {}).get("value")

        wait("the change is seen", lambda: value("retention.ms") == "3600000")
        same(value("cleanup.policy"), "delete")
        found = self.admin.describe_configs(wanted[1:], config_filter="all")
        same("log.segment.bytes" in found["broker"]["1"], True)

    def groups(self) -> None:
        topic, group = self.topic("groups"), f"{self.run}-groups"
        self.send(topic, records(10))
        consumer = self.consumer(group)
        self.subscribe(consumer, topic)
        self.read(consumer, 10)
        consumer.commit()
        same(group in {each["group_id"] for each in self.admin.list_groups()}, True, "listed")
        found = self.admin.describe_groups([group])[group]
        same((found["group_state"], len(found["members"])), ("Stable", 1))
        consumer.close()
        offsets = self.admin.list_group_offsets(group)[group]
        same([each.offset for each in offsets.values()], [10])
        self.admin.delete_groups([group])
        same(group in {each["group_id"] for each in self.admin.list_groups()}, False, "after")

    def delete_records(self) -> None:
        topic = self.topic("shortened")
        where = TopicPartition(topic, 0)
        self.send(topic, records())
        same(self.admin.delete_records({where: 60})[where]["low_watermark"], 60)
        consumer = self.consumer()
        try:
            same(consumer.beginning_offsets([where]), {where: 60})
            same(consumer.end_offsets([where]), {where: 200})
        finally:
            consumer.close()

    def delete_topics(self) -> None:
        topic = self.topic("doomed")
        self.admin.delete_topics([topic])
        wait("the topic is gone", lambda: topic not in self.admin.list_topics())

    def unknown_topic(self) -> None:
        """A producer makes it; an admin client asks only."""
        self.send(f"{self.run}-made", records(1))
        found = self.admin.describe_topics([f"{self.run}-unknown"])
        same([each["error_code"] for each in found], [3])
        same(f"{self.run}-unknown" in self.admin.list_topics(), False)

    def big(self) -> None:
        topic = self.topic("big")
        self.send(topic, [Sent(b"big", b"x" * BIG, [], FIRST_MS)])
        same(len(self.read_topic(topic, 1)[0].value), BIG)

    def too_big(self) -> None:
        topic = self.topic("too-big")
        try:
            self.send(topic, [Sent(None, b"x" * TOO_BIG, [], FIRST_MS)], max_request_size=3_000_000)
        except MessageSizeTooLargeError:
            return
        raise AssertionError("it was taken")

    def failover(self) -> None:
        topic = self.topic("failover")
        producer = KafkaProducer(bootstrap_servers=self.bootstrap)
        sent = []
        for number in range(3000):
            sent.append(producer.send(topic, b"%d" % number))
            time.sleep(0.001)
            if number == 1000:
                ask_to_kill_the_leader(topic)
        same([each.get(LIMIT_S).offset for each in sent], list(range(3000)))
        producer.close()
        expected = [b"%d" % number for number in range(3000)]
        same([each.value for each in self.read_topic(topic, 3000)], expected)


class Member:
    """Reads until it is told to leave."""

    def __init__(self, program: Program, group: str, topic: str) -> None:
        self.partitions: set[TopicPartition] = set()
        self.values: set[bytes] = set()
        self._consumer = program.consumer(
            group, session_timeout_ms=6000, heartbeat_interval_ms=300, metadata_max_age_ms=1000
        )
        program.subscribe(self._consumer, topic)
        self._leaves = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Wait until it has left."""
        self._leaves.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._leaves.is_set():
            # A join that a short poll gives up may leave the member outside for good, at Apache Kafka, too.
            for found in self._consumer.poll(1000).values():
                self.values |= {each.value for each in found}
            self.partitions = self._consumer.assignment()
        self._consumer.close()


def wait(what: str, done: Callable[[], bool]) -> None:
    """Raises AssertionError after LIMIT_S."""
    deadline_s = time.monotonic() + LIMIT_S
    while not done():
        until(deadline_s, what)
        time.sleep(0.02)


if __name__ == "__main__":
    run(Program)

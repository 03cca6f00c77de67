"""aiokafka at any cluster: `python -m tests.compat.clients.python.aio BOOTSTRAP`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError

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
)


class Program:
    """One thing a method."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.run = unique("aiokafka")

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    async def topic(self, name: str, partitions: int = 1) -> str:
        topic = f"{self.run}-{name}"
        async with self.admin() as admin:
            answer = await admin.create_topics([NewTopic(topic, partitions, 3)])
        same([code for _, code, _ in answer.topic_errors], [0], f"create {topic}")
        return topic

    def producer(self, **settings: Any) -> AIOKafkaProducer:
        return AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", **settings)

    def consumer(self, *topics: str, group: str | None = None, **settings: Any) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            *topics,
            bootstrap_servers=self.bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **settings,
        )

    async def send(
        self, topic: str, what: list[Sent], partitions: int = 1, **settings: Any
    ) -> None:
        async with self.producer(**settings) as producer:
            sent = [
                await producer.send(
                    topic,
                    each.value,
                    each.key,
                    number % partitions,
                    each.timestamp_ms,
                    list(each.headers),
                )
                for number, each in enumerate(what)
            ]
            for each in sent:
                await each

    async def read(self, consumer: AIOKafkaConsumer, count: int) -> list[ConsumerRecord]:
        found: list[ConsumerRecord] = []
        async with asyncio.timeout(LIMIT_S):
            while len(found) < count:
                got = await consumer.getmany(timeout_ms=500, max_records=count - len(found))
                for some in got.values():
                    found += some
        return found

    async def read_topic(self, topic: str, count: int) -> list[ConsumerRecord]:
        async with self.consumer(topic) as consumer:
            return await self.read(consumer, count)

    async def codec(self, codec: str) -> None:
        topic = await self.topic(codec)
        compression = None if codec == "none" else codec
        await self.send(topic, records(), compression_type=compression, linger_ms=20)
        found = [
            Sent(each.key, each.value or b"", list(each.headers), each.timestamp)
            for each in await self.read_topic(topic, len(records()))
        ]
        same(found, records(), codec)

    async def idempotent(self) -> None:
        topic = await self.topic("idempotent")
        await self.send(topic, records(500), enable_idempotence=True, max_batch_size=1000)
        found = [each.value for each in await self.read_topic(topic, 500)]
        same(found, [each.value for each in records(500)])

    async def group(self) -> None:
        topic = await self.topic("shared", PARTITIONS)
        await self.send(topic, records(), PARTITIONS)
        settings: dict[str, Any] = {
            "group": f"{topic}-group",
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 300,
        }
        first, second = self.consumer(topic, **settings), self.consumer(topic, **settings)
        values: set[bytes | None] = set()
        members = [first, second]

        async def poll_until(done: Callable[[], bool]) -> None:
            async with asyncio.timeout(LIMIT_S):
                while not done():
                    for member in members:
                        for some in (await member.getmany(timeout_ms=20)).values():
                            values.update(each.value for each in some)

        await asyncio.gather(first.start(), second.start())
        await poll_until(lambda: [len(each.assignment()) for each in members] == [2, 2])
        await poll_until(lambda: values == {each.value for each in records()})
        members.remove(second)
        await second.stop()
        await poll_until(lambda: len(first.assignment()) == PARTITIONS)
        await first.stop()

    async def commit(self) -> None:
        topic, group = await self.topic("commit"), f"{self.run}-commit"
        where = TopicPartition(topic, 0)
        await self.send(topic, records())
        expected = [each.value for each in records()]

        async def go_on(offset: int, commit: Callable[[AIOKafkaConsumer], Awaitable[None]]) -> None:
            async with self.consumer(topic, group=group) as consumer:
                found = [each.value for each in await self.read(consumer, 10)]
                same(found, expected[offset : offset + 10])
                await commit(consumer)

        async def automatic() -> None:
            async with AIOKafkaConsumer(
                topic, bootstrap_servers=self.bootstrap, group_id=group
            ) as consumer:
                found = [each.value for each in await self.read(consumer, 10)]
                same(found, expected[10:20])

        async def given(consumer: AIOKafkaConsumer) -> None:
            await consumer.commit({where: 100})
            same(await consumer.committed(where), 100)

        async def nothing(_consumer: AIOKafkaConsumer) -> None:
            pass

        await go_on(0, lambda consumer: consumer.commit())
        await automatic()
        await go_on(20, given)
        await go_on(100, nothing)

    async def by_timestamp(self) -> None:
        topic = await self.topic("times")
        where = TopicPartition(topic, 0)
        await self.send(topic, records())
        async with self.consumer() as consumer:
            consumer.assign([where])
            found = await consumer.offsets_for_times({where: FIRST_MS + 50 * STEP_MS - 1})
            same(found[where] and found[where].offset, 50)
            consumer.seek(where, 50)
            same([each.offset for each in await self.read(consumer, 1)], [50])

    async def list_offsets(self) -> None:
        topic = await self.topic("offsets")
        where = TopicPartition(topic, 0)
        await self.send(topic, records())
        async with self.consumer(topic) as consumer:
            same(await consumer.beginning_offsets([where]), {where: 0})
            same(await consumer.end_offsets([where]), {where: 200})

    async def configs(self) -> None:
        topic = await self.topic("configs")
        async with self.admin() as admin:
            wanted = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "3600000"})
            await admin.alter_configs([wanted])
            resource = ConfigResource(ConfigResourceType.TOPIC, topic)
            values: dict[str, str] = {}
            # Any broker may be asked, and hear of the change a moment later.
            async with asyncio.timeout(LIMIT_S):
                while values.get("retention.ms") != "3600000":
                    found = (await admin.describe_configs([resource]))[0].resources[0]
                    values = {each[0]: each[1] for each in found[4]}
            same(values["cleanup.policy"], "delete")
            broker = ConfigResource(ConfigResourceType.BROKER, "1")
            found = (await admin.describe_configs([broker]))[0].resources[0]
            same("log.segment.bytes" in {each[0] for each in found[4]}, True)

    async def groups(self) -> None:
        """aiokafka cannot delete groups."""
        topic, group = await self.topic("groups"), f"{self.run}-groups"
        await self.send(topic, records(10))
        async with self.admin() as admin, self.consumer(topic, group=group) as consumer:
            await self.read(consumer, 10)
            await consumer.commit()
            same(group in {each[0] for each in await admin.list_consumer_groups()}, True, "listed")
            found = (await admin.describe_consumer_groups([group]))[0].groups[0]
            same((found[1], found[2], len(found[5])), (group, "Stable", 1))
            offsets = await admin.list_consumer_group_offsets(group)
            same([each.offset for each in offsets.values()], [10])

    async def delete_records(self) -> None:
        topic = await self.topic("shortened")
        where = TopicPartition(topic, 0)
        await self.send(topic, records())
        async with self.admin() as admin:
            same(await admin.delete_records({where: RecordsToDelete(60)}), {where: 60})
        async with self.consumer(topic) as consumer:
            same(await consumer.beginning_offsets([where]), {where: 60})

    async def delete_topics(self) -> None:
        topic = await self.topic("doomed")
        async with self.admin() as admin:
            await admin.delete_topics([topic])
            async with asyncio.timeout(LIMIT_S):
                while topic in await admin.list_topics():  # noqa: ASYNC110 - nothing tells it
                    await asyncio.sleep(0.02)

    async def unknown_topic(self) -> None:
        """A producer makes it. Whatever aiokafka asks about is made; a name that cannot be is refused."""
        await self.send(f"{self.run}-made", records(1))
        async with self.admin() as admin:
            found = await admin.describe_topics([f"{self.run} unknown"])
            same([each["error_code"] for each in found], [17])
            same(f"{self.run}-made" in await admin.list_topics(), True)

    async def big(self) -> None:
        topic = await self.topic("big")
        await self.send(topic, [Sent(b"big", b"x" * BIG, [], FIRST_MS)])
        same(len((await self.read_topic(topic, 1))[0].value or b""), BIG)

    async def too_big(self) -> None:
        topic = await self.topic("too-big")
        sent = [Sent(None, b"x" * TOO_BIG, [], FIRST_MS)]
        try:
            await self.send(topic, sent, max_request_size=3_000_000, max_batch_size=3_000_000)
        except MessageSizeTooLargeError:
            return
        raise AssertionError("it was taken")

    async def failover(self) -> None:
        topic = await self.topic("failover")
        async with self.producer(enable_idempotence=True) as producer:
            sent = []
            for number in range(3000):
                sent.append(await producer.send(topic, b"%d" % number))
                await asyncio.sleep(0.001)
                if number == 1000:
                    await asyncio.to_thread(ask_to_kill_the_leader, topic)
            found = [(await each).offset for each in sent]
        same(found, list(range(3000)))
        values = [each.value for each in await self.read_topic(topic, 3000)]
        same(values, [b"%d" % number for number in range(3000)])


if __name__ == "__main__":
    run(Program)

"""FastStream on aiokafka at any cluster: `python -m tests.compat.clients.python.faststream_ BOOTSTRAP`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, KafkaMessage

from tests.compat.clients.python.checks import (
    LIMIT_S,
    PARTITIONS,
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
        self.bootstrap = bootstrap.split(",")
        self.run = unique("faststream")

    def things(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "publish and subscribe": self.pass_on,
            "batches": self.batches,
            "group: shares and rebalances": self.group,
            "commit: goes on after the last ack": self.commit,
        }

    async def topic(self, name: str, partitions: int = 1) -> str:
        topic = f"{self.run}-{name}"
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, partitions, 3)])
        finally:
            await admin.close()
        return topic

    async def publish(self, broker: KafkaBroker, topic: str, what: list[Sent]) -> None:
        for each in what:
            await broker.publish(
                each.value,
                topic,
                key=each.key,
                timestamp_ms=each.timestamp_ms,
                headers={"number": each.value[:3].decode()},
            )

    @asynccontextmanager
    async def broker(self, idempotent: bool = False) -> AsyncIterator[KafkaBroker]:
        """Started once its subscribers are told."""
        made = KafkaBroker(self.bootstrap, logger=None, acks="all", enable_idempotence=idempotent)
        try:
            yield made
        finally:
            await made.stop()

    async def pass_on(self) -> None:
        """A handler's answer goes to another topic, which another handler reads."""
        first, second = await self.topic("first"), await self.topic("second")
        found: list[tuple[bytes | None, bytes, str]] = []
        async with self.broker() as broker:

            @broker.subscriber(first, auto_offset_reset="earliest")
            @broker.publisher(second)
            async def upper(body: bytes) -> bytes:
                return body.upper()

            @broker.subscriber(second, auto_offset_reset="earliest")
            async def keep(message: KafkaMessage) -> None:
                assert not isinstance(message.raw_message, tuple)
                found.append((message.raw_message.key, message.body, message.correlation_id))

            await broker.start()
            await self.publish(broker, first, records())
            await until(lambda: len(found) == len(records()))
        same([body for _, body, _ in found], [each.value.upper() for each in records()])
        same(len({correlation for _, _, correlation in found}), len(records()), "correlation ids")

    async def batches(self) -> None:
        topic = await self.topic("batches")
        found: list[bytes] = []
        async with self.broker() as broker:

            @broker.subscriber(topic, batch=True, auto_offset_reset="earliest")
            async def keep(bodies: list[bytes]) -> None:
                found.extend(bodies)

            await broker.start()
            await broker.publish_batch(*(each.value for each in records(50)), topic=topic)
            await until(lambda: len(found) == len(records(50)))
        same(found, [each.value for each in records(50)])

    async def group(self) -> None:
        topic = await self.topic("shared", PARTITIONS)
        read: set[bytes] = set()

        @asynccontextmanager
        async def member() -> AsyncIterator[Callable[[], int]]:
            async with self.broker() as broker:

                @broker.subscriber(
                    topic,
                    group_id=f"{topic}-group",
                    auto_offset_reset="earliest",
                    session_timeout_ms=6000,
                    heartbeat_interval_ms=300,
                )
                async def keep(body: bytes) -> None:
                    read.add(body)

                await broker.start()
                await self.publish(broker, topic, records(100))
                consumer = broker.subscribers[0].consumer  # type: ignore[attr-defined]
                yield lambda: len(consumer.assignment())

        async with member() as first:
            async with member() as second:
                await until(lambda: (first(), second()) == (2, 2))
                await until(lambda: read == {each.value for each in records(100)})
            await until(lambda: first() == PARTITIONS)

    async def commit(self) -> None:
        """What was not acknowledged comes again after a restart, and nothing else."""
        topic = await self.topic("commit")
        found: list[bytes] = []

        async def read_until(count: int) -> None:
            async with self.broker() as broker:

                @broker.subscriber(
                    topic,
                    group_id=f"{topic}-group",
                    auto_offset_reset="earliest",
                    ack_policy=AckPolicy.MANUAL,
                )
                async def keep(body: bytes, message: KafkaMessage) -> None:
                    if len(found) < count:
                        found.append(body)
                        await message.ack()

                await broker.start()
                await until(lambda: len(found) == count)

        async with self.broker() as broker:
            await broker.start()
            await self.publish(broker, topic, records(30))
        await read_until(10)
        await read_until(30)
        same(found, [each.value for each in records(30)])

    async def failover(self) -> None:
        topic = await self.topic("failover")
        found: list[bytes] = []
        async with self.broker(idempotent=True) as broker:
            # The body as it came: FastStream takes a number for JSON.
            @broker.subscriber(topic, auto_offset_reset="earliest")
            async def keep(message: KafkaMessage) -> None:
                found.append(message.body)

            await broker.start()
            for number in range(3000):
                await broker.publish(b"%d" % number, topic)
                if number == 1000:
                    await asyncio.to_thread(ask_to_kill_the_leader, topic)
            await until(lambda: len(found) >= 3000)
        same(found, [b"%d" % number for number in range(3000)])


async def until(done: Callable[[], bool]) -> None:
    """Handlers tell nothing."""
    async with asyncio.timeout(LIMIT_S):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    run(Program)

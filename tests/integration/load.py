"""A stream of records under which things are broken, and the account of what became of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ottla import Admin, Consumer, Producer

RATE = 300
READ_S = 30.0


class Load:
    """Numbered records to one partition; `acked` maps number to offset."""

    def __init__(self, bootstrap: str, topic: str, *, rate: int = RATE) -> None:
        """`rate`: records a second."""
        self._bootstrap = bootstrap
        self._rate = rate
        self.topic = topic
        self.acked: dict[int, int] = {}
        self.sent = 0
        self._progress = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send all the time; at the end everything sent must be acknowledged."""
        async with Producer(self._bootstrap, linger_ms=1) as producer:
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(producer, tasks, stop))
                try:
                    yield
                finally:
                    stop.set()
        assert len(self.acked) == self.sent

    async def _send(
        self, producer: Producer, tasks: asyncio.TaskGroup, stop: asyncio.Event
    ) -> None:
        while not stop.is_set():
            number = self.sent
            self.sent += 1
            delivery = await producer.send(self.topic, b"%d" % number, partition=0)

            async def note(number: int = number, delivery: object = delivery) -> None:
                self.acked[number] = (await delivery).offset  # type: ignore[misc]
                self._progress.set()

            tasks.create_task(note())
            await asyncio.sleep(1 / self._rate)

    async def more_acks(self, count: int = 50, limit_s: float = 30.0) -> None:
        """Wait until so many more records are acknowledged."""
        target = len(self.acked) + count
        async with asyncio.timeout(limit_s):
            while len(self.acked) < target:
                self._progress.clear()
                await self._progress.wait()

    async def check(self) -> None:
        """Every acknowledged record is there, at its offset, once, in order."""
        found = await read_all(self._bootstrap, self.topic, len(self.acked))
        numbers = [number for _, number in found]
        assert numbers == sorted(set(numbers)), "doubled or out of order"
        assert {number: offset for offset, number in found} == self.acked


async def read_all(bootstrap: str, topic: str, count: int) -> list[tuple[int, int]]:
    """(offset, number) of the first `count` records of partition 0."""
    async with Consumer(bootstrap) as consumer:
        consumer.assign([(topic, 0)])
        found: list[tuple[int, int]] = []
        async with asyncio.timeout(READ_S):
            while len(found) < count:
                found += [
                    (each.offset, int(each.value or b"-1")) for each in await consumer.poll(5)
                ]
    return found


async def leader(admin: Admin, topic: str) -> int:
    """Who leads partition 0; waits for one."""
    async with asyncio.timeout(30):
        while True:
            found = (await admin.topics([topic]))[0].partitions[0].leader_id
            if found > 0:
                return found
            await asyncio.sleep(0.05)


async def full_isr(admin: Admin, topic: str) -> None:
    """Wait until every replica of every partition is in sync."""
    async with asyncio.timeout(60):
        while True:
            partitions = (await admin.topics([topic]))[0].partitions
            if all(len(each.isr) == len(each.replicas) for each in partitions):
                return
            await asyncio.sleep(0.05)

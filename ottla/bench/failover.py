"""What a client sees when leaders die: the gap between acknowledgements, and whether anything is lost or doubled."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from ottla.bench.figures import percentile
from ottla.client.admin import Admin
from ottla.client.consumer import Consumer
from ottla.client.errors import ClientError
from ottla.client.producer import Producer
from ottla.local.cluster import LocalCluster

Progress = Callable[[int], None]
SETTLE_S = 0.7
AFTER_S = 1.0
LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Round:
    """One death. gap_s: the longest time between two acknowledgements around it."""

    victim: int
    was_controller: bool
    gap_s: float


@dataclass(frozen=True, slots=True)
class FailoverFigures:
    """All rounds, and what became of the records."""

    how: str
    rounds: list[Round]
    acked: int
    failed: int
    lost: int
    duplicates: int
    out_of_order: int

    def facts(self) -> dict[str, object]:
        """Names and numbers."""
        gaps = [each.gap_s for each in self.rounds]
        return {
            "how": self.how,
            "rounds": len(self.rounds),
            "of_the_controller": sum(each.was_controller for each in self.rounds),
            "gap_p50_s": round(percentile(gaps, 50), 3),
            "gap_max_s": round(max(gaps, default=0.0), 3),
            "acked": self.acked,
            "failed": self.failed,
            "lost": self.lost,
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
        }


class _Stream:
    """Numbered records at a steady rate, and when each was acknowledged."""

    def __init__(self, producer: Producer, topic: str, rate: int) -> None:
        self.acks: list[tuple[float, int]] = []
        self.failed = 0
        self._producer = producer
        self._topic = topic
        self._rate = rate
        self._acked = asyncio.Event()
        self.stop = asyncio.Event()

    async def run(self) -> None:
        began_s, number = time.perf_counter(), 0
        async with asyncio.TaskGroup() as tasks:
            while not self.stop.is_set():
                tasks.create_task(self._one(number))
                number += 1
                await asyncio.sleep(max(0.0, began_s + number / self._rate - time.perf_counter()))

    async def _one(self, number: int) -> None:
        try:
            await self._producer.send_and_wait(self._topic, b"%d" % number, partition=0)
        except ClientError:
            self.failed += 1
        else:
            self.acks.append((time.perf_counter(), number))
            self._acked.set()

    def gap_since(self, since_s: float) -> float:
        """The longest time between two acknowledgements since shortly before `since_s`."""
        times = sorted(when for when, _ in self.acks if when > since_s - 0.2)
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)

    async def acked_after(self, when_s: float) -> None:
        """Wait until something sent is acknowledged after a time."""
        async with asyncio.timeout(LIMIT_S):
            while not self.acks or self.acks[-1][0] < when_s:
                self._acked.clear()
                await self._acked.wait()


async def failover(
    cluster: LocalCluster, topic: str, *, how: str, rounds: int, rate: int, progress: Progress
) -> FailoverFigures:
    """how: kill (SIGKILL), pause (SIGSTOP), stop (SIGTERM); each of the leader of the moment. Raises OttlaError."""
    done: list[Round] = []
    async with (
        Admin(cluster.bootstrap) as admin,
        Producer(cluster.bootstrap, linger_ms=0) as producer,
    ):
        await producer.partitions_for(topic)
        stream = _Stream(producer, topic, rate)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stream.run())
            try:
                for _ in range(rounds):
                    done.append(await _round(cluster, admin, stream, topic, how))
                    progress(1)
            finally:
                stream.stop.set()
    values = await _read_back(cluster.bootstrap, topic, len(stream.acks))
    acked = {number for _, number in stream.acks}
    return FailoverFigures(
        how,
        done,
        len(acked),
        stream.failed,
        lost=len(acked - set(values)),
        duplicates=len(values) - len(set(values)),
        out_of_order=sum(later <= earlier for earlier, later in pairwise(values)),
    )


async def _round(
    cluster: LocalCluster, admin: Admin, stream: _Stream, topic: str, how: str
) -> Round:
    await _full_isr(admin, topic)
    await asyncio.sleep(SETTLE_S)
    victim = (await admin.topics([topic]))[0].partitions[0].leader_id
    was_controller = (await admin.describe_cluster()).controller_id == victim
    struck_s = time.perf_counter()
    strike = {"kill": cluster.kill, "pause": cluster.pause, "stop": cluster.stop}[how]
    await asyncio.to_thread(strike, victim)
    await stream.acked_after(time.perf_counter() + AFTER_S)
    gap_s = stream.gap_since(struck_s)
    if how == "pause":
        cluster.resume(victim)
    else:
        cluster.start(victim)
        await cluster.wait_serving([victim])
    return Round(victim, was_controller, gap_s)


async def _full_isr(admin: Admin, topic: str) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            partition = (await admin.topics([topic]))[0].partitions[0]
            if len(partition.isr) == len(partition.replicas) and partition.leader_id > 0:
                return
            await asyncio.sleep(0.05)


async def _read_back(bootstrap: str, topic: str, count: int) -> list[int]:
    values: list[int] = []
    async with Consumer(bootstrap) as consumer:
        consumer.assign([(topic, 0)])
        while len(values) < count:
            records = await consumer.poll(timeout_s=10)
            if not records:
                break
            values += [int(record.value or b"-1") for record in records]
    return values

"""A file's lines go in through one node and come out through another while the leader between them is killed."""

import asyncio
import pydoc_data.topics
import random
import shutil
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from rich.console import Console

from ottla.client.admin import Admin
from ottla.client.batches import Delivery
from ottla.client.consumer import Consumer
from ottla.client.producer import Producer
from ottla.demo.timeline import Timeline
from ottla.demo.watch import Watch
from ottla.local.cluster import LocalCluster
from ottla.local.errors import LocalClusterError
from ottla.local.ports import free_base_port

TOPIC = "demo"
NODES = 3
# The file is sent over about this long, so that there is a stream to kill the leader in.
STREAM_S = 5.0
KILL_AT = 0.4
CHUNK_BYTES = 256 * 1024
TURN_S = 0.01
READ_PATIENCE_S = 30.0


class Acks:
    """When records were acknowledged, in seconds; `enough` is set when `kill_at` of them were."""

    def __init__(self, kill_at: int) -> None:
        self._times: list[float] = []
        self._kill_at = kill_at
        self.enough = asyncio.Event()
        if kill_at == 0:
            self.enough.set()

    def note(self, when_s: float) -> None:
        """One more."""
        self._times.append(when_s)
        if len(self._times) >= self._kill_at:
            self.enough.set()

    def longest_gap_ms(self) -> int:
        """The longest time between two acknowledgements."""
        gaps = (later - earlier for earlier, later in pairwise(sorted(self._times)))
        return round(max(gaps, default=0.0) * 1000)


def default_file() -> Path:
    """A file that every machine with Python has: its own help texts, more than ten thousand lines."""
    return Path(pydoc_data.topics.__file__)


async def demo(file: Path, console: Console) -> bool:
    """Returns whether what was consumed equals the file, byte for byte. Raises OttlaError, OSError."""
    data = await asyncio.to_thread(file.read_bytes)
    lines = list(_records(data))
    folder = Path(tempfile.mkdtemp(prefix="ottla-demo-"))
    timeline = Timeline(console)
    cluster = LocalCluster.init(
        folder / "cluster", nodes=NODES, base_port=free_base_port(NODES, random.Random())
    )
    equal = False
    try:
        await cluster.up()
        timeline.tell(f"{NODES} nodes have formed a quorum: {cluster.bootstrap}")
        equal = await _stream(cluster, file, data, lines, timeline)
    finally:
        await asyncio.to_thread(cluster.down)
        if equal:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            console.print(f"everything is left in {folder} to look at")
    return equal


async def _stream(
    cluster: LocalCluster, file: Path, data: bytes, lines: list[bytes], timeline: Timeline
) -> bool:
    async with Admin(cluster.bootstrap) as admin:
        await admin.create_topic(TOPIC, partitions=1, replication_factor=NODES)
    watch = Watch(cluster, TOPIC, timeline)
    await watch.look()
    timeline.tell(
        f"topic {TOPIC!r} has {NODES} replicas; node {watch.leader} leads (leader epoch {watch.epoch})"
    )
    timeline.tell(f"streaming {file} in: {len(lines)} records, {len(data)} bytes")
    acks = Acks(kill_at=int(len(lines) * KILL_AT))
    async with (
        Producer(cluster.bootstrap, linger_ms=1) as producer,
        Consumer(cluster.bootstrap) as consumer,
        asyncio.TaskGroup() as tasks,
    ):
        reading = tasks.create_task(_read(consumer, len(lines)))
        sending = tasks.create_task(_send(producer, lines, acks, timeline))
        await acks.enough.wait()
        await _kill(cluster, watch, timeline)
        await sending
        timeline.tell(
            f"all {len(lines)} records are acknowledged; the longest gap between two was {acks.longest_gap_ms()} ms"
        )
        consumed = await reading
    equal = consumed == data
    timeline.tell(
        f"consumed {len(consumed)} bytes: "
        + ("equal to the file, byte for byte" if equal else f"NOT equal to the file's {len(data)}"),
        style="bold green" if equal else "bold red",
    )
    return equal


async def _kill(cluster: LocalCluster, watch: Watch, timeline: Timeline) -> None:
    victim = watch.leader
    killed_s = timeline.now_s()
    pid = cluster.kill(victim)
    timeline.tell(
        f"kill -9 {pid}: node {victim}, the leader, is dead", at_s=killed_s, style="bold red"
    )
    try:
        async with asyncio.timeout(READ_PATIENCE_S):
            await watch.until_moved(victim)
    except TimeoutError:
        raise LocalClusterError(
            f"no new leader {READ_PATIENCE_S:g} s after node {victim} was killed"
        ) from None
    assert watch.moved_s is not None
    timeline.tell(f"failover took {(watch.moved_s - killed_s) * 1000:.0f} ms")


async def _send(producer: Producer, lines: list[bytes], acks: Acks, timeline: Timeline) -> None:
    """Send in small turns spread over STREAM_S, noting when each record is acknowledged."""

    async def note(delivery: Delivery) -> None:
        await delivery
        acks.note(timeline.now_s())

    per_turn = max(1, int(len(lines) * TURN_S / STREAM_S))
    async with asyncio.TaskGroup() as noting:
        for start in range(0, len(lines), per_turn):
            for line in lines[start : start + per_turn]:
                noting.create_task(note(await producer.send(TOPIC, line, partition=0)))
            await asyncio.sleep(TURN_S)


async def _read(consumer: Consumer, count: int) -> bytes:
    consumer.assign(await consumer.partitions_of(TOPIC))
    parts: list[bytes] = []
    while len(parts) < count:
        records = await consumer.poll(timeout_s=READ_PATIENCE_S)
        if not records:
            raise LocalClusterError(
                f"nothing came for {READ_PATIENCE_S:g} s after {len(parts)} of {count} records"
            )
        parts.extend(record.value or b"" for record in records)
    return b"".join(parts)


def _records(data: bytes) -> Iterator[bytes]:
    """Lines with their ends; overlong ones in pieces."""
    for line in data.splitlines(keepends=True):
        for start in range(0, len(line), CHUNK_BYTES):
            yield line[start : start + CHUNK_BYTES]

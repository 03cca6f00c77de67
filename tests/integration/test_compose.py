"""The compose file, as people use it: build, up, clients from both sides, a node killed."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import confluent_kafka
import pytest

from ottla import Admin, Consumer, Producer
from tests.integration.load import full_isr, leader

pytestmark = [pytest.mark.integration, pytest.mark.compose, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PROJECT = "ottla-test"
KAFKA_HOST = "127.0.0.1:19291,127.0.0.1:19292,127.0.0.1:19293"
HOST = "127.0.0.1:19091,127.0.0.1:19092,127.0.0.1:19093"
INSIDE = "node1:9090,node2:9090,node3:9090"
UP_S = 120


def _works(*words: str) -> bool:
    return shutil.which(words[0]) is not None and (
        subprocess.run(words, check=False, capture_output=True).returncode == 0
    )


def _program() -> list[str]:
    """`docker compose` (v2) or `docker-compose` (v1); skips where there is neither, or no engine."""
    if not _works("docker", "info"):
        pytest.skip("no Docker engine answers here")
    if _works("docker", "compose", "version"):
        return ["docker", "compose"]
    if _works("docker-compose", "version"):
        return ["docker-compose"]
    pytest.skip("neither `docker compose` nor `docker-compose` is installed")


class Compose:
    """The project under test."""

    def __init__(self) -> None:
        self._program = _program()

    def __call__(self, *words: str, stdin: bytes = b"") -> bytes:
        """Run one command; its standard output. Raises CalledProcessError."""
        done = subprocess.run(
            [*self._program, "-p", PROJECT, *words],
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stderr.decode()[-2000:]}"
        return done.stdout

    def healthy(self, nodes: Sequence[int]) -> bool:
        """Whether Docker calls these nodes healthy."""
        for node in nodes:
            container = self("ps", "-q", f"node{node}").decode().strip()
            state = subprocess.run(
                ["docker", "inspect", "-f", "{{.State.Health.Status}}", container],
                capture_output=True,
                check=True,
            )
            if state.stdout.strip() != b"healthy":
                return False
        return True


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    program = Compose()
    program("build", "node1")
    program("up", "-d")
    try:
        yield program
    finally:
        program("down", "-v")


async def _until_healthy(compose: Compose, nodes: Sequence[int]) -> None:
    async with asyncio.timeout(UP_S):
        while True:
            if await asyncio.to_thread(compose.healthy, nodes):
                return
            await asyncio.sleep(1)


async def _values(bootstrap: str, topic: str, count: int) -> list[bytes]:
    async with Consumer(bootstrap) as consumer:
        consumer.assign([(topic, 0)])
        found: list[bytes] = []
        async with asyncio.timeout(60):
            while len(found) < count:
                found += [record.value or b"" for record in await consumer.poll(5)]
        return found


def _kafka_values(topic: str, count: int) -> list[bytes]:
    """The same through the Kafka listener of the host's side."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": KAFKA_HOST, "group.id": "compose", "auto.offset.reset": "earliest"}
    )
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        found = consumer.consume(count, timeout=60)
        return [each.value() or b"" for each in found]
    finally:
        consumer.close()


def test_clients_on_both_sides_and_a_node_killed(compose: Compose) -> None:
    async def run() -> None:
        await _until_healthy(compose, (1, 2, 3))
        async with Admin(HOST) as admin, Producer(HOST) as producer:
            await admin.create_topic(
                "c", partitions=1, replication_factor=3, configs={"min.insync.replicas": "2"}
            )
            for number in range(5):
                await producer.send_and_wait("c", b"%d" % number)
            inside = ("exec", "-T", "node1", "ottla", "produce", "c", "--bootstrap", INSIDE)
            await asyncio.to_thread(compose, *inside, stdin=b"5\n6\n")
            victim = await leader(admin, "c")
            await asyncio.to_thread(compose, "kill", f"node{victim}")
            for number in range(7, 12):
                await producer.send_and_wait("c", b"%d" % number)
            wanted = [b"%d" % number for number in range(12)]
            assert await _values(HOST, "c", 12) == wanted
            assert await asyncio.to_thread(_kafka_values, "c", 12) == wanted
            other = next(each for each in (1, 2, 3) if each != victim)
            seen = await asyncio.to_thread(
                compose,
                *("exec", "-T", f"node{other}", "ottla", "consume", "c", "--from-beginning", "-e"),
                *("--bootstrap", INSIDE),
            )
            assert seen.split() == wanted
            await asyncio.to_thread(compose, "up", "-d")
            await _until_healthy(compose, (1, 2, 3))
            await full_isr(admin, "c")

    asyncio.run(run())

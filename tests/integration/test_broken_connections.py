"""Members whose processes die: the connection that breaks with them is noticed long before their session is over."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from ottla import Admin
from ottla.local.cluster import LocalCluster
from tests.integration.groups_lab import LIMIT_S, Member, filled, quick_cluster, until

pytestmark = pytest.mark.integration

SESSION_S = 300
"""Longer than anything here may take: nobody is out because a session is over."""

POLLS = 15
"""Of 0.2 s each: then it has given signs of life often enough for it to be known when the next one is due."""

OVER_GRPC = f"""
import asyncio, sys
from ottla import Consumer
async def main():
    async with Consumer(sys.argv[1], group_id=sys.argv[2], session_timeout_ms={SESSION_S * 1000},
                        heartbeat_interval_ms=500, max_poll_interval_ms=600_000) as consumer:
        await consumer.subscribe([sys.argv[2]])
        while True:
            await consumer.poll(0.2)
            print(len(consumer.assignment), flush=True)
asyncio.run(main())
"""
OVER_KAFKA = f"""
import sys
import confluent_kafka
consumer = confluent_kafka.Consumer({{
    "bootstrap.servers": sys.argv[1], "group.id": sys.argv[2], "session.timeout.ms": {SESSION_S * 1000},
    "heartbeat.interval.ms": 500, "max.poll.interval.ms": 600_000, "auto.offset.reset": "earliest",
}})
consumer.subscribe([sys.argv[2]])
while True:
    consumer.poll(0.2)
    print(len(consumer.assignment()), flush=True)
"""
NEW_PROTOCOL = OVER_KAFKA.replace(
    f'"session.timeout.ms": {SESSION_S * 1000},\n    "heartbeat.interval.ms": 500,',
    '"group.protocol": "consumer",',
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes whose groups rebalance without delay; KIP-848 members speak every 500 ms."""
    yield from quick_cluster(
        tmp_path_factory.mktemp("cluster"),
        {
            "group.consumer.session.timeout.ms": str(SESSION_S * 1000),
            "group.consumer.max.session.timeout.ms": str(SESSION_S * 1000),
            "group.consumer.heartbeat.interval.ms": "500",
            "group.consumer.min.heartbeat.interval.ms": "500",
        },
    )


@asynccontextmanager
async def process(
    program: str, bootstrap: str, group: str
) -> AsyncIterator["subprocess.Popen[str]"]:
    """A member as a process of its own."""
    made = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-c", program, bootstrap, group],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield made
    finally:
        made.kill()
        made.wait()
        assert made.stdout is not None
        made.stdout.close()


async def has(member: "subprocess.Popen[str]", count: int) -> None:
    """It has so many partitions."""
    assert member.stdout is not None
    line = ""
    async with asyncio.timeout(LIMIT_S):
        while line != f"{count}\n":
            line = await asyncio.to_thread(member.stdout.readline)
            assert member.poll() is None


@pytest.mark.parametrize(
    ("name", "program"),
    [("over-grpc", OVER_GRPC), ("over-kafka", OVER_KAFKA), ("new-protocol", NEW_PROTOCOL)],
    ids=["over-grpc", "over-kafka", "new-protocol"],
)
def test_a_killed_member_is_replaced_long_before_its_session_ends(
    cluster: LocalCluster, name: str, program: str
) -> None:
    async def run() -> None:
        topic = group = name
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=2, records=20)
        kafka = ",".join(each.kafka for each in cluster.nodes)
        bootstrap = cluster.bootstrap if program is OVER_GRPC else kafka
        async with process(program, bootstrap, group) as victim:
            await has(victim, 2)
            if program is NEW_PROTOCOL:
                async with process(program, bootstrap, group) as other:
                    await has(other, 1)
                    await has(victim, 1)
                    victim.kill()
                    await has(other, 2)
                return
            member = Member(cluster.bootstrap, group, [topic])
            async with member.running():
                await until(lambda: len(member.partitions) == 1, "both have one")
                for _ in range(POLLS):
                    await has(victim, 1)
                victim.kill()
                await until(lambda: len(member.partitions) == 2, "the other is replaced")

    asyncio.run(run())

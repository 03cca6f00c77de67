"""Consumers that are cancelled or interrupted: what they commit."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ottla import Admin, Consumer, OffsetAndMetadata, TopicPartition
from ottla.local.cluster import LocalCluster
from tests.integration.groups_lab import filled, quick_cluster

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes whose groups rebalance without delay."""
    yield from quick_cluster(tmp_path_factory.mktemp("cluster"))


def test_who_is_cancelled_while_it_waits_has_done_the_rest_and_while_it_works_has_not(
    cluster: LocalCluster,
) -> None:
    """Ctrl-C cancels a program's main task, mostly in `poll`."""

    async def run() -> None:
        topic = group = "cancelled"
        where = TopicPartition(topic, 0)
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=1, records=10)
        at_work, waiting = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            async with Consumer(
                cluster.bootstrap, group_id=group, auto_commit_interval_ms=600_000
            ) as consumer:
                await consumer.subscribe(topic)
                async for record in consumer:
                    if record.offset == 9 and not at_work.is_set():
                        at_work.set()
                        await asyncio.Event().wait()
                    if record.offset == 9:
                        # The next thing it does is to ask for more.
                        asyncio.get_running_loop().call_soon(waiting.set)

        async def cancelled(when: asyncio.Event) -> int | None:
            task = asyncio.create_task(work())
            await when.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with Consumer(cluster.bootstrap, group_id=group) as consumer:
                found = (await consumer.committed([where]))[where]
                return found.offset if found is not None else None

        assert await cancelled(at_work) is None
        assert await cancelled(waiting) == 10

    asyncio.run(run())


WITH_ASYNCIO = """
import asyncio, os, signal, sys
from ottla import Consumer
async def main():
    async with Consumer(sys.argv[1], group_id=sys.argv[2], auto_commit_interval_ms=600_000) as consumer:
        await consumer.subscribe(sys.argv[2])
        async for record in consumer:
            if record.offset == 9:
                asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
asyncio.run(main())
"""
BLOCKING = """
import os, signal, sys, threading, time
from ottla import sync
def interrupt():
    membership, looks = consumer._consumer._group.membership, 0
    while looks < 2:
        time.sleep(0.05)
        looks = looks + 1 if membership.polling else 0
    os.kill(os.getpid(), signal.SIGINT)
with sync.Consumer(sys.argv[1], group_id=sys.argv[2], auto_commit_interval_ms=600_000) as consumer:
    consumer.subscribe(sys.argv[2])
    for record in consumer:
        if record.offset == 9:
            threading.Thread(target=interrupt).start()
"""


@pytest.mark.parametrize(
    ("topic", "program"),
    [("ctrl-c-asyncio", WITH_ASYNCIO), ("ctrl-c-blocking", BLOCKING)],
    ids=["asyncio", "blocking"],
)
def test_ctrl_c_while_it_waits_commits_what_the_program_has_dealt_with(
    cluster: LocalCluster, topic: str, program: str
) -> None:
    async def make() -> None:
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=1, records=10)

    async def committed() -> OffsetAndMetadata | None:
        async with Consumer(cluster.bootstrap, group_id=topic) as consumer:
            where = TopicPartition(topic, 0)
            return (await consumer.committed([where]))[where]

    asyncio.run(make())
    done = subprocess.run(
        [sys.executable, "-c", program, cluster.bootstrap, topic],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    found = asyncio.run(committed())
    assert found is not None
    assert found.offset == 10

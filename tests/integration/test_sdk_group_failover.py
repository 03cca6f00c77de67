"""The coordinator is killed under load: no committed position moves back, nobody else's partition is read (G1, G2)."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from ottla import Admin, TopicPartition
from ottla.client.errors import ClientError
from ottla.local.cluster import LocalCluster
from tests.integration.groups_lab import Member, places, quick_cluster, send, until
from tests.integration.load import full_isr

pytestmark = pytest.mark.integration
PARTITIONS = 4
KILLS = 3
BACK = {"kill": "start", "pause": "resume"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes whose groups rebalance without delay."""
    yield from quick_cluster(tmp_path / "cluster")


class Watch:
    """Looks at the committed positions all the time."""

    def __init__(self, admin: Admin, group: str, topic: str) -> None:
        self._admin = admin
        self._group = group
        self._where = [TopicPartition(topic, each) for each in range(PARTITIONS)]
        self.seen = dict.fromkeys(self._where, -1)
        self.back: list[tuple[TopicPartition, int, int]] = []

    @property
    def total(self) -> int:
        """Records that are committed."""
        return sum(max(each, 0) for each in self.seen.values())

    def has(self, records: int) -> bool:
        """Whether so many are committed."""
        return self.total >= records

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                found = await self._admin.group_offsets(self._group, self._where)
            except ClientError:
                continue
            for where, position in found.items():
                offset = -1 if position is None else position.offset
                if offset < self.seen[where]:
                    self.back.append((where, self.seen[where], offset))
                self.seen[where] = offset
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_coordinator_that_dies_under_load_takes_no_commit_back(
    cluster: LocalCluster, how: str
) -> None:
    async def run() -> None:
        topic = group = "load"
        async with Admin(cluster.bootstrap) as admin:
            await admin.create_topic(
                topic,
                partitions=PARTITIONS,
                replication_factor=3,
                configs={"min.insync.replicas": "2"},
            )
            members = [
                Member(cluster.bootstrap, group, [topic], auto_commit_interval_ms=50)
                for _ in range(2)
            ]
            watch = Watch(admin, group, topic)
            async with members[0].running(), members[1].running(), asyncio.TaskGroup() as tasks:
                await until(lambda: all(len(each.partitions) == 2 for each in members), "both")
                watching = tasks.create_task(watch.run())
                sent = 0
                for _ in range(KILLS):
                    victim = await admin.coordinator(group)
                    sending = tasks.create_task(send(cluster, topic, range(400), PARTITIONS))
                    await until(partial(watch.has, sent + 1), "commits move")
                    await asyncio.to_thread(getattr(cluster, how), victim)
                    await sending
                    sent += 400
                    await until(partial(watch.has, sent), "all is read")
                    getattr(cluster, BACK[how])(victim)
                    await cluster.wait_serving([victim])
                    await full_isr(admin, topic)
                    await full_isr(admin, "__consumer_offsets")
                watching.cancel()
            assert watch.back == []
            assert watch.total == sent
            read = set(places(members[0].read)) | set(places(members[1].read))
            assert len(read) == sent
            assert not {each for member in members for each in member.refused}

    asyncio.run(run())

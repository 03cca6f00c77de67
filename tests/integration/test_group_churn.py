"""Members that come and go all the time, each in peace: every record is read by exactly one of them."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from ottla import Admin, Producer
from ottla.local.cluster import LocalCluster
from tests.integration.groups_lab import Member, places, quick_cluster, twice, until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 8
CHURN_S = 20.0
SLOTS = 5
BATCH = 40
BATCH_PAUSE_S = 0.1


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes whose groups rebalance without delay."""
    yield from quick_cluster(tmp_path_factory.mktemp("cluster"))


class Churn:
    """A group whose members stay for a moment, while records come."""

    def __init__(self, cluster: LocalCluster, topic: str, settings: dict[str, Any]) -> None:
        self.sent = 0
        self.over = asyncio.Event()
        self._cluster = cluster
        self._topic = topic
        self._settings = settings
        self._rng = random.Random(topic)
        self._members: list[Member] = []

    @property
    def read(self) -> list[tuple[int, int]]:
        """By all members, those that are gone too."""
        return [each for member in self._members for each in places(member.read)]

    def member(self, slot: int, **settings: Any) -> Member:
        """The next one in a slot: a slot's static members are one after the other the same one."""
        if "group_instance_id" in self._settings:
            settings["group_instance_id"] = f"{self._settings['group_instance_id']}-{slot}"
        topic = self._topic
        made = Member(self._cluster.bootstrap, topic, [topic], **(self._settings | settings))
        self._members.append(made)
        return made

    async def come_and_go(self, slot: int) -> None:
        """Until it is over; who is cancelled instead does not commit."""
        choose, between = self._rng.choice, self._rng.uniform
        while not self.over.is_set():
            member = self.member(
                slot,
                heartbeat_interval_ms=choose([100, 300, 1000]),
                auto_commit_interval_ms=choose([50, 500, 5000]),
            )
            async with member.running():
                await self._sleep(between(0.05, 5))
            await self._sleep(choose([0, 0.01, between(0, 2)]))

    async def produce(self) -> None:
        """Until it is over."""
        async with Producer(self._cluster.bootstrap) as producer:
            while not self.over.is_set():
                numbers = range(self.sent, self.sent + BATCH)
                for number in numbers:
                    await producer.send(self._topic, b"", partition=number % PARTITIONS)
                await producer.flush()
                self.sent += BATCH
                await self._sleep(BATCH_PAUSE_S)

    async def kill(self) -> None:
        """One node after the other, until it is over."""
        while not self.over.is_set():
            await self._sleep(self._rng.uniform(2, 6))
            node_id = self._rng.choice([each.node_id for each in self._cluster.nodes])
            await asyncio.to_thread(self._cluster.kill, node_id)
            await self._sleep(self._rng.uniform(0.2, 3))
            await asyncio.to_thread(self._cluster.start, node_id)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            pass


async def churned(
    cluster: LocalCluster, topic: str, settings: dict[str, Any], *, kills: bool
) -> Churn:
    """What members have read when it is over and the last one has read the rest."""
    async with Admin(cluster.bootstrap) as admin:
        await admin.create_topic(topic, partitions=PARTITIONS, replication_factor=3)
    churn = Churn(cluster, topic, settings)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(churn.produce())
        for slot in range(SLOTS):
            tasks.create_task(churn.come_and_go(slot))
        if kills:
            tasks.create_task(churn.kill())
        asyncio.get_running_loop().call_later(CHURN_S, churn.over.set)
    async with churn.member(0).running():
        await until(lambda: len(set(churn.read)) >= churn.sent, "all is read")
    return churn


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("strategy", ["cooperative-sticky", "range"])
def test_who_comes_and_goes_in_peace_loses_and_repeats_nothing(
    cluster: LocalCluster, strategy: str, static: bool
) -> None:
    """A member that was told of the generation before while it joined made the group rebalance once more, and when it
    stopped meanwhile the next one read again: 160 of 13,880 records.
    """
    settings: dict[str, Any] = {"assignment_strategy": (strategy,)}
    if static:
        settings["group_instance_id"] = "slot"
    churn = asyncio.run(churned(cluster, f"churn-{strategy}-{static}", settings, kills=False))
    assert twice(churn.read) == []


def test_nothing_is_lost_when_nodes_die_meanwhile(cluster: LocalCluster) -> None:
    """A commit whose answer died with its node may be repeated, so records may be, too."""
    settings = {"assignment_strategy": ("cooperative-sticky",)}
    churn = asyncio.run(churned(cluster, "churn-and-kills", settings, kills=True))
    assert set(churn.read) == {
        (number % PARTITIONS, number // PARTITIONS) for number in range(churn.sent)
    }

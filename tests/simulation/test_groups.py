"""Consumer groups on whole brokers: acknowledged commits survive whatever nodes, disks and network do (G1, G2, G3)."""

import asyncio
from collections.abc import Sequence

import pytest

from cluster.broker import Broker
from storage.errors import ErrorCode, OttlaError
from tests.simulation.cluster import SimCluster, until
from tests.simulation.faults import Fault, random_faults, suffer
from tests.simulation.groups import (
    Groups,
    commit,
    create_offsets_topic,
    keep_committing,
    positions,
    serving,
)
from tests.simulation.invariants import Watcher
from tests.simulation.loop import simulate
from tests.simulation.scenario import peace
from tests.simulation.workload import create_topic

PARTITIONS = 3
CHUNK = 5
# A member that died is waited for until its session is over, then everybody else until the rebalance is.
SETTLE_S = 60.0


async def scenario(
    seed: int, faults: Sequence[Fault] | None = None, seconds: float = 12.0
) -> tuple[int, int]:
    """Members and loners under faults, then peace. Returns how many commits of each kind were acknowledged."""
    cluster = SimCluster(seed)
    cluster.start()
    await create_topic(cluster, cluster.stream("admin"), PARTITIONS, min_isr=2)
    await create_offsets_topic(cluster)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Watcher(cluster).run(stop))
        members = Groups(cluster, tasks, 3, PARTITIONS)
        members.start()
        loners = [
            tasks.create_task(keep_committing(cluster, group, limit_s, stop))
            for group, limit_s in (("patient", 6.0), ("hasty", 0.05))
        ]
        schedule = random_faults(cluster, seconds) if faults is None else faults
        await suffer(cluster, schedule, seconds)
        await peace(cluster, PARTITIONS)
        await members.settled(SETTLE_S)
        before = members.acknowledged
        await until(lambda: members.acknowledged > before + 3, 20.0, "commits after all faults")
        members.close()
        stop.set()
    for node in cluster.nodes:
        node.check_outcome()
    await cluster.stop()
    return members.acknowledged, sum(each.result() for each in loners)


@pytest.mark.parametrize("first", range(3000, 3040, CHUNK))
def test_commits_survive_random_faults(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            ours, loners = simulate(scenario(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        assert ours > 0
        assert loners > 0


async def until_committed(broker: Broker, offset: int) -> None:
    """As a client does while a new leader has too few in-sync replicas."""
    async with asyncio.timeout(20.0):
        while True:
            try:
                await commit(broker, "g", {0: offset})
            except OttlaError:
                await asyncio.sleep(0.1)
            else:
                return


def test_an_old_coordinator_acknowledges_nothing_by_the_high_watermark_of_the_next() -> None:
    """KAFKA-20634: what it had appended is replaced, then its high watermark passes that place."""

    async def run(seed: int) -> None:
        cluster = SimCluster(seed)
        cluster.start()
        await create_topic(cluster, cluster.stream("admin"), 1, min_isr=2)
        await create_offsets_topic(cluster)
        old = await serving(cluster)
        await until_committed(old, 1)
        for node in cluster.nodes:
            cluster.network.cut_way(old.node_id, node.node_id)
            cluster.network.cut_way(node.node_id, old.node_id)
        shard = old.groups._coordinators.shard("g")
        late = asyncio.ensure_future(commit(old, "g", {0: 2}))
        await asyncio.sleep(0.01)
        appended = shard.partition.log.log_end_offset
        assert shard.partition.high_watermark < appended, "it is committed already"
        new = await serving(cluster, old)
        for offset in range(10, 15):
            await until_committed(new, offset)
        cluster.network.heal()
        follower = shard.partition
        await until(lambda: follower.high_watermark > appended, 10.0, "the followed log")
        with pytest.raises(OttlaError, match="refused with") as refusal:
            await late
        assert refusal.value.code == ErrorCode.NOT_COORDINATOR
        assert positions(new, "g", 1) == {0: 14}
        await cluster.stop()

    for seed in range(5):
        simulate(run(seed))

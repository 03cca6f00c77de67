"""Nodes are killed, paused and stopped under load: every acknowledged record is read back, once, in order."""

import asyncio

import pytest

from ottla import Admin
from ottla.local import processes
from ottla.local.cluster import LocalCluster
from tests.integration.load import Load, full_isr, leader

pytestmark = pytest.mark.integration


async def _loaded(cluster: LocalCluster, admin: Admin, topic: str) -> Load:
    await admin.create_topic(
        topic, partitions=1, replication_factor=3, configs={"min.insync.replicas": "2"}
    )
    return Load(cluster.bootstrap, topic)


@pytest.mark.parametrize("role", ["leader", "follower", "controller"])
def test_sigkill_of_every_role_loses_nothing(cluster: LocalCluster, role: str) -> None:
    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            load = await _loaded(cluster, admin, f"kill-{role}")
            async with load.running():
                await load.more_acks()
                leads = await leader(admin, load.topic)
                controller = (await admin.describe_cluster()).controller_id
                victim = {
                    "leader": leads,
                    "controller": controller,
                    "follower": next(each for each in (1, 2, 3) if each != leads),
                }[role]
                await asyncio.to_thread(cluster.kill, victim)
                await load.more_acks()
                cluster.start(victim)
                await cluster.wait_serving([victim])
                await full_isr(admin, load.topic)
                await load.more_acks()
            await load.check()

    asyncio.run(run())


def test_a_paused_leader_is_replaced_and_comes_back_as_a_follower(cluster: LocalCluster) -> None:
    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            load = await _loaded(cluster, admin, "pause")
            async with load.running():
                await load.more_acks()
                victim = await leader(admin, load.topic)
                cluster.pause(victim)
                try:
                    await load.more_acks()
                    assert await leader(admin, load.topic) != victim
                finally:
                    cluster.resume(victim)
                await full_isr(admin, load.topic)
            await load.check()

    asyncio.run(run())


def test_a_planned_stop_is_no_error_to_anybody(cluster: LocalCluster) -> None:
    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            load = await _loaded(cluster, admin, "stop")
            async with load.running():
                await load.more_acks()
                victim = await leader(admin, load.topic)
                await asyncio.to_thread(cluster.stop, victim)
                await load.more_acks()
                cluster.start(victim)
                await cluster.wait_serving([victim])
                await full_isr(admin, load.topic)
            await load.check()

    asyncio.run(run())


def test_all_nodes_killed_at_once_come_back_with_everything(own_cluster: LocalCluster) -> None:
    cluster = own_cluster

    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            load = await _loaded(cluster, admin, "all")
            async with load.running():
                await load.more_acks(200)
                await asyncio.gather(*(asyncio.to_thread(cluster.kill, node) for node in (1, 2, 3)))
                await cluster.up()
                await load.more_acks(limit_s=60)
            await load.check()
            assert all(processes.pid(node) for node in cluster.nodes)

    asyncio.run(run())

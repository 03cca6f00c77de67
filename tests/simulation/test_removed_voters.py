"""A voter that was taken out of the quorum while it was away comes back with its old data, as a learner, then votes."""

import asyncio

import pytest

from cluster.broker import Broker
from cluster.handlers.quorum import Join
from kraft.metadata.records import ConfigResource, ResourceType
from kraft.metadata.requests import AlterConfigs, ConfigChange
from storage.errors import OttlaError
from tests.simulation.cluster import TOPIC, SimCluster, until
from tests.simulation.faults import leader_id
from tests.simulation.invariants import Watcher
from tests.simulation.loop import simulate
from tests.simulation.scenario import check_end, peace
from tests.simulation.workload import History, create_topic, produce

SEEDS = range(6)
# So many changes that the entries which the absent node lacks are behind a snapshot (RaftConfig.trailing_entries).
CHANGES = 1100


async def _at_leader(cluster: SimCluster) -> Broker:
    def active() -> list[Broker]:
        return [broker for broker in cluster.brokers() if broker.controller.active]

    await until(active, 10, "an active controller")
    return max(active(), key=lambda broker: broker.driver.node.term)


def _voters(broker: Broker) -> set[int]:
    return set(broker.driver.node.membership.voters)


async def _removed(cluster: SimCluster, node_id: int) -> Broker:
    """The node loses power and is taken out by the others. Returns the broker that leads the quorum then."""
    await cluster.node(node_id).crash(power_loss=True)
    while True:
        broker = await _at_leader(cluster)
        try:
            await broker.quorum.remove(node_id)
        except OttlaError:
            await asyncio.sleep(0.05)
            continue
        return await _at_leader(cluster)


async def _change_much(broker: Broker) -> None:
    resource = ConfigResource(ResourceType.TOPIC, TOPIC)
    for number in range(CHANGES):
        change = ConfigChange(resource=resource, set={"max.message.bytes": str(100_000 + number)})
        await broker.admin.change(AlterConfigs(changes=(change,)), 5.0)


async def _come_back(seed: int, *, leader_goes: bool, behind_a_snapshot: bool) -> None:
    cluster = SimCluster(seed, 3, metadata_log_max_record_bytes_between_snapshots=1024)
    history, stop = History(), asyncio.Event()
    cluster.start()
    await create_topic(cluster, cluster.stream("admin"), 1, min_isr=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Watcher(cluster).run(stop))
        for number in (1, 2):
            tasks.create_task(produce(cluster, history, 0, f"p{number}", stop))
        await until(lambda: leader_id(cluster) is not None, 10, "a leader of the partition")
        leads = (await _at_leader(cluster)).node_id
        gone = leads if leader_goes else leads % 3 + 1
        leaving = cluster.node(gone).broker
        assert leaving is not None
        known = leaving.driver.node.last_index
        leader = await _removed(cluster, gone)
        if behind_a_snapshot:
            await _change_much(leader)
            assert leader.driver.node.first_index > known + 1
        term = leader.driver.node.term

        cluster.node(gone).start()
        await until(
            lambda: gone in leader.driver.node.membership.learners, 20, "back, as a learner"
        )
        await leader.quorum.add(gone)
        await until(lambda: _voters(leader) == {1, 2, 3}, 10, "three voters")
        assert leader.driver.node.term == term, "the node that came back disturbed the others"
        await peace(cluster, 1)
        stop.set()
    await check_end(cluster, history, 1)
    assert history.acked
    for broker in cluster.brokers():
        assert _voters(broker) == {1, 2, 3}
    await cluster.stop()


@pytest.mark.parametrize("leader_goes", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_it_catches_up_by_the_log(seed: int, leader_goes: bool) -> None:
    simulate(_come_back(seed, leader_goes=leader_goes, behind_a_snapshot=False))


@pytest.mark.parametrize("leader_goes", [True, False])
def test_it_catches_up_by_a_snapshot(leader_goes: bool) -> None:
    simulate(_come_back(11, leader_goes=leader_goes, behind_a_snapshot=True))


def test_a_voter_removed_alive_stays_out_until_it_is_started_again() -> None:
    async def run() -> None:
        cluster = SimCluster(5, 3)
        cluster.start()
        await create_topic(cluster, cluster.stream("admin"), 1, min_isr=2)
        leader = await _at_leader(cluster)
        out = leader.node_id % 3 + 1
        await leader.quorum.remove(out)
        await asyncio.sleep(10)
        assert leader.driver.node.membership.find(out) is None
        await cluster.node(out).leave()
        cluster.start()
        await until(lambda: out in leader.driver.node.membership.learners, 20, "a learner")
        await cluster.stop()

    simulate(run())


def test_a_voter_that_only_lost_touch_keeps_the_address_that_the_others_know() -> None:
    """What it believes its address to be may be good for its own host only."""

    async def run() -> None:
        cluster = SimCluster(6, 3)
        cluster.start()
        leader = await _at_leader(cluster)
        other = leader.node_id % 3 + 1
        before = leader.driver.node.membership
        join = Join(other, "localhost:9190", only_if_no_member=True)
        asked = cluster.node(other).broker
        assert asked is not None
        await asked.quorum.ask_to_join({leader.node_id: cluster.address(leader.node_id)}, join)
        assert leader.driver.node.membership == before
        moved = Join(other, "elsewhere:9190")
        await asked.quorum.ask_to_join({leader.node_id: cluster.address(leader.node_id)}, moved)
        found = leader.driver.node.membership.find(other)
        assert found is not None
        assert found.address == "elsewhere:9190"
        await cluster.stop()

    simulate(run())

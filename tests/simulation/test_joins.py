"""Joins of the ISR of which there is only one sign: nothing is appended, so no other acknowledgement follows."""

import asyncio

import pytest

from cluster.broker import Broker
from kraft.metadata.image import PartitionRegistration
from kraft.metadata.requests import (
    AlterPartitionReassignments,
    CreateTopics,
    NewTopic,
    Reassignment,
    RegisterBrokerRequest,
    UnregisterBrokerRequest,
)
from kraft.quorum_controller import Answer, QuorumController
from tests.simulation.cluster import TOPIC, SimCluster, until
from tests.simulation.loop import simulate

BEHIND_S = 0.2
JOIN_S = 5.0


async def _serving(cluster: SimCluster) -> Broker:
    """The controller, once all brokers serve."""

    def active() -> list[Broker]:
        return [broker for broker in cluster.brokers() if broker.controller.active]

    await until(
        lambda: (
            len(cluster.brokers()) == len(cluster.nodes)
            and active()
            and all(broker.lease.unfenced.is_set() for broker in cluster.brokers())
        ),
        10,
        "brokers that serve",
    )
    return active()[0]


async def _empty_topic(broker: Broker, *replicas: int) -> None:
    topic = NewTopic(name=TOPIC, assignments=(replicas,), configs={"min.insync.replicas": "1"})
    await broker.admin.change(CreateTopics(topics=(topic,)), 5.0)


def _partition(broker: Broker) -> PartitionRegistration:
    found = broker.image.partition(TOPIC, 0)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_replica_that_hears_of_its_assignment_before_the_leader_joins(seed: int) -> None:
    """The leader epoch is the one that the leader knows, so its subscription is taken at once."""

    async def run() -> None:
        cluster = SimCluster(seed, 4)
        cluster.start()
        controller = await _serving(cluster)
        leader, stays, joins = (each for each in (1, 2, 3, 4) if each != controller.node_id)
        await _empty_topic(controller, leader, stays)
        await until(
            lambda: all(broker.image.topic(TOPIC) is not None for broker in cluster.brokers()),
            5,
            "the topic everywhere",
        )
        cluster.network.cut_way(controller.node_id, leader)
        wanted = Reassignment(topic=TOPIC, partition=0, replicas=(joins, stays))
        request = AlterPartitionReassignments(reassignments=(wanted,))
        await controller.admin.change(request, 5.0)
        await asyncio.sleep(BEHIND_S)
        behind = cluster.node(leader).broker
        assert behind is not None
        assert joins not in _partition(behind).replicas, "the leader is not behind"
        cluster.network.heal()
        await until(
            lambda: _partition(controller).replicas == (joins, stays), JOIN_S, "the end of the move"
        )
        await cluster.stop()

    simulate(run())


@pytest.mark.parametrize("seed", range(5))
def test_a_broker_that_had_to_register_again_joins(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KIP-903: it hears of its new epoch from the log before the controller's answer tells it that this is its own."""

    async def run() -> None:
        cluster = SimCluster(seed)
        cluster.start()
        controller = await _serving(cluster)
        leader, joins = (each for each in (1, 2, 3) if each != controller.node_id)
        await _empty_topic(controller, leader, joins)
        await until(lambda: set(_partition(controller).isr) == {leader, joins}, 5, "the topic")
        submit = QuorumController.submit

        async def late(self: QuorumController, request: object) -> Answer:
            answer = await submit(self, request)  # type: ignore[arg-type]
            if isinstance(request, RegisterBrokerRequest):
                await asyncio.sleep(BEHIND_S)
            return answer

        monkeypatch.setattr(QuorumController, "submit", late)
        before = controller.image.brokers[joins].broker_epoch
        await controller.admin.change(UnregisterBrokerRequest(node_id=joins), 5.0)
        await until(lambda: joins in controller.image.brokers, 10, "another registration")
        assert controller.image.brokers[joins].broker_epoch > before
        await until(lambda: joins in _partition(controller).isr, 2 * JOIN_S, "the join")
        await cluster.stop()

    simulate(run())

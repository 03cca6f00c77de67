"""A whole broker among others: what it serves, when it begins, how it leaves, and what its next life knows."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from cluster.broker import Broker
from cluster.errors import NotLeaderError, UnknownTopicOrPartitionError
from cluster.handlers.produce import ACKS_ALL, PartitionBatches
from cluster.replication import high_watermarks
from cluster.replication.partition import TopicIdPartition
from kraft.metadata.image import MetadataImage
from kraft.metadata.requests import DeleteTopics
from kraft.raft.ready import Role
from storage.errors import OttlaError
from tests.simulation.cluster import SYNC_SECONDS, TOPIC, SimCluster, until
from tests.simulation.faults import controller_id, leader_id
from tests.simulation.loop import simulate
from tests.simulation.workload import create_topic
from tests.storage.batches import batch

Work = Callable[[SimCluster], Awaitable[None]]


def run(work: Work, nodes: int = 3) -> None:
    """`work` on a cluster with one partition that all have in sync."""

    async def running() -> None:
        cluster = SimCluster(1, nodes)
        for node in cluster.nodes:
            node.disk.sync_seconds = SYNC_SECONDS[0]
        cluster.start()
        await create_topic(cluster, cluster.stream("admin"), 1, min_isr=min(2, nodes))
        await full_isr(cluster)
        await work(cluster)
        await cluster.stop()

    simulate(running())


async def full_isr(cluster: SimCluster) -> None:
    def full() -> bool:
        brokers = cluster.brokers()
        found = [broker.image.partition(TOPIC, 0) for broker in brokers]
        return (
            all(each is not None and len(each.isr) == len(cluster.nodes) for each in found)
            and len([broker for broker in brokers if broker.replicas.partitions])
            == len(cluster.nodes)
            and any(True for broker in brokers for _ in broker.replicas.led())
        )

    await until(full, 20.0, "a full ISR")


def broker_of(cluster: SimCluster, node_id: int | None) -> Broker:
    assert node_id is not None
    broker = cluster.node(node_id).broker
    assert broker is not None
    return broker


def test_a_partition_is_served_under_the_lease_only() -> None:
    """I7."""

    async def work(cluster: SimCluster) -> None:
        broker = broker_of(cluster, leader_id(cluster))
        assert broker.partition(TOPIC, 0).leader().in_flight is False
        broker.lease._confirmed_ms = 0
        with pytest.raises(NotLeaderError, match="has not heard from the controller"):
            broker.partition(TOPIC, 0)

    run(work)


def test_what_there_is_not_is_named() -> None:
    async def work(cluster: SimCluster) -> None:
        broker = broker_of(cluster, 1)
        with pytest.raises(UnknownTopicOrPartitionError, match="there is no topic 'other'"):
            broker.partition("other", 0)
        with pytest.raises(UnknownTopicOrPartitionError, match="there is no partition 1"):
            broker.partition(TOPIC, 1)

    run(work)


def test_a_namesake_is_not_the_topic_that_was_asked_for() -> None:
    """I8, KAFKA-12257: the image knows the new topic before its replica is made, the old one's may still be here."""

    async def work(cluster: SimCluster) -> None:
        broker = broker_of(cluster, leader_id(cluster))
        old = broker.partition(TOPIC, 0)
        topic = broker.image.topic(TOPIC)
        assert topic is not None
        new_id = UUID(int=8)
        new = type(topic)(topic.name, new_id, topic.partitions)
        broker.controller.image = MetadataImage(
            topics_by_id={new_id: new}, topics_by_name={TOPIC: new}
        )
        assert broker.replicas.partitions[old.identity] is old
        with pytest.raises(NotLeaderError):
            broker.partition(TOPIC, 0)

    run(work)


def test_a_leader_without_its_log_does_not_send_clients_to_itself() -> None:
    """I9: they would come back for ever."""

    async def work(cluster: SimCluster) -> None:
        broker = broker_of(cluster, leader_id(cluster))
        del broker.replicas.partitions[broker.partition(TOPIC, 0).identity]
        with pytest.raises(NotLeaderError) as raised:
            broker.partition(TOPIC, 0)
        assert raised.value.leader_id == -1

    run(work)


def test_only_the_incarnation_that_lives_and_stays_may_join_an_isr() -> None:
    """KIP-841, KIP-903."""

    async def work(cluster: SimCluster) -> None:
        broker = broker_of(cluster, 1)
        epoch = broker.image.brokers[2].broker_epoch
        assert broker._may_join_isr(2, epoch)
        assert not broker._may_join_isr(2, epoch - 1)
        assert not broker._may_join_isr(9, epoch)
        await cluster.node(2).crash(power_loss=False)
        await until(lambda: broker.image.brokers[2].fenced, 5.0, "the fence")
        assert not broker._may_join_isr(2, epoch)

    run(work)


def test_a_broker_that_leaves_leads_nothing_and_hands_the_quorum_over() -> None:
    """KIP-841: what it led is led by others before it is gone; the quorum has a leader without an election timeout."""

    async def work(cluster: SimCluster) -> None:
        node_id = controller_id(cluster)
        leaving = broker_of(cluster, node_id)
        leaving.stop()
        await leaving.left.wait()
        others = [each for each in cluster.brokers() if each is not leaving]
        for broker in others:
            found = broker.image.partition(TOPIC, 0)
            assert found is not None
            assert node_id not in found.isr
            assert found.leader not in (node_id, -1)
            assert broker.image.brokers[leaving.node_id].fenced
        assert [each.driver.node.role for each in others].count(Role.LEADER) == 1

    run(work)


def test_who_leads_the_quorum_hands_it_to_nobody_when_all_others_are_gone() -> None:
    """A whole cluster that is stopped at once: the last one does not wait for an heir."""

    async def work(cluster: SimCluster) -> None:
        last = broker_of(cluster, controller_id(cluster))
        others = {1, 2, 3} - {last.node_id}
        for node_id in others:
            await cluster.node(node_id).crash(power_loss=False)
        await until(lambda: last.links.dead == others, 5.0, "their deaths")
        assert last.driver.node.role is Role.LEADER
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await last.quorum_port.hand_over()
        assert loop.time() - began_s < 0.1

    run(work)


def test_a_broker_acts_on_metadata_that_know_its_own_registration() -> None:
    """KIP-631: what was true before it may be of its last life, in which it led."""

    async def work(cluster: SimCluster) -> None:
        node = cluster.node(leader_id(cluster) or 0)
        await node.crash(power_loss=False)
        node.start()
        await until(lambda: node.broker is not None, 5.0, "an opened disk")
        broker = broker_of(cluster, node.node_id)
        await until(lambda: broker.replicas.partitions, 10.0, "a replica")
        assert broker.lease.broker_epoch >= 0
        assert broker.image.brokers[node.node_id].broker_epoch == broker.lease.broker_epoch

    run(work)


@pytest.mark.parametrize("peaceful", [True, False])
def test_every_life_is_another_incarnation_on_the_same_disk(peaceful: bool) -> None:
    """KIP-903; KIP-966: the controller must be told how the last life ended, and that the disk is the one it knows."""

    async def work(cluster: SimCluster) -> None:
        node = cluster.node(2)
        before = broker_of(cluster, 2)
        first = before._registration()
        epoch = before.lease.broker_epoch
        if peaceful:
            await node.leave()
        else:
            await node.crash(power_loss=True)
        node.start()
        await until(lambda: node.broker not in (None, before), 5.0, "an opened disk")
        after = broker_of(cluster, 2)
        await until(after.lease.registered.is_set, 10.0, "the registration")
        again = after._registration()
        assert after.lease.broker_epoch > epoch
        assert again.incarnation != first.incarnation
        assert again.directory_id == first.directory_id
        assert again.clean_shutdown is peaceful

    run(work)


def test_the_end_of_a_life_saves_what_is_committed() -> None:
    """I6."""

    async def work(cluster: SimCluster) -> None:
        broker = broker_of(cluster, 1)
        partition = broker.partition(TOPIC, 0)
        results = broker.produce.begin([PartitionBatches(TOPIC, 0, batch())], ACKS_ALL)
        await broker.produce.finish(results, 1.0)
        assert partition.high_watermark == 1
        await cluster.node(1).leave()
        saved = high_watermarks.read(cluster.node(1).disk)
        assert saved == {(str(partition.identity.topic_id), 0): 1}

    run(work, nodes=1)


def test_a_majority_that_refuses_a_node_ends_it_and_fewer_do_not() -> None:
    async def work(cluster: SimCluster) -> None:
        broker = broker_of(cluster, 1)
        broker.links._links[2].refusal = "another cluster"
        broker._peer_refused()
        assert not broker._cast_out.is_set()
        broker.links._links[3].refusal = "another cluster"
        broker._peer_refused()
        assert broker._cast_out.is_set()
        broker._cast_out.clear()

    run(work)


def test_a_dead_controller_is_replaced_before_any_timeout() -> None:
    """Promise 2 of DESIGN.md: its death is told to the quorum, and the next controller fences it at once."""

    async def work(cluster: SimCluster) -> None:
        loop = asyncio.get_running_loop()
        dead_id = controller_id(cluster)
        witness = broker_of(cluster, 1 if dead_id != 1 else 2)
        timeout_s = witness.config.controller_quorum_election_timeout_ms / 1000
        session_s = witness.config.broker_session_timeout_ms / 1000
        died_s = loop.time()
        await cluster.node(dead_id or 0).crash(power_loss=False)
        await until(
            lambda: controller_id(cluster) not in (dead_id, None), timeout_s / 2, "a controller"
        )
        await until(lambda: witness.image.brokers[dead_id or 0].fenced, session_s / 2, "the fence")
        assert loop.time() - died_s < session_s / 2

    run(work)


def test_a_dead_broker_is_fenced_at_once() -> None:
    """Promise 2 of DESIGN.md: the controller is told at once."""

    async def work(cluster: SimCluster) -> None:
        node_id = next(each for each in (1, 2, 3) if each != controller_id(cluster))
        controller = broker_of(cluster, controller_id(cluster))
        await cluster.node(node_id).crash(power_loss=False)
        await until(lambda: controller.image.brokers[node_id].fenced, 0.1, "the fence")

    run(work)


def test_a_deleted_topic_is_gone_from_every_broker() -> None:
    """I8."""

    async def work(cluster: SimCluster) -> None:
        broker = broker_of(cluster, 1)
        topic = broker.image.topic(TOPIC)
        assert topic is not None
        try:
            await broker.admin.change(DeleteTopics(names=(TOPIC,)), 5.0)
        except OttlaError as error:
            raise AssertionError("the topic could not be deleted") from error
        gone = TopicIdPartition(topic.topic_id, 0)

        def nowhere() -> bool:
            return all(
                gone not in each.replicas.partitions
                and each._directory.get(str(gone.topic_id), 0) is None
                for each in cluster.brokers()
            )

        await until(nowhere, 5.0, "no replica of it")

    run(work)

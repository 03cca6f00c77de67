"""From images to roles: what a broker does when the metadata change, in which order, and what it tries again."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from uuid import UUID

from cluster.failover.metadata_follower import RETRY_MISSING_S, MetadataFollower
from cluster.replication.partition_state import LeaderState
from kraft.metadata.image import (
    BrokerRegistration,
    MetadataImage,
    PartitionRegistration,
    TopicImage,
)
from kraft.metadata.records import ConfigResource, ResourceType
from tests.cluster.replication.house import T0, House, led_by
from tests.cluster.replication.replicas import TOPIC_ID, disk
from tests.simulation.cluster import until
from tests.simulation.disk import SimDisk
from tests.simulation.loop import simulate

NEW_ID = UUID(int=8)
TOPIC = ConfigResource(ResourceType.TOPIC, "t")


def image(
    partition: PartitionRegistration | None,
    *,
    topic_id: UUID = TOPIC_ID,
    configs: Mapping[ConfigResource, Mapping[str, str]] | None = None,
) -> MetadataImage:
    """This broker, node 1, is registered; topic `t` has one partition, or is not there."""
    topics = [] if partition is None else [TopicImage("t", topic_id, {0: partition})]
    broker = BrokerRegistration(
        node_id=1, broker_epoch=10, incarnation=UUID(int=1), listeners={}, fenced=False
    )
    return MetadataImage(
        topics_by_id={each.topic_id: each for each in topics},
        topics_by_name={each.name: each for each in topics},
        brokers={1: broker},
        configs=configs or {},
    )


Work = Callable[[MetadataFollower, House], Awaitable[None]]


def run(work: Work, on: SimDisk | None = None, *, begun: bool = True) -> None:
    async def running() -> None:
        house = await House.opened(on or disk())
        follower = MetadataFollower(1, house.manager, {}, lambda: 0, lambda _: None)
        tasks = [
            asyncio.get_running_loop().create_task(each)
            for each in (house.manager.run(), follower.run(), house.directory.run_removals())
        ]
        if begun:
            follower.begin()
        await work(follower, house)
        await house.directory.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    simulate(running())


def leads(house: House) -> bool:
    found = house.manager.partitions.get(T0)
    return found is not None and isinstance(found.role, LeaderState)


def test_no_role_is_taken_before_the_broker_is_registered() -> None:
    """KIP-631: the image may be of its last life, in which it led."""

    async def work(follower: MetadataFollower, house: House) -> None:
        follower.publish(image(led_by(1, 1)))
        await asyncio.sleep(1.0)
        assert house.manager.partitions == {}
        follower.begin()
        await until(lambda: leads(house), 1.0, "the role")

    run(work, begun=False)


def test_an_isr_change_reaches_the_leader() -> None:
    async def work(follower: MetadataFollower, house: House) -> None:
        follower.publish(image(led_by(1, 1)))
        await until(lambda: leads(house), 1.0, "the role")
        state = house.manager.partitions[T0].leader()
        follower.publish(image(led_by(1, 1, isr=(1, 2), partition_epoch=1)))
        await until(lambda: state.isr == {1, 2}, 1.0, "the ISR")
        assert house.manager.partitions[T0].role is state

    run(work)


def test_a_new_epoch_with_the_same_leader_is_begun() -> None:
    async def work(follower: MetadataFollower, house: House) -> None:
        follower.publish(image(led_by(1, 1)))
        await until(lambda: leads(house), 1.0, "the role")
        follower.publish(image(led_by(1, 2, partition_epoch=1)))
        await until(lambda: house.manager.partitions[T0].leader_epoch == 2, 1.0, "the epoch")

    run(work)


def test_what_is_assigned_elsewhere_or_deleted_leaves_disk_and_memory() -> None:
    """I8."""
    elsewhere = PartitionRegistration(replicas=(2, 3), isr=(2, 3), leader=2, leader_epoch=2)
    for end in (image(elsewhere), image(None), image(led_by(2, 0), topic_id=NEW_ID)):

        async def work(follower: MetadataFollower, house: House, end: MetadataImage = end) -> None:
            follower.publish(image(led_by(1, 1)))
            await until(lambda: leads(house), 1.0, "the role")
            follower.publish(end)
            await until(lambda: T0 not in house.manager.partitions, 1.0, "the removal")
            assert house.directory.get(str(TOPIC_ID), 0) is None

        run(work)


def test_what_was_deleted_while_this_node_was_away_is_a_stray() -> None:
    """I8: its log lies in the folder that the namesake needs."""
    on = disk()

    async def before(follower: MetadataFollower, house: House) -> None:
        follower.publish(image(led_by(1, 1)))
        await until(lambda: leads(house), 1.0, "the role")

    async def after(follower: MetadataFollower, house: House) -> None:
        follower.publish(image(led_by(1, 1), topic_id=NEW_ID))
        await until(lambda: len(house.manager.partitions) == 1, 1.0, "the namesake")
        assert house.directory.get(str(TOPIC_ID), 0) is None
        assert house.directory.get(str(NEW_ID), 0) is not None

    async def kept(follower: MetadataFollower, house: House) -> None:
        follower.publish(image(led_by(1, 1)))
        await until(lambda: leads(house), 1.0, "the role")

    run(before, on)
    run(kept, on)
    run(after, on)


def test_a_replica_whose_log_could_not_be_made_is_made_when_there_is_room() -> None:
    """S7."""
    full = disk()

    async def work(follower: MetadataFollower, house: House) -> None:
        full.capacity = full.used_bytes()
        follower.publish(image(led_by(1, 1)))
        await asyncio.sleep(2.5 * RETRY_MISSING_S)
        assert not leads(house)
        full.capacity = None
        await until(lambda: leads(house), 1.5 * RETRY_MISSING_S, "the role")

    run(work, full)


def test_a_role_that_came_with_newer_metadata_is_not_begun_again() -> None:
    """Its leader epoch would begin anew, with nothing known of followers that will not say it twice."""
    full = disk()

    async def work(follower: MetadataFollower, house: House) -> None:
        full.capacity = full.used_bytes()
        follower.publish(image(led_by(1, 1)))
        await asyncio.sleep(0.1)
        assert not leads(house)
        full.capacity = None
        follower.publish(image(led_by(1, 2, partition_epoch=1)))
        await until(lambda: leads(house), 1.0, "the role")
        state = house.manager.partitions[T0].leader()
        await asyncio.sleep(2.5 * RETRY_MISSING_S)
        assert house.manager.partitions[T0].leader() is state

    run(work, full)


def test_changed_settings_reach_the_replicas_that_are_here() -> None:
    async def work(follower: MetadataFollower, house: House) -> None:
        follower.publish(image(led_by(1, 1)))
        await until(lambda: leads(house), 1.0, "the role")
        partition = house.manager.partitions[T0]
        settings = {"min.insync.replicas": "3", "retention.ms": "12345"}
        follower.publish(image(led_by(1, 1), configs={TOPIC: settings}))
        await until(lambda: partition.log.config.retention_ms == 12345, 1.0, "the setting")
        assert partition.leader().min_insync_replicas == 3

    run(work)


def test_whoever_became_eligible_may_join_without_another_ack() -> None:
    """Its last acknowledgement may have come while it was still fenced; without news none follows."""

    async def work(follower: MetadataFollower, house: House) -> None:
        fit: list[int] = []
        house.manager._proposals._eligible = lambda node, _: node in fit
        partition = led_by(1, 1, isr=(1,))
        follower.publish(image(partition))
        await until(lambda: leads(house), 1.0, "the role")
        state = house.manager.partitions[T0].leader()
        state.follower_acked(2, 0, log_end_offset=0, broker_epoch=20, now_ms=0)
        fit.append(2)
        follower.publish(image(partition))
        await until(lambda: house.proposed != [], 1.0, "the proposal")
        assert dict(house.proposed[0].members) == {1: -1, 2: 20}

    run(work)

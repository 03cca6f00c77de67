"""All coordinators of a broker, as the metadata changes under them."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from cluster.groups.classic_rebalance import Clock
from cluster.groups.coordinators import Coordinators
from cluster.groups.offsets import Position, TopicPartition
from cluster.groups.placement import OFFSETS_TOPIC
from cluster.groups.settings import GroupSettings
from cluster.replication.partition import Partition
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage, PartitionRegistration, TopicImage
from tests.cluster.groups.consumer_house import topic_id
from tests.cluster.replication.replicas import TOPIC_ID, flush, lead, replica
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS
from wire.messages.offset_commit import OffsetCommitRequest

G = "g"
ONE = {0: PartitionRegistration(replicas=(1,), isr=(1,), leader=1)}
LOAD_S = 0.1


def image(**lives: int) -> MetadataImage:
    """Topics by name, and which life of that name they are."""
    topics = {OFFSETS_TOPIC: TopicImage(OFFSETS_TOPIC, TOPIC_ID, ONE)}
    topics |= {name: TopicImage(name, topic_id(name, life), ONE) for name, life in lives.items()}
    return MetadataImage(
        topics_by_name=topics, topics_by_id={each.topic_id: each for each in topics.values()}
    )


class Node:
    """The only broker, with the only partition of groups."""

    def __init__(self, partition: Partition | None = None) -> None:
        self.image = EMPTY_IMAGE
        self.partition = partition or replica(1)
        if partition is None:
            lead(self.partition, 1, isr=(1,), min_isr=1)
        self.all = Coordinators(
            {self.partition.identity: self.partition},
            lambda _topic, _number: self.partition,
            lambda: self.image,
            lambda each: flush(each) if self.flushes else None,
            lambda: Clock(0, NOW_MS),
            GroupSettings,
            random.Random(1),
        )
        self.flushes = True

    def see(self, new: MetadataImage) -> None:
        self.image = new
        self.all.roles_changed(new)

    async def commit(self, topic: str, offset: int) -> None:
        shard = self.all.shard(G)
        request = OffsetCommitRequest(group_id=G, generation_id_or_member_epoch=-1)
        positions = {TopicPartition(topic, 0): Position(offset, -1, "", NOW_MS)}
        await shard.ask(
            G,
            lambda ticket, clock: shard.coordinator.commit(G, positions, request, clock).answer(
                ticket, None
            ),
        )

    def committed(self) -> dict[str, int]:
        found = self.all.shard(G).require_loaded().offsets.of(G)
        return {where.topic: each.offset for where, each in found.items()}


def on_node(work: Callable[[Node], Awaitable[None]]) -> None:
    async def running() -> None:
        node = Node()
        node.see(image(t=1, other=1))
        loading = asyncio.create_task(node.all.run())
        await asyncio.sleep(LOAD_S)
        await work(node)
        loading.cancel()

    simulate(running())


def test_the_positions_in_a_topic_go_with_it() -> None:
    """A new topic of that name would be read from where the old one was left."""

    async def work(node: Node) -> None:
        await node.commit("t", 1000)
        await node.commit("other", 5)
        node.see(image(other=1))
        assert node.committed() == {"other": 5}
        node.see(image(t=2, other=1))
        await node.commit("t", 7)
        assert node.committed() == {"t": 7, "other": 5}

    on_node(work)


def test_a_topic_that_was_made_anew_between_two_looks_is_another_one() -> None:
    async def work(node: Node) -> None:
        await node.commit("t", 1000)
        node.see(image(t=2, other=1))
        assert node.committed() == {}

    on_node(work)


def test_a_position_on_its_way_goes_too_and_one_in_the_new_topic_stays() -> None:
    async def work(node: Node) -> None:
        node.flushes = False
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(node.commit("t", 1000))
            await asyncio.sleep(0)
            node.see(image(t=2))
            assert node.committed() == {}
            flush(node.partition)
            await asyncio.sleep(0)
            assert node.committed() == {}
            tasks.create_task(node.commit("t", 4))
            await asyncio.sleep(0)
            flush(node.partition)
        assert node.committed() == {"t": 4}

    on_node(work)


def test_a_coordinator_that_is_still_loading_forgets_when_it_knows_what_there_is() -> None:
    async def work(node: Node) -> None:
        await node.commit("t", 1000)
        after = Node(node.partition)
        after.see(image(t=1))
        after.see(image())
        loading = asyncio.create_task(after.all.run())
        await asyncio.sleep(LOAD_S)
        assert after.committed() == {}
        loading.cancel()

    on_node(work)

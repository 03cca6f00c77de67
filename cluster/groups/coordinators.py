"""All coordinators of this broker: they come and go with the leaderships of `__consumer_offsets`."""

import asyncio
import random
from collections.abc import Callable, Mapping

import structlog

from cluster.groups.classic_rebalance import Clock
from cluster.groups.coordinator import Coordinator
from cluster.groups.errors import NotCoordinatorError
from cluster.groups.placement import OFFSETS_TOPIC, partition_for
from cluster.groups.settings import GroupSettings
from cluster.groups.shard import Shard
from cluster.groups.topics import Topics
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from kraft.metadata.image import MetadataImage, TopicImage
from storage.errors import OttlaError

log = structlog.get_logger("groups")

EXPIRY_CHECK_S = 600.0
"""Kafka's offsets.retention.check.interval.ms."""


class Coordinators:
    """`lookup` finds a partition that this broker may serve, by topic name and index, and raises OttlaError.

    image: this node's newest metadata, which may be ahead of the roles that its replicas have.
    """

    def __init__(
        self,
        partitions: Mapping[TopicIdPartition, Partition],
        lookup: Callable[[str, int], Partition],
        image: Callable[[], MetadataImage],
        request_flush: Callable[[Partition], None],
        now: Callable[[], Clock],
        settings: Callable[[], GroupSettings],
        rng: random.Random,
    ) -> None:
        self._partitions = partitions
        self._lookup = lookup
        self._image = image
        self._request_flush = request_flush
        self._now = now
        self._settings = settings
        self._rng = rng
        self._shards: dict[TopicIdPartition, Shard] = {}
        self._topic: TopicImage | None = None
        self._topics = Topics({})
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Load what comes, and let offsets expire, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for shard in self._shards.values():
                    tasks.create_task(self._load(shard))
                while True:
                    await asyncio.sleep(EXPIRY_CHECK_S)
                    for shard in tuple(self._shards.values()):
                        shard.expire_offsets()
        finally:
            self._tasks = None
            for shard in self._shards.values():
                shard.close()

    def roles_changed(self, image: MetadataImage) -> None:
        """Replicas have taken the roles that an image gives them."""
        self._topic = image.topics_by_name.get(OFFSETS_TOPIC)
        for shard in self._shards.values():
            shard.coordinator.configure(self._settings())
        led = dict(self._led())
        for identity, shard in tuple(self._shards.items()):
            if led.get(identity) != shard.leader_epoch:
                del self._shards[identity]
                shard.close()
        for identity in led:
            if identity not in self._shards:
                self._begin(identity)
        # At last, so that those which have just begun hear of topics that are gone.
        self._see_topics()

    def _see_topics(self) -> None:
        """Groups look at their topics again with the next heartbeat when they have changed. Of those that are gone no
        positions stay.
        """
        image = self._image()
        if image.topics_by_name is not self._topics.by_name:
            before, self._topics = self._topics, Topics(image.topics_by_name, image.offset)
            gone = self._topics.gone_since(before)
            for shard in self._shards.values():
                shard.coordinator.consumer.topics = self._topics
                shard.topics_gone(gone)

    def _led(self) -> list[tuple[TopicIdPartition, int]]:
        if self._topic is None:
            return []
        found = []
        for number in self._topic.partitions:
            identity = TopicIdPartition(self._topic.topic_id, number)
            partition = self._partitions.get(identity)
            if partition is not None and isinstance(partition.role, LeaderState):
                found.append((identity, partition.leader_epoch))
        return found

    def _begin(self, identity: TopicIdPartition) -> None:
        coordinator = Coordinator(self._settings(), self._rng)
        coordinator.consumer.topics = self._topics
        shard = Shard(self._partitions[identity], coordinator, self._now, self._request_flush)
        self._shards[identity] = shard
        if self._tasks is not None:
            self._tasks.create_task(self._load(shard))

    async def _load(self, shard: Shard) -> None:
        try:
            await shard.load()
        except OttlaError as error:
            # Its groups stay unavailable: what cannot be read is not guessed at.
            log.error("groups cannot be loaded", partition=shard.partition.name, error=str(error))

    def shard(self, group_id: str) -> Shard:
        """The shard of a group. Raises NotCoordinatorError."""
        topic = self._topic
        if topic is None:
            raise NotCoordinatorError(f"there is no {OFFSETS_TOPIC} yet: ask for the coordinator")
        # A member may know of a topic from this node before all of its replicas are made.
        self._see_topics()
        number = partition_for(group_id, len(topic.partitions))
        try:
            self._lookup(OFFSETS_TOPIC, number).leader()
        except OttlaError as error:
            raise NotCoordinatorError(str(error)) from None
        shard = self._shards.get(TopicIdPartition(topic.topic_id, number))
        if shard is None:
            raise NotCoordinatorError(
                f"this node has just begun to lead {OFFSETS_TOPIC}-{number}: try again"
            )
        return shard

    def shards(self) -> list[Shard]:
        """All that this broker has."""
        return list(self._shards.values())

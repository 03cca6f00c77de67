"""Where a group's coordinator is; the topic that groups are kept in is made when first needed."""

from collections.abc import Awaitable, Callable, Iterable

import structlog

from cluster.groups.errors import CoordinatorNotAvailableError
from cluster.groups.placement import OFFSETS_TOPIC, partition_for
from cluster.handlers.admin import AdminHandler
from kraft.metadata.effective_config import broker_value, floors
from kraft.metadata.image import MetadataImage
from kraft.metadata.requests import CreateTopics, NewTopic
from storage.errors import OttlaError

log = structlog.get_logger("groups")

CREATE_S = 5.0
# Waits while one of the leaders that a function finds in an image may be dead.
Settled = Callable[[Callable[[MetadataImage], Iterable[int]]], Awaitable[None]]


class GroupLocation:
    """`image`: this node's newest metadata. `settled` waits while a leader may be dead."""

    def __init__(
        self, admin: AdminHandler, image: Callable[[], MetadataImage], settled: Settled
    ) -> None:
        self._admin = admin
        self._image = image
        self._settled = settled

    async def coordinator(self, group_id: str) -> int:
        """The node that coordinates a group. Raises CoordinatorNotAvailableError while there is none."""
        image = self._image()
        topic = image.topics_by_name.get(OFFSETS_TOPIC)
        if topic is None:
            await self._create(image)
            # Its leaders need a moment to know that they lead: clients ask again after a pause, as with Kafka.
            raise CoordinatorNotAvailableError(f"{OFFSETS_TOPIC} is being made: try again")
        number = partition_for(group_id, len(topic.partitions))
        await self._settled(lambda image: _leader(image, number))
        (leader,) = _leader(self._image(), number) or (-1,)
        if leader < 0:
            raise CoordinatorNotAvailableError(
                f"{OFFSETS_TOPIC}-{number}, which keeps group {group_id!r}, has no leader at the moment"
            )
        return leader

    async def _create(self, image: MetadataImage) -> None:
        found = floors(image)
        wanted = NewTopic(
            name=OFFSETS_TOPIC,
            partitions=broker_value(found, "offsets.topic.num.partitions"),
            # A cluster of one or two nodes has groups too. Brokers that are away count: with fewer replicas for ever
            # than it could have, the topic would be less safe than what it is about.
            replication_factor=max(
                1, min(broker_value(found, "offsets.topic.replication.factor"), len(image.brokers))
            ),
            configs={
                "cleanup.policy": "compact",
                "compression.type": "producer",
                "segment.bytes": str(broker_value(found, "offsets.topic.segment.bytes")),
            },
        )
        try:
            await self._admin.change(CreateTopics(topics=(wanted,)), CREATE_S)
        except OttlaError as error:
            log.warning("the topic of groups is not made yet", reason=str(error))


def _leader(image: MetadataImage, number: int) -> tuple[int, ...]:
    found = image.partition(OFFSETS_TOPIC, number)
    return () if found is None else (found.leader,)

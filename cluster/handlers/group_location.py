"""Where a group's coordinator is; the topic that groups are kept in is made when first needed."""

from collections.abc import Callable

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


class GroupLocation:
    """`image`: this node's newest metadata."""

    def __init__(self, admin: AdminHandler, image: Callable[[], MetadataImage]) -> None:
        self._admin = admin
        self._image = image

    async def coordinator(self, group_id: str) -> int:
        """The node that coordinates a group. Raises CoordinatorNotAvailableError while there is none."""
        image = self._image()
        topic = image.topics_by_name.get(OFFSETS_TOPIC)
        if topic is None:
            await self._create(image)
            # Its leaders need a moment to know that they lead: clients ask again after a pause, as with Kafka.
            raise CoordinatorNotAvailableError(f"{OFFSETS_TOPIC} is being made: try again")
        number = partition_for(group_id, len(topic.partitions))
        leader = topic.partitions[number].leader
        if leader < 0:
            raise CoordinatorNotAvailableError(
                f"{OFFSETS_TOPIC}-{number}, which keeps group {group_id!r}, has no leader at the moment"
            )
        return leader

    async def _create(self, image: MetadataImage) -> None:
        found = floors(image)
        alive = sum(not each.fenced for each in image.brokers.values())
        wanted = NewTopic(
            name=OFFSETS_TOPIC,
            partitions=broker_value(found, "offsets.topic.num.partitions"),
            # A cluster of one or two nodes has groups too.
            replication_factor=max(
                1, min(broker_value(found, "offsets.topic.replication.factor"), alive)
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

"""Topics as Metadata tells them, encoded once: after a failover all clients ask for the same at the same moment."""

from collections.abc import Mapping
from typing import NamedTuple

from kraft.metadata.image import (
    BrokerRegistration,
    MetadataImage,
    PartitionRegistration,
    TopicImage,
)
from storage.errors import ErrorCode
from wire.codec import encoded
from wire.messages.metadata import (
    MetadataResponse,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

# Bit n is Kafka's AclOperation n: what may be done where nobody is refused anything.
TOPIC_OPERATIONS = sum(1 << bit for bit in (3, 4, 5, 6, 7, 8, 10, 11))
KEPT_MAX = 20_000
"""Topics, each counted once for every version that it is told in."""


class _Form(NamedTuple):
    name: str
    version: int
    with_operations: bool


class ToldTopics:
    """Keeps what was encoded for as long as it is true."""

    def __init__(self) -> None:
        self._brokers: Mapping[int, BrokerRegistration] = {}
        self._kept: dict[_Form, tuple[TopicImage, MetadataResponseTopic]] = {}
        self._leaders_of: Mapping[str, TopicImage] = {}
        self._leaders: frozenset[int] = frozenset()

    def topic(
        self, image: MetadataImage, topic: TopicImage, version: int, *, with_operations: bool
    ) -> MetadataResponseTopic:
        """A topic for an answer of that version."""
        if self._brokers is not image.brokers or len(self._kept) >= KEPT_MAX:
            # Who is away is told with each partition.
            self._brokers = image.brokers
            self._kept.clear()
        form = _Form(topic.name, version, with_operations)
        kept = self._kept.get(form)
        if kept is not None and kept[0] is topic:
            return kept[1]
        whole = _topic(image, topic, with_operations=with_operations)
        told = encoded(whole, version, version >= MetadataResponse.FLEXIBLE)
        self._kept[form] = topic, told
        return told

    def leaders(self, image: MetadataImage) -> frozenset[int]:
        """Who leads anything."""
        if self._leaders_of is not image.topics_by_name:
            self._leaders_of = image.topics_by_name
            self._leaders = frozenset(
                partition.leader
                for topic in image.topics_by_name.values()
                for partition in topic.partitions.values()
            )
        return self._leaders


def _topic(
    image: MetadataImage, topic: TopicImage, *, with_operations: bool
) -> MetadataResponseTopic:
    told = MetadataResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.name.startswith("__"),
        partitions=tuple(
            _partition(image, number, topic.partitions[number])
            for number in sorted(topic.partitions)
        ),
    )
    if with_operations:
        told.topic_authorized_operations = TOPIC_OPERATIONS
    return told


def _partition(
    image: MetadataImage, number: int, found: PartitionRegistration
) -> MetadataResponsePartition:
    return MetadataResponsePartition(
        error_code=ErrorCode.NONE if found.leader >= 0 else ErrorCode.LEADER_NOT_AVAILABLE,
        partition_index=number,
        leader_id=found.leader,
        leader_epoch=found.leader_epoch,
        replica_nodes=found.replicas,
        isr_nodes=found.isr,
        offline_replicas=offline(image, found),
    )


def offline(image: MetadataImage, found: PartitionRegistration) -> tuple[int, ...]:
    """The replicas whose brokers are not there."""
    brokers = image.brokers
    return tuple(each for each in found.replicas if each not in brokers or brokers[each].fenced)

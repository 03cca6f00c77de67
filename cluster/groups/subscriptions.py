"""Which topics and partitions members of classic consumer groups speak of in the bytes of the consumer protocol."""

from collections.abc import Iterable

from cluster.groups.reconciliation import AssignedPartition, Assignment
from cluster.groups.topics import Topics
from wire.consumer_protocol import (
    PROTOCOL_TYPE,
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    Partitions,
    read,
    version_of,
    write,
)
from wire.errors import WireError


def subscribed_topics(
    protocol_type: str | None, subscriptions: Iterable[bytes]
) -> frozenset[str] | None:
    """All topics of all members; None when that cannot be told, as with protocols that are not consumers'."""
    if protocol_type != PROTOCOL_TYPE:
        return None
    topics: set[str] = set()
    for data in subscriptions:
        try:
            topics.update(read(ConsumerProtocolSubscription, data).topics)
        except WireError:
            return None
    return frozenset(topics)


def known(partitions: Iterable[Partitions], topics: Topics) -> Assignment:
    """Partitions by the ids of their topics; topics that are gone are left out."""
    return frozenset(
        AssignedPartition(topic_id, number)
        for each in partitions
        if (topic_id := topics.topic_id(each.topic)) is not None
        for number in each.partitions
    )


def assignment_bytes(partitions: Assignment, topics: Topics, subscription: bytes) -> bytes:
    """What a classic member has to read, in the version that it speaks. Topics that are gone are left out."""
    by_name: dict[str, list[int]] = {}
    for topic_id, number in sorted(partitions):
        name = topics.name(topic_id)
        if name is not None:
            by_name.setdefault(name, []).append(number)
    message = ConsumerProtocolAssignment(
        assigned_partitions=tuple(
            Partitions(topic=name, partitions=tuple(numbers)) for name, numbers in by_name.items()
        )
    )
    return write(message, version_of(subscription))

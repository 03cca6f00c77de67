"""GroupService: what is told of a KIP-848 group. Assignments are in Kafka's bytes, as those of classic groups are."""

from cluster.groups.reconciliation import Assignment
from cluster.groups.views import CLASSIC, CONSUMER, ConsumerGroupView, ConsumerMemberView
from kraft.metadata.image import MetadataImage
from ottla.v1 import groups_pb2 as pb
from wire.consumer_protocol import (
    PROTOCOL_TYPE,
    VERSION,
    ConsumerProtocolAssignment,
    Partitions,
    write,
)

UNKNOWN = -1


def described_consumer(group: ConsumerGroupView, image: MetadataImage) -> pb.DescribedGroup:
    """`image`: for the names of topics; those that are gone are left out."""
    return pb.DescribedGroup(
        group_id=group.group_id,
        state=group.state,
        type=CONSUMER,
        protocol_type=PROTOCOL_TYPE,
        protocol_name=group.assignor,
        state_since_ms=UNKNOWN,
        group_epoch=group.epoch,
        assignment_epoch=group.assignment_epoch,
        members=[_member(each, image) for each in group.members],
    )


def _member(view: ConsumerMemberView, image: MetadataImage) -> pb.DescribedMember:
    member = view.member
    return pb.DescribedMember(
        member_id=member.member_id,
        group_instance_id=member.instance_id,
        client_id=member.client_id,
        host=member.client_host,
        assignment=_assignment(member.has, image),
        type=CONSUMER if member.classic is None else CLASSIC,
        member_epoch=member.epoch,
        target_assignment=_assignment(view.target, image),
        subscribed_topics=member.topics,
        subscribed_regex=member.regex,
        rack_id=member.rack_id,
    )


def _assignment(partitions: Assignment, image: MetadataImage) -> bytes:
    topics: dict[str, list[int]] = {}
    for topic_id, number in sorted(partitions):
        topic = image.topics_by_id.get(topic_id)
        if topic is not None:
            topics.setdefault(topic.name, []).append(number)
    return write(
        ConsumerProtocolAssignment(
            assigned_partitions=tuple(
                Partitions(topic=name, partitions=tuple(numbers))
                for name, numbers in topics.items()
            )
        ),
        VERSION,
    )

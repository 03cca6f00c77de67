"""Gathers the facts of a group from its coordinator and the leaders of its partitions."""

from collections.abc import Collection, Mapping, Sequence

from ottla.client.admin import Admin
from ottla.client.consumer_protocol import decode_assignment
from ottla.client.errors import BrokerError, ClientError
from ottla.client.group_facts import GroupFacts, MemberFacts, PartitionFacts
from ottla.client.offsets import OffsetSpec
from ottla.client.records import OffsetAndMetadata, TopicPartition
from ottla.v1 import admin_pb2, groups_pb2
from storage.errors import ErrorCode
from wire.consumer_protocol import PROTOCOL_TYPE

KIP_848 = "consumer"
"""The type of groups with the protocol of KIP-848."""


async def survey(admin: Admin, group_id: str, now_ms: int) -> GroupFacts:
    """Ask coordinator and leaders; now_ms: since the epoch. Raises BrokerError GROUP_ID_NOT_FOUND, NoBrokerError."""
    described = await admin.describe_group(group_id)
    members = tuple(_member(described, each) for each in described.members)
    committed = await admin.group_offsets(group_id)
    readers = {where: member for member in members for where in member.partitions}
    wanted = sorted({*committed, *readers})
    return GroupFacts(
        group_id,
        described.state,
        described.type,
        described.protocol_name,
        await admin.coordinator(group_id),
        members,
        await partitions(admin, wanted, committed, readers),
        described.state_since_ms,
        now_ms,
        described.group_epoch if described.type == KIP_848 else -1,
        described.assignment_epoch if described.type == KIP_848 else -1,
    )


async def partitions(
    admin: Admin,
    wanted: Sequence[TopicPartition],
    committed: Mapping[TopicPartition, OffsetAndMetadata | None],
    readers: Mapping[TopicPartition, MemberFacts],
) -> tuple[PartitionFacts, ...]:
    """The facts of partitions, those without a leader or topic included."""
    topics = await _topics(admin, {each.topic for each in wanted})
    leaders = {
        TopicPartition(topic.name, each.partition): each.leader_id
        for topic in topics
        for each in topic.partitions
    }
    reachable = [each for each in wanted if leaders.get(each, -1) >= 0]
    begins, ends = await bounds(admin, reachable)
    found = []
    for where in wanted:
        position = committed.get(where)
        found.append(
            PartitionFacts(
                where,
                -1 if position is None else position.offset,
                -1 if position is None else position.commit_timestamp_ms,
                begins.get(where, -1),
                ends.get(where, -1),
                leaders.get(where, -1),
                where in leaders,
                readers.get(where),
                -1 if position is None else position.leader_epoch,
            )
        )
    return tuple(found)


async def bounds(
    admin: Admin, wanted: Collection[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """First offsets and ends of partitions that have leaders."""
    found = []
    for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST):
        answers = await admin.offsets(dict.fromkeys(wanted, spec)) if wanted else {}
        found.append({TopicPartition(*where): each.offset for where, each in answers.items()})
    return found[0], found[1]


async def _topics(admin: Admin, names: Collection[str]) -> list[admin_pb2.Topic]:
    found = []
    for name in sorted(names):
        try:
            found += await admin.topics([name])
        except BrokerError as error:
            if error.code != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                raise
    return found


def _member(group: groups_pb2.DescribedGroup, member: groups_pb2.DescribedMember) -> MemberFacts:
    found: tuple[TopicPartition, ...] = ()
    if group.protocol_type == PROTOCOL_TYPE:
        try:
            found = decode_assignment(member.assignment)
        except ClientError:
            # Another client's bytes; its partitions cannot be told.
            found = ()
    facts = MemberFacts(
        member.member_id, member.group_instance_id, member.client_id, member.host, found
    )
    if group.type != KIP_848:
        return facts
    return facts._replace(
        protocol=member.type,
        epoch=member.member_epoch,
        target=decode_assignment(member.target_assignment),
    )

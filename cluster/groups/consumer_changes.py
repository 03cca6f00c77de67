"""The records that a change of a KIP-848 group is kept as. Pure."""

from cluster.groups import consumer_records as r
from cluster.groups.consumer_group import ConsumerGroupState, by_topic
from cluster.groups.reconciliation import Assignment, ClassicTerms, ConsumerMember
from cluster.groups.records import GroupRecord


def epoch(group_id: str, number: int, metadata_hash: int) -> GroupRecord:
    """The group's epoch."""
    return GroupRecord(
        r.ConsumerGroupMetadataKey(group=group_id),
        r.ConsumerGroupMetadataValue(epoch=number, metadata_hash=metadata_hash),
    )


def assignment_epoch(group_id: str, number: int) -> GroupRecord:
    """The epoch of the target assignment."""
    return GroupRecord(
        r.ConsumerGroupTargetAssignmentMetadataKey(group=group_id),
        r.ConsumerGroupTargetAssignmentMetadataValue(assignment_epoch=number),
    )


def subscription(group_id: str, member: ConsumerMember) -> GroupRecord:
    """Who a member is and what it wants."""
    return GroupRecord(
        r.ConsumerGroupMemberMetadataKey(group=group_id, member_id=member.member_id),
        r.ConsumerGroupMemberMetadataValue(
            instance_id=member.instance_id,
            rack_id=member.rack_id,
            client_id=member.client_id,
            client_host=member.client_host,
            subscribed_topic_names=member.topics,
            subscribed_topic_regex=member.regex,
            rebalance_timeout_ms=member.rebalance_timeout_ms,
            server_assignor=member.assignor,
            classic_member_metadata=_classic(member.classic),
        ),
    )


def target(group_id: str, member_id: str, assignment: Assignment) -> GroupRecord:
    """What a member shall have."""
    return GroupRecord(
        r.ConsumerGroupTargetAssignmentMemberKey(group=group_id, member_id=member_id),
        r.ConsumerGroupTargetAssignmentMemberValue(topic_partitions=_topics(assignment)),
    )


def current(group_id: str, member: ConsumerMember) -> GroupRecord:
    """What a member has."""
    return GroupRecord(
        r.ConsumerGroupCurrentMemberAssignmentKey(group=group_id, member_id=member.member_id),
        r.ConsumerGroupCurrentMemberAssignmentValue(
            member_epoch=member.epoch,
            previous_member_epoch=member.previous_epoch,
            state=member.state,
            assigned_partitions=_topics(member.assigned),
            partitions_pending_revocation=_topics(member.revoking),
        ),
    )


def regex(
    group_id: str, expression: str, topics: tuple[str, ...], offset: int, wall_ms: int
) -> GroupRecord:
    """What a regular expression has matched."""
    return GroupRecord(
        r.ConsumerGroupRegularExpressionKey(group=group_id, regular_expression=expression),
        r.ConsumerGroupRegularExpressionValue(topics=topics, version=offset, timestamp=wall_ms),
    )


def no_regex(group_id: str, expression: str) -> GroupRecord:
    """Nobody uses it any more."""
    return GroupRecord(
        r.ConsumerGroupRegularExpressionKey(group=group_id, regular_expression=expression), None
    )


def no_member(group_id: str, member_id: str) -> list[GroupRecord]:
    """A member is gone. What it had goes first, what it was last."""
    return [
        GroupRecord(
            r.ConsumerGroupCurrentMemberAssignmentKey(group=group_id, member_id=member_id), None
        ),
        GroupRecord(
            r.ConsumerGroupTargetAssignmentMemberKey(group=group_id, member_id=member_id), None
        ),
        GroupRecord(r.ConsumerGroupMemberMetadataKey(group=group_id, member_id=member_id), None),
    ]


def no_group(group_id: str, state: ConsumerGroupState) -> list[GroupRecord]:
    """The whole group is gone."""
    members = dict.fromkeys([*state.members, *state.targets])
    records = [record for each in members for record in no_member(group_id, each)]
    records += [no_regex(group_id, each) for each in state.regexes]
    records.append(GroupRecord(r.ConsumerGroupTargetAssignmentMetadataKey(group=group_id), None))
    records.append(GroupRecord(r.ConsumerGroupMetadataKey(group=group_id), None))
    return records


def _classic(classic: ClassicTerms | None) -> r.ClassicMemberMetadata | None:
    if classic is None:
        return None
    return r.ClassicMemberMetadata(
        session_timeout_ms=classic.session_timeout_ms,
        supported_protocols=tuple(
            r.ClassicProtocol(name=name, metadata=metadata) for name, metadata in classic.protocols
        ),
    )


def _topics(assignment: Assignment) -> tuple[r.TopicPartitions, ...]:
    return tuple(
        r.TopicPartitions(topic_id=topic_id, partitions=numbers)
        for topic_id, numbers in by_topic(assignment).items()
    )

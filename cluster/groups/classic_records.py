"""Between a classic group and the record that keeps its generation."""

from collections.abc import Mapping

from cluster.groups.classic_group import NO_PROTOCOL, ClassicGroup, Member, State
from cluster.groups.records import (
    GroupMetadataKey,
    GroupMetadataValue,
    GroupRecord,
    MemberMetadata,
)
from cluster.groups.subscriptions import subscribed_topics


def generation_record(
    group: ClassicGroup, assignments: Mapping[str, bytes], wall_ms: int
) -> GroupRecord:
    """The generation as the log keeps it."""
    protocol = group.protocol or NO_PROTOCOL
    return GroupRecord(
        GroupMetadataKey(group=group.group_id),
        GroupMetadataValue(
            protocol_type=group.protocol_type or "",
            generation=group.generation,
            protocol=group.protocol,
            leader=group.leader_id,
            current_state_timestamp=wall_ms,
            members=tuple(
                MemberMetadata(
                    member_id=each.member_id,
                    group_instance_id=each.instance_id,
                    client_id=each.client_id,
                    client_host=each.client_host,
                    rebalance_timeout=each.rebalance_timeout_ms,
                    session_timeout=each.session_timeout_ms,
                    subscription=each.metadata(protocol),
                    assignment=assignments.get(each.member_id, b""),
                )
                for each in group.members.values()
            ),
        ),
    )


def restored(group_id: str, value: GroupMetadataValue, now_ms: int) -> ClassicGroup:
    """A generation as it was kept: its members get a fresh session to speak up in."""
    group = ClassicGroup(
        group_id,
        State.STABLE if value.members else State.EMPTY,
        value.protocol_type or None,
        value.generation,
        value.protocol,
        value.leader,
        state_since_wall_ms=value.current_state_timestamp,
    )
    protocol = value.protocol or ""
    for each in value.members:
        member = Member(
            each.member_id,
            each.group_instance_id,
            each.client_id,
            each.client_host,
            each.session_timeout,
            each.rebalance_timeout if each.rebalance_timeout >= 0 else each.session_timeout,
            ((protocol, each.subscription),),
            each.assignment,
        )
        member.heard(now_ms)
        group.members[each.member_id] = member
        if each.group_instance_id is not None:
            group.static[each.group_instance_id] = each.member_id
    group.subscribed = subscribed_topics(
        group.protocol_type, (each.subscription for each in value.members)
    )
    return group

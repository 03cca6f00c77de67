"""What is refused in a KIP-848 group before anything is decided. Pure."""

from cluster.groups.assignors import ASSIGNORS
from cluster.groups.consumer_group import ConsumerGroup, ConsumerGroupState
from cluster.groups.errors import (
    FencedInstanceIdError,
    FencedMemberEpochError,
    IllegalGenerationError,
    InvalidGroupRequestError,
    StaleMemberEpochError,
    UnknownMemberIdError,
    UnreleasedInstanceIdError,
    UnsupportedAssignorError,
)
from cluster.groups.reconciliation import (
    JOINING,
    LEAVING,
    LEAVING_FOR_A_WHILE,
    AssignedPartition,
    Assignment,
    ConsumerMember,
    MemberState,
)
from cluster.groups.settings import Caller, GroupSettings
from wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest


def check_request(
    request: ConsumerGroupHeartbeatRequest, caller: Caller, settings: GroupSettings
) -> None:
    """Whether the fields fit together. Raises InvalidGroupRequestError, UnsupportedAssignorError."""
    epoch = request.member_epoch
    for name in ("instance_id", "rack_id"):
        if getattr(request, name) == "":
            raise InvalidGroupRequestError(f"{name} is empty: leave it out instead")
    if epoch < LEAVING_FOR_A_WHILE:
        raise InvalidGroupRequestError(f"a member epoch of {epoch}")
    if not request.member_id and (epoch != JOINING or caller.makes_member_id):
        raise InvalidGroupRequestError("a member needs an id")
    if epoch == LEAVING_FOR_A_WHILE and request.instance_id is None:
        raise InvalidGroupRequestError("only a static member can leave for a while")
    if epoch == JOINING:
        _check_first(request)
    if request.server_assignor is not None:
        offered = [each for each in settings.consumer_assignors if each in ASSIGNORS]
        if request.server_assignor not in offered:
            raise UnsupportedAssignorError(
                f"there is no assignor {request.server_assignor!r}; there is {', '.join(offered)}"
            )


def _check_first(request: ConsumerGroupHeartbeatRequest) -> None:
    if request.rebalance_timeout_ms < 0:
        raise InvalidGroupRequestError("the first heartbeat says the rebalance timeout")
    if request.topic_partitions is None or request.topic_partitions:
        raise InvalidGroupRequestError("who joins has no partitions, and says so by an empty list")
    if not request.subscribed_topic_names and not request.subscribed_topic_regex:
        raise InvalidGroupRequestError("the first heartbeat says what to read")


def checked_member(group: ConsumerGroup, request: ConsumerGroupHeartbeatRequest) -> ConsumerMember:
    """The member that asks, if it may. Raises GroupError."""
    state, instance_id, epoch = group.current, request.instance_id, request.member_epoch
    if instance_id is None:
        member = state.members.get(request.member_id)
        if member is None:
            raise _unknown(group, request.member_id)
    else:
        member = _static(group, instance_id, request)
    takes_over = instance_id is not None and epoch == JOINING
    if member.classic is not None and not takes_over:
        raise UnknownMemberIdError(
            f"member {member.member_id} of group {group.group_id} has the classic protocol"
        )
    if epoch > JOINING:
        _check_epoch(member, epoch, owned_partitions(request))
    return member


def _static(
    group: ConsumerGroup, instance_id: str, request: ConsumerGroupHeartbeatRequest
) -> ConsumerMember:
    state = group.current
    current_id = state.static.get(instance_id)
    if current_id is None:
        raise UnknownMemberIdError(f"group {group.group_id} has no static member {instance_id}")
    member = state.members[current_id]
    if request.member_epoch == JOINING:
        # The same process may join again: its first answer was lost.
        may_go = member.epoch == LEAVING_FOR_A_WHILE or member.classic is not None
        if current_id != request.member_id and not may_go:
            raise UnreleasedInstanceIdError(
                f"static member {instance_id} of group {group.group_id} is {current_id}, which has not left"
            )
        if current_id != request.member_id and request.member_id in state.members:
            raise InvalidGroupRequestError(
                f"{request.member_id} is another member of group {group.group_id} already"
            )
    elif current_id != request.member_id:
        raise FencedInstanceIdError(f"another process has joined as {instance_id}")
    return member


def _check_epoch(member: ConsumerMember, epoch: int, owned: Assignment | None) -> None:
    if epoch == member.epoch:
        return
    lost_an_answer = epoch == member.previous_epoch and owned is not None and owned <= member.has
    if epoch > member.epoch or not lost_an_answer:
        raise FencedMemberEpochError(
            f"member {member.member_id} is at epoch {member.epoch}, the request at {epoch}: "
            "let all partitions go and join again"
        )


def owned_partitions(request: ConsumerGroupHeartbeatRequest) -> Assignment | None:
    """What the member says it has; None: it does not say."""
    if request.topic_partitions is None:
        return None
    return frozenset(
        AssignedPartition(topic.topic_id, number)
        for topic in request.topic_partitions
        if topic.topic_id is not None
        for number in topic.partitions
    )


def check_commit(group_id: str, state: ConsumerGroupState, member_id: str, epoch: int) -> None:
    """Whether offsets may be committed so. Raises UnknownMemberIdError, and StaleMemberEpochError or
    IllegalGenerationError, as the member's protocol has it.
    """
    if epoch < 0 and not state.members:
        # An administrator, or somebody who uses the group for its offsets only.
        return
    _check_member_epoch(group_id, state, member_id, epoch)


def check_fetch(
    group_id: str, state: ConsumerGroupState, member_id: str | None, epoch: int
) -> None:
    """Whether offsets may be read so; who names no member may. Raises as `check_commit`."""
    if not member_id and epoch < 0:
        return
    _check_member_epoch(group_id, state, member_id or "", epoch)


def _check_member_epoch(
    group_id: str, state: ConsumerGroupState, member_id: str, epoch: int
) -> None:
    member = state.members.get(member_id)
    if member is None:
        raise UnknownMemberIdError(f"group {group_id} has no member {member_id!r}")
    if member.classic is not None:
        if epoch != member.epoch or member.is_held_back:
            raise IllegalGenerationError(
                f"member {member_id} of group {group_id} is at generation {member.epoch}, the request at {epoch}"
            )
        return
    told_to_let_go = member.state is MemberState.UNREVOKED_PARTITIONS
    if epoch != member.epoch and not (told_to_let_go and epoch == member.previous_epoch):
        raise StaleMemberEpochError(
            f"member {member_id} of group {group_id} is at epoch {member.epoch}, the request at {epoch}"
        )


def _unknown(group: ConsumerGroup, member_id: str) -> UnknownMemberIdError:
    return UnknownMemberIdError(f"group {group.group_id} has no member {member_id!r}")


assert LEAVING_FOR_A_WHILE < LEAVING < JOINING

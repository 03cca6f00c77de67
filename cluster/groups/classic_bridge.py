"""Members with the classic protocol in a KIP-848 group: JoinGroup, SyncGroup and Heartbeat. Pure; model: Kafka's
GroupMetadataManager.

Nobody waits for the others and nobody leads: a join is answered at once with the member's epoch as its generation, a
sync with what the coordinator gives it. What the member has it says in the subscription that it joins with, so a join
is to it what a full heartbeat is to the others; a heartbeat tells it that it has to join again.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from cluster.groups.classic_members import rebalance_timeout_ms
from cluster.groups.classic_rebalance import Clock
from cluster.groups.consumer_group import ConsumerGroup, ConsumerGroupState
from cluster.groups.consumer_members import ConsumerMembers
from cluster.groups.errors import (
    FencedInstanceIdError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    MemberIdRequiredError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from cluster.groups.reconciliation import (
    JOINING,
    NOTHING,
    ClassicTerms,
    ConsumerMember,
    MemberState,
)
from cluster.groups.settings import Caller
from cluster.groups.step import Step, Ticket
from cluster.groups.subscriptions import assignment_bytes, known
from cluster.groups.topics import Topics
from wire.consumer_protocol import PROTOCOL_TYPE, ConsumerProtocolSubscription, read
from wire.errors import WireError
from wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse


class ClassicBridge:
    """Refusals are raised as GroupError before anything is changed. `topics`: the newest metadata."""

    def __init__(
        self, members: ConsumerMembers, rng: random.Random, topics: Callable[[], Topics]
    ) -> None:
        self._members = members
        self._rng = rng
        self._topics = topics

    def join(
        self,
        group: ConsumerGroup,
        request: JoinGroupRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        """A process wants to be a member, or says what it has and asks for what is due to it."""
        state = group.current
        if request.member_id not in state.members and request.group_instance_id not in state.static:
            self._members.check_size(group)
        wanted = _checked_subscription(group, request)
        member_id = request.member_id or self._new_id(request, caller)
        if not (request.member_id or request.group_instance_id) and caller.knows_member_id_required:
            required = JoinGroupResponse(
                error_code=MemberIdRequiredError.code, member_id=member_id, protocol_name=None
            )
            return Step().answer(ticket, required)
        before = self._admit(group, member_id, request)
        after = replace(
            before,
            instance_id=request.group_instance_id,
            rack_id=wanted.rack_id or before.rack_id,
            client_id=caller.client_id,
            client_host=caller.host,
            rebalance_timeout_ms=rebalance_timeout_ms(request),
            topics=tuple(sorted(set(wanted.topics))),
            regex=None,
            assignor=None,
            classic=ClassicTerms(
                request.session_timeout_ms,
                tuple((each.name, each.metadata) for each in request.protocols),
            ),
        )
        anew = self._members.subscribe(group, before, after)
        self._members.follow_topics(group, clock, anew=anew)
        owned = known(wanted.owned_partitions, self._topics())
        member = group.current.members[member_id]
        if owned and (member.epoch == JOINING or member.is_held_back) and not member.has:
            member = self._members.hold_back(group, member)
        else:
            member = self._members.reconcile(group, member, owned)
        self._members.heard(group, member, clock)
        # It has to ask for its share in time.
        group.must_move(member, clock.now_ms)
        joined = JoinGroupResponse(
            generation_id=member.epoch,
            protocol_type=PROTOCOL_TYPE,
            protocol_name=request.protocols[0].name,
            member_id=member_id,
        )
        return group.finish(Step().answer(ticket, joined))

    def _new_id(self, request: JoinGroupRequest, caller: Caller) -> str:
        number = UUID(int=self._rng.getrandbits(128), version=4)
        return f"{request.group_instance_id or caller.client_id}-{number}"

    def _admit(
        self, group: ConsumerGroup, member_id: str, request: JoinGroupRequest
    ) -> ConsumerMember:
        """The member as it was. A static member's new process takes over from one of either protocol."""
        state, instance_id = group.current, request.group_instance_id
        if instance_id is not None and not request.member_id:
            old_id = state.static.get(instance_id)
            if old_id is not None:
                return self._members.take_over(group, state.members[old_id], member_id)
        elif instance_id is not None:
            return _member(group, member_id, instance_id)
        elif member_id in state.members:
            return _member(group, member_id, None)
        return ConsumerMember(member_id)

    def sync(
        self, group: ConsumerGroup, request: SyncGroupRequest, ticket: Ticket, clock: Clock
    ) -> Step:
        """What a member has to read."""
        member = _member(group, request.member_id, request.group_instance_id)
        assert member.classic is not None
        _check_generation(group, member, request.generation_id)
        protocol, subscription = member.classic.protocols[0]
        if request.protocol_type not in (None, PROTOCOL_TYPE) or request.protocol_name not in (
            None,
            protocol,
        ):
            raise InconsistentGroupProtocolError(
                f"member {member.member_id} was told {PROTOCOL_TYPE}/{protocol}, the request has "
                f"{request.protocol_type}/{request.protocol_name}"
            )
        told_to_let_go = member.state is MemberState.UNREVOKED_PARTITIONS
        if group.current.epoch > member.epoch and not told_to_let_go:
            raise self._join_again(group, member, clock)
        group.moving_until_ms.pop(member.member_id, None)
        self._members.heard(group, member, clock)
        synced = SyncGroupResponse(
            protocol_type=PROTOCOL_TYPE,
            protocol_name=protocol,
            assignment=assignment_bytes(member.assigned, self._topics(), subscription),
        )
        return group.finish(Step().answer(ticket, synced))

    def heartbeat(
        self, group: ConsumerGroup, request: HeartbeatRequest, ticket: Ticket, clock: Clock
    ) -> Step:
        """A member lives, and hears whether it has to join again."""
        member = _member(group, request.member_id, request.group_instance_id)
        _check_generation(group, member, request.generation_id)
        self._members.heard(group, member, clock)
        # Nobody leads who would notice that topics change.
        self._members.follow_topics(group, clock, anew=False)
        if _has_to_join(group.current, member):
            return group.finish(Step().answer(ticket, self._join_again(group, member, clock)))
        return group.finish(Step().answer(ticket, HeartbeatResponse()))

    @staticmethod
    def _join_again(
        group: ConsumerGroup, member: ConsumerMember, clock: Clock
    ) -> RebalanceInProgressError:
        if member.member_id not in group.moving_until_ms:
            group.must_move(member, clock.now_ms)
        return RebalanceInProgressError(
            f"group {group.group_id} is at epoch {group.current.epoch}, member {member.member_id} at {member.epoch}"
        )


def _has_to_join(state: ConsumerGroupState, member: ConsumerMember) -> bool:
    match member.state:
        case MemberState.UNREVOKED_PARTITIONS:
            return True
        case MemberState.UNRELEASED_PARTITIONS if member.epoch == state.epoch:
            # It joins once for everything that it waits for.
            waits_for = state.targets.get(member.member_id, NOTHING) - member.assigned
            return all(state.is_free(member.member_id, each) for each in waits_for)
    return member.epoch < state.epoch


def _checked_subscription(
    group: ConsumerGroup, request: JoinGroupRequest
) -> ConsumerProtocolSubscription:
    """What the member wants; every assignor has the same. Raises InconsistentGroupProtocolError."""
    names = {each.name for each in request.protocols}
    for member in group.current.members.values():
        if member.classic is not None:
            names &= {name for name, _ in member.classic.protocols}
    if request.protocol_type != PROTOCOL_TYPE or not names:
        raise InconsistentGroupProtocolError(
            f"the members of group {group.group_id} do not speak {request.protocol_type!r} with any of "
            f"{[each.name for each in request.protocols]}"
        )
    try:
        return read(ConsumerProtocolSubscription, request.protocols[0].metadata)
    except WireError as error:
        raise InconsistentGroupProtocolError(
            f"a member of group {group.group_id} came with what is no subscription: {error}"
        ) from None


def _member(group: ConsumerGroup, member_id: str, instance_id: str | None) -> ConsumerMember:
    state = group.current
    if instance_id is not None:
        current = state.static.get(instance_id)
        if current is None:
            raise UnknownMemberIdError(f"group {group.group_id} has no static member {instance_id}")
        if current != member_id:
            raise FencedInstanceIdError(f"another process has joined as {instance_id}")
    member = state.members.get(member_id)
    if member is None or member.classic is None:
        raise _unknown(group, member_id)
    return member


def _unknown(group: ConsumerGroup, member_id: str) -> UnknownMemberIdError:
    return UnknownMemberIdError(
        f"group {group.group_id} has no member {member_id!r} with the classic protocol"
    )


def _check_generation(group: ConsumerGroup, member: ConsumerMember, generation: int) -> None:
    if generation != member.epoch:
        raise IllegalGenerationError(
            f"member {member.member_id} of group {group.group_id} is at generation {member.epoch}, the request at "
            f"{generation}"
        )

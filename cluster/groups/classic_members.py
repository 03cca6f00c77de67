"""JoinGroup, SyncGroup, Heartbeat and LeaveGroup of one classic group. Pure; model: Kafka's GroupMetadataManager."""

import random
from uuid import UUID

from cluster.groups import classic_rebalance as rebalance
from cluster.groups.attendance import RECONNECT_MS, Absence
from cluster.groups.classic_group import ClassicGroup, Member, State
from cluster.groups.classic_rebalance import NEW_MEMBER_JOIN_TIMEOUT_MS, Clock
from cluster.groups.classic_records import generation_record
from cluster.groups.errors import (
    CoordinatorNotAvailableError,
    FencedInstanceIdError,
    GroupMaxSizeReachedError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    MemberIdRequiredError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from cluster.groups.settings import Caller, GroupSettings
from cluster.groups.step import Step, Ticket
from cluster.groups.subscriptions import subscribed_topics
from storage.errors import ErrorCode, OttlaError
from wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from wire.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
    MemberResponse,
)
from wire.messages.sync_group import SyncGroupRequest


class ClassicMembers:
    """The requests of members. Refusals are raised as GroupError."""

    def __init__(self, settings: GroupSettings, rng: random.Random) -> None:
        self.settings = settings
        self._rng = rng

    def join(
        self,
        group: ClassicGroup,
        request: JoinGroupRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        """A process wants to be a member, or to stay one in the next generation."""
        names = [each.name for each in request.protocols]
        if not group.supports(request.protocol_type, names):
            raise InconsistentGroupProtocolError(
                f"group {group.group_id} does not speak {request.protocol_type!r} with any of {names}"
            )
        self._check_size(group, request)
        if not request.member_id:
            return self._join_new(group, request, caller, ticket, clock)
        if request.member_id in group.pending:
            return self._add(group, request.member_id, request, caller, ticket, clock)
        member = self._member(group, request.member_id, request.group_instance_id)
        return self._join_known(group, member, request, ticket, clock)

    def _check_size(self, group: ClassicGroup, request: JoinGroupRequest) -> None:
        known = request.member_id in group.members or request.group_instance_id in group.static
        if not known and len(group.members) >= self.settings.max_size:
            raise GroupMaxSizeReachedError(
                f"group {group.group_id} has {len(group.members)} members; group.max.size={self.settings.max_size}"
            )

    def _join_new(
        self,
        group: ClassicGroup,
        request: JoinGroupRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        instance_id = request.group_instance_id
        number = UUID(int=self._rng.getrandbits(128), version=4)
        member_id = f"{instance_id or caller.client_id}-{number}"
        if instance_id is not None and instance_id in group.static:
            return self._replace_static(
                group, instance_id, member_id, request, caller, ticket, clock
            )
        if instance_id is None and caller.knows_member_id_required:
            group.pending[member_id] = clock.now_ms + request.session_timeout_ms
            required = JoinGroupResponse(
                error_code=MemberIdRequiredError.code, member_id=member_id, protocol_name=None
            )
            return Step().answer(ticket, required)
        return self._add(group, member_id, request, caller, ticket, clock)

    def _add(
        self,
        group: ClassicGroup,
        member_id: str,
        request: JoinGroupRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        if group.protocol_type is None or not group.members:
            group.protocol_type = request.protocol_type
        member = Member(
            member_id,
            request.group_instance_id,
            caller.client_id,
            caller.host,
            request.session_timeout_ms,
            rebalance_timeout_ms(request),
            tuple((each.name, each.metadata) for each in request.protocols),
            session_deadline_ms=clock.now_ms + NEW_MEMBER_JOIN_TIMEOUT_MS,
            joining=ticket,
            is_new=True,
        )
        group.add(member)
        return self._rebalance(group, clock)

    def _replace_static(
        self,
        group: ClassicGroup,
        instance_id: str,
        member_id: str,
        request: JoinGroupRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        """KIP-345: the same member came back as another process, and the old one is fenced."""
        old = group.members[group.static[instance_id]]
        fenced = FencedInstanceIdError(f"another process has joined as {instance_id}")
        before = rebalance.fail_waiting(old, fenced)
        wanted = _wants(group, old)
        led = group.leader_id == old.member_id
        member = group.replace_static(instance_id, member_id)
        member.client_id, member.client_host = caller.client_id, caller.host
        _update(member, request, clock)
        same = group.state is State.STABLE and group.select_protocol() == group.protocol
        if same and _wants(group, member) == wanted:
            # Nothing changes for the others; a leader is told that it need not assign (KIP-814). It is told when the
            # log has its new id: the next coordinator must not take the old process for the member.
            shares = {each.member_id: each.assignment for each in group.members.values()}
            step = Step(records=[generation_record(group, shares, clock.wall_ms)])
            step.answer(ticket, rebalance.joined(group, member, skip_assignment=led))
        else:
            member.joining = ticket
            step = self._rebalance(group, clock)
        step.answers[:0] = before.answers
        return step

    def _join_known(
        self,
        group: ClassicGroup,
        member: Member,
        request: JoinGroupRequest,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        same = member.protocols == tuple((each.name, each.metadata) for each in request.protocols)
        leads = group.leader_id == member.member_id
        settled = group.state is State.COMPLETING_REBALANCE or (
            group.state is State.STABLE and not leads
        )
        if same and settled:
            # It has not heard what it was told before.
            member.heard(clock.now_ms)
            return Step().answer(ticket, rebalance.joined(group, member))
        if group.state in (State.EMPTY, State.DEAD):
            raise _unknown(group, member.member_id)
        _update(member, request, clock)
        twice = Step()
        if member.joining is not None:
            again = RebalanceInProgressError(f"member {member.member_id} has joined anew")
            twice.answer(member.joining, again)
        member.joining = ticket
        step = self._rebalance(group, clock)
        step.answers[:0] = twice.answers
        return step

    def _rebalance(self, group: ClassicGroup, clock: Clock) -> Step:
        if group.state is State.PREPARING_REBALANCE:
            return rebalance.one_more_joined(group, self.settings, clock)
        return rebalance.prepare(group, self.settings, clock)

    def sync(
        self, group: ClassicGroup, request: SyncGroupRequest, ticket: Ticket, clock: Clock
    ) -> Step:
        """A member of the new generation asks what it has to read; the leader says it for all."""
        member = self._member(group, request.member_id, request.group_instance_id)
        _check_generation(group, request.generation_id)
        _check_protocol(group, request)
        match group.state:
            case State.PREPARING_REBALANCE:
                raise RebalanceInProgressError(f"group {group.group_id} is rebalancing")
            case State.STABLE:
                member.heard(clock.now_ms)
                group.awaiting_sync.pop(member.member_id, None)
                return Step().answer(ticket, rebalance.synced(group, member))
            case State.COMPLETING_REBALANCE:
                return self._sync(group, member, request, ticket, clock)
        raise _unknown(group, member.member_id)

    def _sync(
        self,
        group: ClassicGroup,
        member: Member,
        request: SyncGroupRequest,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        member.heard(clock.now_ms)
        twice = Step()
        if member.syncing is not None:
            again = RebalanceInProgressError(f"member {member.member_id} has asked anew")
            twice.answer(member.syncing, again)
        member.syncing = ticket
        group.awaiting_sync.pop(member.member_id, None)
        if member.member_id != group.leader_id or group.assignment_is_being_kept:
            return twice
        wanted = {each.member_id: each.assignment for each in request.assignments}
        step = rebalance.assign(group, wanted, clock)
        assert not twice.answers, "a leader that syncs twice waits for the log"
        return step

    def heartbeat(
        self, group: ClassicGroup, request: HeartbeatRequest, ticket: Ticket, clock: Clock
    ) -> Step:
        """A member lives, and hears whether it has to join again."""
        member = self._member(group, request.member_id, request.group_instance_id)
        _check_generation(group, request.generation_id)
        if group.state in (State.EMPTY, State.DEAD):
            raise _unknown(group, member.member_id)
        member.heard(clock.now_ms)
        if group.state is State.PREPARING_REBALANCE:
            raise RebalanceInProgressError(f"group {group.group_id} is rebalancing")
        return Step().answer(ticket, HeartbeatResponse())

    def leave(
        self, group: ClassicGroup, request: LeaveGroupRequest, ticket: Ticket, clock: Clock
    ) -> Step:
        """Members go, by themselves or because an administrator says so."""
        many = bool(request.members) or not request.member_id
        wanted = request.members if many else (MemberIdentity(member_id=request.member_id),)
        results: list[MemberResponse] = []
        leaving: list[str] = []
        pending = False
        for each in wanted:
            code = ErrorCode.NONE
            if each.group_instance_id is None and each.member_id in group.pending:
                del group.pending[each.member_id]
                pending = True
            else:
                try:
                    leaving.append(self._leaving(group, each))
                except OttlaError as error:
                    code = error.code
            results.append(
                MemberResponse(
                    member_id=each.member_id,
                    group_instance_id=each.group_instance_id,
                    error_code=code,
                )
            )
        step = Step()
        if leaving or pending:
            step = rebalance.member_left(group, leaving, self.settings, clock)
        if many:
            return step.answer(ticket, LeaveGroupResponse(members=tuple(results)))
        return step.answer(ticket, LeaveGroupResponse(error_code=results[0].error_code))

    @staticmethod
    def absent(group: ClassicGroup, who: Absence, clock: Clock) -> Step:
        """A member's connection broke: it is not waited for as long as for one that may be busy. Static members are:
        they are expected back (KIP-345).
        """
        if who.member_id in group.pending:
            until_ms = min(group.pending[who.member_id], clock.now_ms + RECONNECT_MS)
            group.pending[who.member_id] = until_ms
        member = group.members.get(who.member_id)
        if member is None or member.instance_id is not None:
            return Step()
        until_ms = clock.now_ms + who.patience_ms(member.session_timeout_ms)
        if member.joining is None:
            until_ms = min(until_ms, member.session_deadline_ms)
        member.session_deadline_ms = until_ms
        if member.syncing is not None:
            group.awaiting_sync[member.member_id] = None
        # Nobody reads the answer: whoever waited has to ask again, if it comes back.
        gone = RebalanceInProgressError(f"the connection of member {member.member_id} broke")
        return rebalance.fail_waiting(member, gone)

    def _leaving(self, group: ClassicGroup, identity: MemberIdentity) -> str:
        instance_id = identity.group_instance_id
        if instance_id is not None and not identity.member_id:
            if instance_id not in group.static:
                raise UnknownMemberIdError(
                    f"group {group.group_id} has no static member {instance_id}"
                )
            return group.static[instance_id]
        return self._member(group, identity.member_id, instance_id).member_id

    def check_commit(
        self,
        group: ClassicGroup,
        generation: int,
        member_id: str,
        instance_id: str | None,
        clock: Clock,
    ) -> None:
        """Whether offsets may be committed so. It also counts as a sign of life (G3: strangers may not)."""
        if generation < 0 and group.state is State.EMPTY:
            # Somebody who uses the group for its offsets only.
            return
        member = self._member(group, member_id, instance_id)
        _check_generation(group, generation)
        if group.state is State.COMPLETING_REBALANCE:
            member.heard(clock.now_ms)
            raise RebalanceInProgressError(f"group {group.group_id} is rebalancing")
        member.heard(clock.now_ms)

    def _member(self, group: ClassicGroup, member_id: str, instance_id: str | None) -> Member:
        if group.state is State.DEAD:
            raise CoordinatorNotAvailableError(f"group {group.group_id} is going away")
        if instance_id is not None:
            current = group.static.get(instance_id)
            if current is None:
                raise UnknownMemberIdError(
                    f"group {group.group_id} has no static member {instance_id}"
                )
            if current != member_id:
                raise FencedInstanceIdError(f"another process has joined as {instance_id}")
        member = group.members.get(member_id)
        if member is None:
            raise _unknown(group, member_id)
        return member

    def expire(self, group: ClassicGroup, clock: Clock) -> Step:
        """What time has brought: members that are silent, rebalances that took too long."""
        now_ms = clock.now_ms
        for member_id in [each for each, until in group.pending.items() if until <= now_ms]:
            del group.pending[member_id]
        silent = [
            each.member_id
            for each in group.members.values()
            if each.session_deadline_ms <= now_ms
            and not (each.joining is not None and not each.is_new)
        ]
        if group.sync_deadline_ms is not None and group.sync_deadline_ms <= now_ms:
            # Who gives signs of life and never asks what it has to read leaves its share without a reader.
            group.sync_deadline_ms = None
            silent += [each for each in group.awaiting_sync if each not in silent]
        if silent:
            return rebalance.member_left(group, silent, self.settings, clock)
        if group.state is State.PREPARING_REBALANCE:
            if group.join_deadline_ms is not None and group.join_deadline_ms <= now_ms:
                return rebalance.complete(group, clock)
            return rebalance.complete_if_all_joined(group, clock)
        return Step()

    @staticmethod
    def next_deadline_ms(group: ClassicGroup) -> int | None:
        """When `expire` must be called next; None for not before something happens."""
        times = [
            each.session_deadline_ms
            for each in group.members.values()
            if not (each.joining is not None and not each.is_new)
        ]
        times += group.pending.values()
        times += [
            each for each in (group.join_deadline_ms, group.sync_deadline_ms) if each is not None
        ]
        return min(times, default=None)


def _wants(group: ClassicGroup, member: Member) -> object:
    """What the others have to be assigned anew for. A new process of a consumer says, too, that it has nothing yet,
    which is no such reason.
    """
    said = member.metadata(group.protocol or "")
    topics = subscribed_topics(group.protocol_type, (said,))
    return said if topics is None else topics


def _update(member: Member, request: JoinGroupRequest, clock: Clock) -> None:
    member.protocols = tuple((each.name, each.metadata) for each in request.protocols)
    member.session_timeout_ms = request.session_timeout_ms
    member.rebalance_timeout_ms = rebalance_timeout_ms(request)
    member.heard(clock.now_ms)


def rebalance_timeout_ms(request: JoinGroupRequest) -> int:
    """Version 0 has none: the session timeout stands for it."""
    asked = request.rebalance_timeout_ms
    return asked if asked >= 0 else request.session_timeout_ms


def _check_generation(group: ClassicGroup, generation: int) -> None:
    if generation != group.generation:
        raise IllegalGenerationError(
            f"group {group.group_id} is at generation {group.generation}, the request at {generation}"
        )


def _check_protocol(group: ClassicGroup, request: SyncGroupRequest) -> None:
    wrong_type = request.protocol_type is not None and request.protocol_type != group.protocol_type
    wrong_name = request.protocol_name is not None and request.protocol_name != group.protocol
    if wrong_type or wrong_name:
        raise InconsistentGroupProtocolError(
            f"group {group.group_id} speaks {group.protocol_type}/{group.protocol}, the request "
            f"{request.protocol_type}/{request.protocol_name}"
        )


def _unknown(group: ClassicGroup, member_id: str) -> UnknownMemberIdError:
    return UnknownMemberIdError(f"group {group.group_id} has no member {member_id!r}")

"""The KIP-848 groups of one coordinator, by name: how they begin, end, and are read from the log. Pure."""

import random
from collections.abc import Callable, Sequence

from cluster.groups import consumer_changes as changes
from cluster.groups.attendance import Absence
from cluster.groups.classic_bridge import ClassicBridge
from cluster.groups.classic_rebalance import Clock
from cluster.groups.consumer_checks import check_request
from cluster.groups.consumer_group import ConsumerGroup
from cluster.groups.consumer_members import ConsumerMembers
from cluster.groups.consumer_records import ConsumerKey, ConsumerValue
from cluster.groups.errors import NonEmptyGroupError, UnknownMemberIdError
from cluster.groups.reconciliation import JOINING
from cluster.groups.records import GroupRecord
from cluster.groups.settings import Caller, GroupSettings
from cluster.groups.step import Step, Ticket, when_lost
from cluster.groups.topics import Topics
from storage.errors import ErrorCode
from wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from wire.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
    MemberResponse,
)


class ConsumerGroups:
    """`topics` is the newest metadata; whoever owns this keeps it up to date. bridge: for classic members."""

    def __init__(self, settings: GroupSettings, rng: random.Random) -> None:
        self.groups: dict[str, ConsumerGroup] = {}
        self.topics = Topics({})
        self._members = ConsumerMembers(settings, rng, lambda: self.topics)
        self.bridge = ClassicBridge(self._members, rng, lambda: self.topics)

    def configure(self, settings: GroupSettings) -> None:
        """What is in force from now on."""
        self._members.settings = settings

    def load(self, key: ConsumerKey, value: ConsumerValue | None) -> None:
        """One record that an earlier coordinator has kept."""
        group = self.groups.get(key.group)
        if group is None:
            if value is None:
                return
            group = self.groups[key.group] = ConsumerGroup(key.group)
        group.current.replay(key, value)

    def loaded(self, clock: Clock) -> None:
        """Everything was read. Groups that are gone have left tombstones only."""
        for group_id, group in tuple(self.groups.items()):
            if group.current.exists:
                self._members.loaded(group, clock)
            else:
                del self.groups[group_id]

    def heartbeat(
        self,
        request: ConsumerGroupHeartbeatRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
        *,
        before: Sequence[GroupRecord] = (),
        not_kept: Callable[[], None] = lambda: None,
    ) -> Step:
        """ConsumerGroupHeartbeat. A group comes into being with its first member.

        before: what a new group begins from; not_kept: called when a new group could not be kept.
        """
        check_request(request, caller, self._members.settings)
        group = self.groups.get(request.group_id)
        if group is not None:
            return self._members.heartbeat(group, request, caller, ticket, clock)
        if request.member_epoch != JOINING:
            raise UnknownMemberIdError(f"there is no group {request.group_id}")
        group = ConsumerGroup(request.group_id)
        group.emit(*before)
        for member in group.current.members.values():
            self._members.heard(group, member, clock)
        step = self._members.heartbeat(group, request, caller, ticket, clock)
        self.groups[request.group_id] = group
        when_lost(step, lambda _: self._never_was(group, not_kept))
        return step

    def _never_was(self, group: ConsumerGroup, not_kept: Callable[[], None]) -> Step:
        if not group.current.exists and self.groups.get(group.group_id) is group:
            del self.groups[group.group_id]
            not_kept()
        return Step()

    def delete(self, group_id: str) -> Step:
        """The group's end, when it has no members. Raises NonEmptyGroupError."""
        group = self.groups[group_id]
        if group.current.members:
            raise NonEmptyGroupError(
                f"group {group_id} has members ({len(group.current.members)}); stop them first"
            )
        group.emit(*changes.no_group(group_id, group.current))
        step = group.finish(Step())
        del self.groups[group_id]
        when_lost(step, lambda _: self._still_is(group))
        return step

    def _still_is(self, group: ConsumerGroup) -> Step:
        if group.current.exists:
            self.groups.setdefault(group.group_id, group)
        return Step()

    def remove_static(self, group: ConsumerGroup, instance_id: str, clock: Clock) -> Step:
        """A static member goes."""
        return self._members.remove(group, [group.current.static[instance_id]], clock)

    def leave(
        self, group: ConsumerGroup, request: LeaveGroupRequest, ticket: Ticket, clock: Clock
    ) -> Step:
        """LeaveGroup: an administrator takes members out."""
        wanted = request.members or (MemberIdentity(member_id=request.member_id),)
        gone: dict[str, None] = {}
        results = []
        for each in wanted:
            member_id = self._identified(group, each)
            if member_id is not None:
                gone[member_id] = None
            results.append(
                MemberResponse(
                    member_id=each.member_id,
                    group_instance_id=each.group_instance_id,
                    error_code=ErrorCode.NONE if member_id else ErrorCode.UNKNOWN_MEMBER_ID,
                )
            )
        step = self._members.remove(group, gone, clock) if gone else Step()
        if request.members:
            return step.answer(ticket, LeaveGroupResponse(members=tuple(results)))
        return step.answer(ticket, LeaveGroupResponse(error_code=results[0].error_code))

    @staticmethod
    def _identified(group: ConsumerGroup, identity: MemberIdentity) -> str | None:
        state, instance_id = group.current, identity.group_instance_id
        if instance_id is None:
            return identity.member_id if identity.member_id in state.members else None
        found = state.static.get(instance_id)
        return found if identity.member_id in ("", found) else None

    def absent(self, group: ConsumerGroup, who: Absence, clock: Clock) -> None:
        """A member's connection broke."""
        self._members.absent(group, who, clock)

    def expire(self, group: ConsumerGroup, clock: Clock) -> Step:
        """What time has brought."""
        return self._members.expire(group, clock)

"""The coordinator of the groups of one partition of `__consumer_offsets`. Pure.

Request methods say what to keep and what to answer (`Step`); `replay` takes in what the log has. Positions become
visible when they are committed, so a reader never sees one that a failover takes away.
"""

import random
from collections.abc import Iterable, Mapping

from cluster.groups import classic_rebalance as rebalance
from cluster.groups.attendance import Absence
from cluster.groups.classic_group import ClassicGroup, State
from cluster.groups.classic_members import ClassicMembers
from cluster.groups.classic_rebalance import Clock
from cluster.groups.classic_records import restored
from cluster.groups.consumer_checks import check_commit, check_fetch
from cluster.groups.consumer_group import ConsumerGroup
from cluster.groups.consumer_groups import ConsumerGroups
from cluster.groups.consumer_records import ConsumerKey
from cluster.groups.errors import (
    GroupIdNotFoundError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    NonEmptyGroupError,
    UnknownMemberIdError,
)
from cluster.groups.migration import check_upgrade, fail_waiting, upgraded
from cluster.groups.offsets import Offsets, Position, TopicPartition, tombstone
from cluster.groups.reconciliation import JOINING
from cluster.groups.records import (
    GroupMetadataKey,
    GroupMetadataValue,
    GroupRecord,
    OffsetCommitKey,
    OffsetCommitValue,
)
from cluster.groups.settings import Caller, GroupSettings
from cluster.groups.step import Step, Ticket, when_lost
from storage.errors import OttlaError
from wire.consumer_protocol import PROTOCOL_TYPE
from wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import JoinGroupRequest
from wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberResponse
from wire.messages.offset_commit import OffsetCommitRequest
from wire.messages.sync_group import SyncGroupRequest


class Coordinator:
    """Refusals are raised as GroupError; what is raised changed nothing. `consumer`: groups as of KIP-848."""

    def __init__(self, settings: GroupSettings, rng: random.Random) -> None:
        self.groups: dict[str, ClassicGroup] = {}
        self.offsets = Offsets()
        self.consumer = ConsumerGroups(settings, rng)
        self._settings = settings
        self._members = ClassicMembers(settings, rng)

    def configure(self, settings: GroupSettings) -> None:
        """What is in force from now on; sessions that have begun go on as they began."""
        self._settings = settings
        self._members.settings = settings
        self.consumer.configure(settings)

    def replay(self, records: Iterable[GroupRecord]) -> None:
        """Take in committed positions."""
        for key, value in records:
            if isinstance(key, OffsetCommitKey):
                assert value is None or isinstance(value, OffsetCommitValue)
                self.offsets.replay(key, value)

    def load(self, record: GroupRecord, clock: Clock) -> None:
        """Take in what an earlier coordinator has kept, groups included."""
        key, value = record
        if isinstance(key, OffsetCommitKey):
            self.replay((record,))
        elif isinstance(key, ConsumerKey):
            assert not isinstance(value, OffsetCommitValue | GroupMetadataValue)
            self.consumer.load(key, value)
        elif value is None:
            self.groups.pop(key.group, None)
        else:
            assert isinstance(value, GroupMetadataValue)
            self.groups[key.group] = restored(key.group, value, clock.now_ms)

    def loaded(self, clock: Clock) -> None:
        """All that was kept is loaded."""
        self.consumer.loaded(clock)
        for group in self.groups.values():
            if group.state is State.STABLE and group.leader_id is None:
                # It was a KIP-848 group, and its members have not joined again yet.
                rebalance.prepare(group, self._settings, clock)

    def consumer_heartbeat(
        self,
        request: ConsumerGroupHeartbeatRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        """ConsumerGroupHeartbeat. Whoever joins a classic group makes it one of KIP-848, if that is allowed."""
        group_id = request.group_id
        _check_name(group_id)
        classic = self.groups.get(group_id)
        if classic is None:
            step = self.consumer.heartbeat(request, caller, ticket, clock)
            return self._become(group_id, step)
        before = [GroupRecord(GroupMetadataKey(group=group_id), None)]
        if classic.members and request.member_epoch == JOINING:
            check_upgrade(classic, self._settings)
            before += upgraded(classic, self.consumer.topics)

        def not_kept() -> None:
            self.groups.setdefault(group_id, classic)

        step = self.consumer.heartbeat(
            request, caller, ticket, clock, before=before, not_kept=not_kept
        )
        step.extend(fail_waiting(classic))
        del self.groups[group_id]
        return step

    def _become(self, group_id: str, step: Step) -> Step:
        """A KIP-848 group from which only classic members are left becomes a classic one, if that is decided."""
        group = self.consumer.groups.get(group_id)
        if group is None or group.becomes is None:
            return step
        classic = self.groups[group_id] = group.becomes
        del self.consumer.groups[group_id]

        def lost(cause: OttlaError) -> Step:
            group.becomes = None
            failed = Step()
            if self.groups.get(group_id) is classic:
                del self.groups[group_id]
                self.consumer.groups[group_id] = group
                for member in classic.members.values():
                    failed.extend(rebalance.fail_waiting(member, cause))
            return failed

        when_lost(step, lost)
        return step

    def join(self, request: JoinGroupRequest, caller: Caller, ticket: Ticket, clock: Clock) -> Step:
        """JoinGroup. A group comes into being with its first member."""
        _check_name(request.group_id)
        low, high = self._settings.min_session_timeout_ms, self._settings.max_session_timeout_ms
        if not low <= request.session_timeout_ms <= high:
            raise InvalidSessionTimeoutError(
                f"a session timeout of {request.session_timeout_ms} ms; the broker takes {low} to {high} "
                f"(group.min.session.timeout.ms, group.max.session.timeout.ms)"
            )
        consumer = self.consumer.groups.get(request.group_id)
        if consumer is not None:
            return self._join_consumers(consumer, request, caller, ticket, clock)
        group = self.groups.get(request.group_id)
        if group is None:
            if request.member_id:
                raise UnknownMemberIdError(f"there is no group {request.group_id}")
            group = ClassicGroup(request.group_id, state_since_wall_ms=clock.wall_ms)
            step = self._members.join(group, request, caller, ticket, clock)
            self.groups[request.group_id] = group
            return step
        return self._members.join(group, request, caller, ticket, clock)

    def _join_consumers(
        self,
        group: ConsumerGroup,
        request: JoinGroupRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        """A classic member joins a KIP-848 group. One without members becomes a classic one, and so does one whose
        last member with the new protocol is replaced: first what it was is kept as gone.
        """
        if not group.current.members:
            step = self.consumer.delete(group.group_id)
        elif self._replaces_the_last(group, request):
            assert request.group_instance_id is not None
            removed = self.consumer.remove_static(group, request.group_instance_id, clock)
            step = self._become(group.group_id, removed)
        else:
            return self.consumer.bridge.join(group, request, caller, ticket, clock)
        kept_before = step.kept
        assert kept_before is not None

        def kept() -> Step:
            kept_before()
            try:
                return self.join(request, caller, ticket, clock)
            except OttlaError as error:
                return Step().answer(ticket, error)

        step.kept = kept
        when_lost(step, lambda cause: Step().answer(ticket, cause))
        return step

    def _replaces_the_last(self, group: ConsumerGroup, request: JoinGroupRequest) -> bool:
        members = group.current.members
        old_id = group.current.static.get(request.group_instance_id or "")
        return (
            old_id is not None
            and not request.member_id
            and members[old_id].classic is None
            and all(
                each.classic is not None for each in members.values() if each.member_id != old_id
            )
            and self._settings.consumer_migration_policy.downgrades
        )

    def sync(self, request: SyncGroupRequest, ticket: Ticket, clock: Clock) -> Step:
        """SyncGroup."""
        consumer = self._with_members(request.group_id)
        if consumer is not None:
            return self.consumer.bridge.sync(consumer, request, ticket, clock)
        return self._members.sync(self._known(request.group_id), request, ticket, clock)

    def heartbeat(self, request: HeartbeatRequest, ticket: Ticket, clock: Clock) -> Step:
        """Heartbeat."""
        consumer = self._with_members(request.group_id)
        if consumer is not None:
            return self.consumer.bridge.heartbeat(consumer, request, ticket, clock)
        return self._members.heartbeat(self._known(request.group_id), request, ticket, clock)

    def leave(self, request: LeaveGroupRequest, ticket: Ticket, clock: Clock) -> Step:
        """LeaveGroup. Of a group that is not there each member is refused for itself."""
        consumer = self.consumer.groups.get(request.group_id)
        if consumer is not None:
            step = self.consumer.leave(consumer, request, ticket, clock)
            return self._become(request.group_id, step)
        if request.members and request.group_id and request.group_id not in self.groups:
            return Step().answer(
                ticket,
                LeaveGroupResponse(
                    members=tuple(
                        MemberResponse(
                            member_id=each.member_id,
                            group_instance_id=each.group_instance_id,
                            error_code=UnknownMemberIdError.code,
                        )
                        for each in request.members
                    )
                ),
            )
        return self._members.leave(self._known(request.group_id), request, ticket, clock)

    def _with_members(self, group_id: str) -> ConsumerGroup | None:
        found = self.consumer.groups.get(group_id)
        return found if found is not None and found.current.members else None

    def _known(self, group_id: str) -> ClassicGroup:
        _check_name(group_id)
        group = self.groups.get(group_id)
        if group is None:
            raise UnknownMemberIdError(f"there is no group {group_id}")
        return group

    def check_commit(self, request: OffsetCommitRequest, clock: Clock) -> None:
        """Whether these offsets may be committed by whoever asks."""
        generation = request.generation_id_or_member_epoch
        consumer = self.consumer.groups.get(request.group_id)
        if consumer is not None:
            check_commit(request.group_id, consumer.current, request.member_id, generation)
            return
        group = self.groups.get(request.group_id)
        if group is None:
            if generation >= 0 and self.exists(request.group_id):
                raise UnknownMemberIdError(f"group {request.group_id} has no members")
            if generation >= 0:
                raise GroupIdNotFoundError(
                    f"there is no group {request.group_id}, and so no generation {generation}"
                )
            return
        self._members.check_commit(
            group, generation, request.member_id, request.group_instance_id, clock
        )

    def check_fetch(self, group_id: str, member_id: str | None, member_epoch: int) -> None:
        """Whether a member may read the group's offsets; the classic protocol does not tell who asks."""
        consumer = self.consumer.groups.get(group_id)
        if consumer is not None:
            check_fetch(group_id, consumer.committed, member_id, member_epoch)

    def commit(
        self,
        group_id: str,
        positions: Mapping[TopicPartition, Position],
        request: OffsetCommitRequest,
        clock: Clock,
    ) -> Step:
        """Keep positions. They can be read once they are committed."""
        self.check_commit(request, clock)
        return self.offsets.commit(group_id, positions)

    def delete_group(self, group_id: str) -> Step:
        """DeleteGroups: its positions and itself, unless it has members. It is gone when that is committed."""
        _check_name(group_id)
        positions = self.offsets.of(group_id)
        if group_id in self.consumer.groups:
            step = self.consumer.delete(group_id)
            step.records[:0] = [tombstone(group_id, where) for where in positions]
            return step
        group = self.groups.get(group_id)
        if group is None and not positions:
            raise GroupIdNotFoundError(f"there is no group {group_id}")
        if group is not None and group.state is not State.EMPTY:
            raise NonEmptyGroupError(
                f"group {group_id} has members ({len(group.members)}); stop them first"
            )
        records = [tombstone(group_id, where) for where in positions]
        records.append(GroupRecord(GroupMetadataKey(group=group_id), None))

        def kept() -> Step:
            current = self.groups.get(group_id)
            if current is group and (group is None or group.state is State.EMPTY):
                self.groups.pop(group_id, None)
            return Step()

        return Step(records=records, kept=kept)

    def check_delete_offsets(self, group_id: str) -> None:
        """Whether some of a group's positions may go. What members of another protocol than consumers' read is not
        known: then none may. Raises GroupIdNotFoundError, NonEmptyGroupError.
        """
        if not self.exists(group_id):
            raise GroupIdNotFoundError(f"there is no group {group_id}")
        group = self.groups.get(group_id)
        if group is not None and group.members and group.protocol_type != PROTOCOL_TYPE:
            raise NonEmptyGroupError(
                f"group {group_id} has {len(group.members)} members of the protocol {group.protocol_type!r}; stop them "
                "first"
            )

    def reads(self, group_id: str, topic: str) -> bool:
        """Whether a group with members may be reading a topic."""
        consumer = self.consumer.groups.get(group_id)
        if consumer is not None:
            return topic in consumer.current.subscribed_topics()
        group = self.groups.get(group_id)
        if group is None or group.state in (State.EMPTY, State.DEAD):
            return False
        return group.subscribed is None or topic in group.subscribed

    def exists(self, group_id: str) -> bool:
        """Whether a group has members, had some, or has positions."""
        return (
            group_id in self.groups
            or group_id in self.consumer.groups
            or bool(self.offsets.of(group_id))
        )

    def group_ids(self) -> list[str]:
        """All groups, those included that have nothing but positions."""
        return list(dict.fromkeys([*self.groups, *self.consumer.groups, *self.offsets.groups()]))

    def expire(self, group_id: str, clock: Clock) -> Step:
        """What time has brought to a group."""
        consumer = self.consumer.groups.get(group_id)
        if consumer is not None:
            return self._become(group_id, self.consumer.expire(consumer, clock))
        group = self.groups.get(group_id)
        return self._members.expire(group, clock) if group is not None else Step()

    def absent(self, who: Absence, clock: Clock) -> Step:
        """A member's connection broke: unless it comes back in time it is out, sooner than its session would end."""
        consumer = self.consumer.groups.get(who.group_id)
        if consumer is not None:
            self.consumer.absent(consumer, who, clock)
            return Step()
        group = self.groups.get(who.group_id)
        return self._members.absent(group, who, clock) if group is not None else Step()

    def next_deadline_ms(self, group_id: str) -> int | None:
        """When `expire` must be called for a group."""
        consumer = self.consumer.groups.get(group_id)
        if consumer is not None:
            return consumer.deadline_ms
        group = self.groups.get(group_id)
        return self._members.next_deadline_ms(group) if group is not None else None

    def expire_offsets(self, clock: Clock) -> list[Step]:
        """Positions nobody has used for the retention time go, and groups that have become nothing with them."""
        steps = []
        for group_id in self.group_ids():
            if self.offsets.are_coming(group_id):
                # What is known of its positions is out of date: a tombstone would come after the new one.
                continue
            records = self._expired(group_id, clock)
            group = self.groups.get(group_id)
            left = len(self.offsets.of(group_id)) - len(records)
            consumer = self.consumer.groups.get(group_id)
            unused = consumer is not None and not consumer.current.members
            if group is not None:
                unused = group.state is State.EMPTY and not group.pending
            if unused and not left:
                steps.append(self.delete_group(group_id))
            elif records:
                steps.append(Step(records=records))
        return steps

    def _expired(self, group_id: str, clock: Clock) -> list[GroupRecord]:
        group = self.groups.get(group_id)
        since, subscribed = -1, frozenset[str]()
        consumer = self.consumer.groups.get(group_id)
        if consumer is not None:
            subscribed = consumer.current.subscribed_topics()
        elif group is not None and group.state is State.EMPTY:
            since = group.state_since_wall_ms if group.protocol_type else -1
        elif group is not None:
            if group.state is not State.STABLE or group.subscribed is None:
                # While it is not known what is read nothing expires (KAFKA-13636).
                return []
            subscribed = group.subscribed
        return self.offsets.expired(
            group_id,
            wall_ms=clock.wall_ms,
            retention_ms=self._settings.offsets_retention_ms,
            since_wall_ms=since,
            subscribed=subscribed,
        )


def _check_name(group_id: str) -> None:
    if not group_id:
        raise InvalidGroupIdError("a group needs a name")

"""The heartbeats of one KIP-848 group: join, stay, let go, leave, and silence. Pure; model: Kafka's
GroupMetadataManager.

One request says everything: what a member wants, what it has, and the epoch that it was told last. Every step of the
group is taken in the heartbeat of a member: the group's epoch, the target for all, and what this member gets now.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from uuid import UUID

from cluster.groups import consumer_changes as changes
from cluster.groups.assignors import ASSIGNORS, MemberSubscription, uniform
from cluster.groups.attendance import Absence
from cluster.groups.classic_rebalance import Clock
from cluster.groups.consumer_checks import checked_member, owned_partitions
from cluster.groups.consumer_group import ConsumerGroup, by_topic
from cluster.groups.errors import GroupMaxSizeReachedError
from cluster.groups.migration import downgrade, may_downgrade
from cluster.groups.reconciliation import (
    JOINING,
    LEAVING,
    LEAVING_FOR_A_WHILE,
    NOTHING,
    Assignment,
    ConsumerMember,
    MemberState,
    reconcile,
)
from cluster.groups.settings import Caller, GroupSettings
from cluster.groups.step import Step, Ticket
from cluster.groups.topics import Topics, compiled
from wire.messages import consumer_group_heartbeat as wire
from wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)

WAITING_INTERVAL_MS = 500
"""How often a member asks that waits for partitions of others, so that they are not without a reader for long."""
RETRY_MS = 1_000
"""When taking out a silent member could not be kept, it is tried again so much later."""


class ConsumerMembers:
    """Refusals are raised as GroupError before anything is changed. `topics`: the newest metadata."""

    def __init__(
        self,
        settings: GroupSettings,
        rng: random.Random,
        topics: Callable[[], Topics],
    ) -> None:
        self.settings = settings
        self._rng = rng
        self._topics = topics

    def heartbeat(
        self,
        group: ConsumerGroup,
        request: ConsumerGroupHeartbeatRequest,
        caller: Caller,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        """ConsumerGroupHeartbeat."""
        if request.member_epoch in (LEAVING, LEAVING_FOR_A_WHILE):
            return self._leave(group, request, ticket, clock)
        if request.subscribed_topic_regex:
            compiled(request.subscribed_topic_regex)
        member_id = request.member_id or str(UUID(int=self._rng.getrandbits(128), version=4))
        before = self._admit(group, member_id, request)
        subscribed_anew = self.subscribe(group, before, _wanted(before, request, caller))
        self.follow_topics(group, clock, anew=subscribed_anew)
        after = self._reconcile(group, member_id, request, clock)
        self.heard(group, after, clock)
        return group.finish(Step().answer(ticket, self._answer(group, request, before, after)))

    def heard(self, group: ConsumerGroup, member: ConsumerMember, clock: Clock) -> None:
        """A member lives. With the classic protocol it says itself how long it may be silent."""
        classic = member.classic
        until = clock.now_ms + (
            self.settings.consumer_times(group.group_id).session_timeout_ms
            if classic is None
            else classic.session_timeout_ms
        )
        group.heard_until_ms[member.member_id] = until
        group.due_at(until)

    def absent(self, group: ConsumerGroup, who: Absence, clock: Clock) -> None:
        """A member's connection broke: unless it is static it is not waited for as long as one that may be busy."""
        member = group.current.members.get(who.member_id)
        if member is None or member.instance_id is not None:
            return
        times = self.settings.consumer_times(group.group_id)
        if member.classic is None:
            # It was told how often to speak.
            told = who._replace(interval_ms=times.heartbeat_interval_ms)
            patience_ms = told.patience_ms(times.session_timeout_ms)
        else:
            patience_ms = who.patience_ms(member.classic.session_timeout_ms)
        until_ms = clock.now_ms + patience_ms
        known_ms = group.heard_until_ms.get(member.member_id, until_ms)
        group.heard_until_ms[member.member_id] = min(until_ms, known_ms)
        group.due_at(until_ms)

    def _admit(
        self, group: ConsumerGroup, member_id: str, request: ConsumerGroupHeartbeatRequest
    ) -> ConsumerMember:
        """The member as it was; a new one has nothing. A static member's new process takes over what the old had."""
        if request.member_epoch != JOINING:
            return checked_member(group, request)
        state, instance_id = group.current, request.instance_id
        if instance_id is not None and instance_id in state.static:
            old = checked_member(group, request)
            if old.epoch == LEAVING_FOR_A_WHILE or old.classic is not None:
                return self.take_over(group, old, member_id)
            return old
        if member_id in state.members:
            return checked_member(group, request)
        self.check_size(group)
        return ConsumerMember(member_id, instance_id=instance_id)

    def check_size(self, group: ConsumerGroup) -> None:
        """Whether one more may join. Raises GroupMaxSizeReachedError."""
        state = group.current
        if len(state.members) >= self.settings.consumer_max_size:
            raise GroupMaxSizeReachedError(
                f"group {group.group_id} has {len(state.members)} members; "
                f"group.consumer.max.size={self.settings.consumer_max_size}"
            )

    @staticmethod
    def take_over(group: ConsumerGroup, old: ConsumerMember, member_id: str) -> ConsumerMember:
        """A static member's new process takes the place of its old one."""
        new = replace(
            old,
            member_id=member_id,
            epoch=0,
            previous_epoch=0,
            state=MemberState.STABLE,
            revoking=NOTHING,
            classic=None,
        )
        shall_have = group.current.targets.get(old.member_id, NOTHING)
        if old.member_id != member_id:
            group.emit(*changes.no_member(group.group_id, old.member_id))
        group.emit(
            changes.subscription(group.group_id, new),
            changes.target(group.group_id, member_id, shall_have),
            changes.current(group.group_id, new),
        )
        return new

    @staticmethod
    def subscribe(group: ConsumerGroup, before: ConsumerMember, after: ConsumerMember) -> bool:
        """Take in what the member says of itself; whether that changes what the group reads."""
        is_new = before.member_id not in group.current.members
        if is_new or after != before:
            group.emit(changes.subscription(group.group_id, after))
        return is_new or (after.topics, after.regex) != (before.topics, before.regex)

    def follow_topics(self, group: ConsumerGroup, clock: Clock, *, anew: bool) -> None:
        """Begin a new epoch when the group wants something else, or what it wants has changed."""
        topics, state = self._topics(), group.current
        if not anew and group.checked_topics is topics:
            return
        group.checked_topics = topics
        used = state.used_regexes()
        for regex in sorted(used):
            found = topics.matching(regex)
            if state.regexes.get(regex) != found:
                anew = True
                group.emit(
                    changes.regex(group.group_id, regex, found, topics.offset, clock.wall_ms)
                )
        for regex in sorted(state.regexes.keys() - used):
            group.emit(changes.no_regex(group.group_id, regex))
        now = topics.metadata_hash(state.subscribed_topics())
        if anew or now != state.metadata_hash:
            group.emit(changes.epoch(group.group_id, state.epoch + 1, now))

    def _assign(self, group: ConsumerGroup) -> None:
        """Make the target for the newest epoch, unless it is made."""
        state, topics = group.current, self._topics()
        if state.epoch == state.assignment_epoch:
            return
        partitions = topics.partitions(state.subscribed_topics())
        subscriptions = {}
        for member_id, member in state.members.items():
            ids = (topics.topic_id(name) for name in state.topics_of(member))
            subscriptions[member_id] = MemberSubscription(
                frozenset(each for each in ids if each is not None),
                state.targets.get(member_id, NOTHING),
                member.instance_id,
            )
        assignor = ASSIGNORS.get(state.assignor(self.settings.consumer_assignors[0]), uniform)
        for member_id, found in assignor(subscriptions, partitions).items():
            if state.targets.get(member_id) != found:
                group.emit(changes.target(group.group_id, member_id, found))
        group.emit(changes.assignment_epoch(group.group_id, state.epoch))

    def _reconcile(
        self,
        group: ConsumerGroup,
        member_id: str,
        request: ConsumerGroupHeartbeatRequest,
        clock: Clock,
    ) -> ConsumerMember:
        member = group.current.members[member_id]
        if JOINING < request.member_epoch < member.epoch:
            # Its last answer was lost. It hears it again, before it is moved on: it is never two epochs behind.
            return member
        # Who joins says that it has nothing; but that request may be an old one that comes late.
        owned = None if request.member_epoch == JOINING else owned_partitions(request)
        after = self.reconcile(group, member, owned)
        if after is not member:
            self._watch_revocation(group, after, clock)
        return after

    def reconcile(
        self, group: ConsumerGroup, member: ConsumerMember, owned: Assignment | None
    ) -> ConsumerMember:
        """Bring a member as far as it can be brought, towards a target for the newest epoch."""
        state, member_id = group.current, member.member_id
        self._assign(group)
        after = reconcile(
            member,
            state.assignment_epoch,
            state.targets.get(member_id, NOTHING),
            lambda partition: state.is_free(member_id, partition),
            owned,
        )
        assert after.epoch > JOINING, (group.group_id, after)
        if after is not member:
            group.emit(changes.current(group.group_id, after))
        return after

    def hold_back(self, group: ConsumerGroup, member: ConsumerMember) -> ConsumerMember:
        """A member is taken in that was one once, and reads on what others may have: first it has to let go."""
        self._assign(group)
        if member.is_held_back:
            return member
        # The epoch before, so that it rises when nothing is left of what it came with.
        epoch = group.current.epoch - 1
        after = replace(
            member,
            epoch=epoch,
            previous_epoch=epoch,
            state=MemberState.UNREVOKED_PARTITIONS,
        )
        group.emit(changes.current(group.group_id, after))
        return after

    @staticmethod
    def _watch_revocation(group: ConsumerGroup, member: ConsumerMember, clock: Clock) -> None:
        if member.state is MemberState.UNREVOKED_PARTITIONS:
            group.must_move(member, clock.now_ms)
        else:
            group.moving_until_ms.pop(member.member_id, None)

    def _answer(
        self,
        group: ConsumerGroup,
        request: ConsumerGroupHeartbeatRequest,
        before: ConsumerMember,
        after: ConsumerMember,
    ) -> ConsumerGroupHeartbeatResponse:
        names_all = (
            request.rebalance_timeout_ms >= 0
            and (
                request.subscribed_topic_names is not None
                or request.subscribed_topic_regex is not None
            )
            and request.topic_partitions is not None
        )
        repeated = request.member_epoch != before.epoch
        assignment = None
        if names_all or repeated or before.assigned != after.assigned:
            assignment = _assignment(after.assigned)
        return ConsumerGroupHeartbeatResponse(
            member_id=after.member_id,
            member_epoch=after.epoch,
            heartbeat_interval_ms=self._interval_ms(group, after),
            assignment=assignment,
        )

    def _interval_ms(self, group: ConsumerGroup, member: ConsumerMember) -> int:
        interval_ms = self.settings.consumer_times(group.group_id).heartbeat_interval_ms
        waits = member.state is MemberState.UNRELEASED_PARTITIONS
        return min(interval_ms, WAITING_INTERVAL_MS) if waits else interval_ms

    def _leave(
        self,
        group: ConsumerGroup,
        request: ConsumerGroupHeartbeatRequest,
        ticket: Ticket,
        clock: Clock,
    ) -> Step:
        member = checked_member(group, request)
        if request.member_epoch == LEAVING_FOR_A_WHILE:
            # It has stopped reading; what it has is kept for its return until the session ends.
            away = replace(
                member,
                epoch=LEAVING_FOR_A_WHILE,
                state=MemberState.STABLE,
                revoking=NOTHING,
            )
            group.emit(changes.current(group.group_id, away))
            group.moving_until_ms.pop(member.member_id, None)
        else:
            self._remove(group, [member.member_id], clock)
        response = ConsumerGroupHeartbeatResponse(
            member_id=member.member_id, member_epoch=request.member_epoch
        )
        return group.finish(Step().answer(ticket, response))

    def remove(self, group: ConsumerGroup, member_ids: Iterable[str], clock: Clock) -> Step:
        """Members go, because an administrator says so or because they are silent."""
        self._remove(group, member_ids, clock)
        return group.finish(Step())

    def _remove(self, group: ConsumerGroup, member_ids: Iterable[str], clock: Clock) -> None:
        state, was_mixed = group.current, False
        for member_id in member_ids:
            was_mixed = was_mixed or state.members[member_id].classic is None
            group.emit(*changes.no_member(group.group_id, member_id))
            group.moving_until_ms.pop(member_id, None)
        if was_mixed and may_downgrade(state, self.settings):
            downgrade(group, self._topics(), self.settings, clock)
        else:
            self.follow_topics(group, clock, anew=True)

    def loaded(self, group: ConsumerGroup, clock: Clock) -> None:
        """A coordinator has read the group: its members get a fresh session to speak up in."""
        group.committed = group.current.copy()
        for member in group.current.members.values():
            self.heard(group, member, clock)
            if member.classic is None:
                self._watch_revocation(group, member, clock)

    def expire(self, group: ConsumerGroup, clock: Clock) -> Step:
        """Who was silent for a session, or has not let go in time, is out."""
        now_ms, late = clock.now_ms, []
        for member_id in group.current.members:
            until = group.heard_until_ms.get(member_id, now_ms)
            until = min(until, group.moving_until_ms.get(member_id, until))
            if until <= now_ms:
                late.append(member_id)
        moving = [each for each in late if each in group.moving_until_ms]
        step = self.remove(group, late, clock) if late else Step()
        # A sign of life in between does not save who has not let go.
        group.heard_until_ms |= dict.fromkeys(late, now_ms + RETRY_MS)
        group.moving_until_ms |= dict.fromkeys(moving, now_ms + RETRY_MS)
        times = [
            at
            for deadlines in (group.heard_until_ms, group.moving_until_ms)
            for member_id, at in deadlines.items()
            if member_id in group.current.members or member_id in late
        ]
        group.deadline_ms = min(times, default=None)
        return step


def _wanted(
    before: ConsumerMember, request: ConsumerGroupHeartbeatRequest, caller: Caller
) -> ConsumerMember:
    """The member with what it says of itself."""
    names, regex = request.subscribed_topic_names, request.subscribed_topic_regex
    return replace(
        before,
        instance_id=request.instance_id or before.instance_id,
        rack_id=request.rack_id or before.rack_id,
        client_id=caller.client_id,
        client_host=caller.host,
        rebalance_timeout_ms=(
            request.rebalance_timeout_ms
            if request.rebalance_timeout_ms >= 0
            else before.rebalance_timeout_ms
        ),
        topics=before.topics if names is None else tuple(sorted(set(names))),
        # An empty one takes it back, null says nothing.
        regex=before.regex if regex is None else (regex or None),
        assignor=request.server_assignor or before.assignor,
    )


def _assignment(partitions: Assignment) -> wire.Assignment:
    return wire.Assignment(
        topic_partitions=tuple(
            wire.ResponseTopicPartitions(topic_id=topic_id, partitions=numbers)
            for topic_id, numbers in by_topic(partitions).items()
        )
    )

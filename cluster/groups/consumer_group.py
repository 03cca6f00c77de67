"""A group with the protocol of KIP-848: what its records come to, and which of them the log has confirmed.

Three epochs: the group's goes up when somebody wants something else or the topics change; the target assignment is
made for one of these; each member follows in steps of its own. Pure.

The state exists twice. Requests are decided upon `current`, which has everything that was appended; `committed` has
what a failover cannot take away. When an append fails, the current state is made anew from the committed one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from uuid import UUID

from cluster.groups import consumer_records as r
from cluster.groups.classic_group import ClassicGroup
from cluster.groups.reconciliation import (
    NOTHING,
    AssignedPartition,
    Assignment,
    ClassicTerms,
    ConsumerMember,
    MemberState,
)
from cluster.groups.records import GroupRecord, Key, Value
from cluster.groups.step import Step
from storage.errors import OttlaError


class ConsumerGroupPhase(Enum):
    """Kafka's names, as tools show them."""

    EMPTY = "Empty"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    STABLE = "Stable"
    DEAD = "Dead"


@dataclass(slots=True)
class ConsumerGroupState:
    """What the records of one group say. owners: who has a partition, be it assigned or pending revocation."""

    exists: bool = False
    epoch: int = 0
    metadata_hash: int = 0
    assignment_epoch: int = 0
    members: dict[str, ConsumerMember] = field(default_factory=dict)
    static: dict[str, str] = field(default_factory=dict)
    targets: dict[str, Assignment] = field(default_factory=dict)
    regexes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    owners: dict[AssignedPartition, str] = field(default_factory=dict)

    def copy(self) -> "ConsumerGroupState":
        """Members and assignments are immutable and shared."""
        return replace(
            self,
            members=dict(self.members),
            static=dict(self.static),
            targets=dict(self.targets),
            regexes=dict(self.regexes),
            owners=dict(self.owners),
        )

    @property
    def phase(self) -> ConsumerGroupPhase:
        """What the group is doing."""
        if not self.exists:
            return ConsumerGroupPhase.DEAD
        if not self.members:
            return ConsumerGroupPhase.EMPTY
        if self.epoch > self.assignment_epoch:
            return ConsumerGroupPhase.ASSIGNING
        settled = all(
            each.state is MemberState.STABLE and each.epoch == self.assignment_epoch
            for each in self.members.values()
        )
        return ConsumerGroupPhase.STABLE if settled else ConsumerGroupPhase.RECONCILING

    def topics_of(self, member: ConsumerMember) -> frozenset[str]:
        """The names that a member subscribed to, its regular expression resolved."""
        if member.regex is None:
            return frozenset(member.topics)
        return frozenset(member.topics).union(self.regexes.get(member.regex, ()))

    def subscribed_topics(self) -> frozenset[str]:
        """The names that anybody subscribed to."""
        topics: set[str] = set()
        for member in self.members.values():
            topics.update(member.topics)
        for regex in self.used_regexes():
            topics.update(self.regexes.get(regex, ()))
        return frozenset(topics)

    def used_regexes(self) -> set[str]:
        """The regular expressions of all members."""
        return {each.regex for each in self.members.values() if each.regex is not None}

    def assignor(self, default: str) -> str:
        """The one that most members ask for."""
        votes = Counter(
            each.assignor for each in self.members.values() if each.assignor is not None
        )
        # The name breaks a tie: every coordinator decides alike.
        return max(votes, key=lambda each: (votes[each], each)) if votes else default

    def is_free(self, member_id: str, partition: AssignedPartition) -> bool:
        """Whether nobody else has a partition."""
        return self.owners.get(partition, member_id) == member_id

    def replay(self, key: Key, value: Value | None) -> None:
        """Take in one record. After compaction records may come in any order that keeps the last of each key."""
        match key:
            case r.ConsumerGroupMetadataKey():
                assert value is None or isinstance(value, r.ConsumerGroupMetadataValue)
                self.exists = value is not None
                self.epoch = 0 if value is None else value.epoch
                self.metadata_hash = 0 if value is None else value.metadata_hash
            case r.ConsumerGroupTargetAssignmentMetadataKey():
                assert value is None or isinstance(
                    value, r.ConsumerGroupTargetAssignmentMetadataValue
                )
                self.assignment_epoch = 0 if value is None else value.assignment_epoch
            case r.ConsumerGroupMemberMetadataKey():
                assert value is None or isinstance(value, r.ConsumerGroupMemberMetadataValue)
                self._replay_subscription(key.member_id, value)
            case r.ConsumerGroupTargetAssignmentMemberKey():
                assert value is None or isinstance(
                    value, r.ConsumerGroupTargetAssignmentMemberValue
                )
                if value is None:
                    self.targets.pop(key.member_id, None)
                else:
                    self.targets[key.member_id] = _partitions(value.topic_partitions)
            case r.ConsumerGroupCurrentMemberAssignmentKey():
                assert value is None or isinstance(
                    value, r.ConsumerGroupCurrentMemberAssignmentValue
                )
                self._replay_assignment(key.member_id, value)
            case r.ConsumerGroupRegularExpressionKey():
                assert value is None or isinstance(value, r.ConsumerGroupRegularExpressionValue)
                if value is None:
                    self.regexes.pop(key.regular_expression, None)
                else:
                    self.regexes[key.regular_expression] = value.topics

    def _replay_subscription(
        self, member_id: str, value: r.ConsumerGroupMemberMetadataValue | None
    ) -> None:
        old = self.members.get(member_id, ConsumerMember(member_id))
        if old.instance_id is not None and self.static.get(old.instance_id) == member_id:
            del self.static[old.instance_id]
        if value is None:
            self._put(replace(old, assigned=NOTHING, revoking=NOTHING))
            self.members.pop(member_id, None)
            return
        if value.instance_id is not None:
            self.static[value.instance_id] = member_id
        self._put(
            replace(
                old,
                instance_id=value.instance_id,
                rack_id=value.rack_id,
                client_id=value.client_id,
                client_host=value.client_host,
                rebalance_timeout_ms=value.rebalance_timeout_ms,
                topics=value.subscribed_topic_names,
                regex=value.subscribed_topic_regex,
                assignor=value.server_assignor,
                classic=_classic(value.classic_member_metadata),
            )
        )

    def _replay_assignment(
        self, member_id: str, value: r.ConsumerGroupCurrentMemberAssignmentValue | None
    ) -> None:
        old = self.members.get(member_id)
        if value is None:
            if old is not None:
                self._put(replace(old, epoch=0, assigned=NOTHING, revoking=NOTHING))
            return
        self._put(
            replace(
                old or ConsumerMember(member_id),
                epoch=value.member_epoch,
                previous_epoch=value.previous_member_epoch,
                state=_state(value),
                assigned=_partitions(value.assigned_partitions),
                revoking=_partitions(value.partitions_pending_revocation),
            )
        )

    def _put(self, member: ConsumerMember) -> None:
        old = self.members.get(member.member_id)
        self.members[member.member_id] = member
        before = NOTHING if old is None else old.has
        after = member.has
        if before == after:
            return
        for each in before - after:
            if self.owners.get(each) == member.member_id:
                del self.owners[each]
        for each in after - before:
            self.owners[each] = member.member_id


@dataclass(slots=True)
class ConsumerGroup:
    """`heard_until_ms`: each member's session; `moving_until_ms`: until when one must have done what it was told, which
    is to let partitions go, and for one with the classic protocol to join, then to sync.

    deadline_ms: nothing is due before; it may be too early, which costs a look. becomes: the classic group that was
    decided upon in this one's place.
    """

    group_id: str
    current: ConsumerGroupState = field(default_factory=ConsumerGroupState)
    committed: ConsumerGroupState = field(default_factory=ConsumerGroupState)
    pending: list[Step] = field(default_factory=list)
    heard_until_ms: dict[str, int] = field(default_factory=dict)
    moving_until_ms: dict[str, int] = field(default_factory=dict)
    deadline_ms: int | None = None
    checked_topics: object = None
    becomes: ClassicGroup | None = None
    _emitted: list[GroupRecord] = field(default_factory=list)

    def emit(self, *records: GroupRecord) -> None:
        """Decide upon records: later decisions see them at once. `finish` keeps them."""
        _replay_all(self.current, records)
        self._emitted += records

    def finish(self, step: Step) -> Step:
        """Everything emitted, with its answers. They wait for it, and for every decision before it.

        A step without records may tell what is not committed yet, so it waits with the last one that is appended.
        """
        step.records += self._emitted
        self._emitted.clear()
        if not step.records:
            if self.pending:
                self.pending[-1].answers += step.answers
                return Step()
            return step
        self.pending.append(step)
        step.kept = partial(self._kept, step)
        step.lost = partial(self._lost, step)
        return step

    def due_at(self, at_ms: int) -> None:
        """Something has to be looked at then."""
        self.deadline_ms = at_ms if self.deadline_ms is None else min(self.deadline_ms, at_ms)

    def must_move(self, member: ConsumerMember, now_ms: int) -> None:
        """Give a member its rebalance timeout to do what it was told."""
        until = now_ms + max(member.rebalance_timeout_ms, 0)
        self.moving_until_ms[member.member_id] = until
        self.due_at(until)

    def _kept(self, step: Step) -> Step:
        self.pending.remove(step)
        _replay_all(self.committed, step.records)
        if not self.pending:
            for times in (self.heard_until_ms, self.moving_until_ms):
                for member_id in [each for each in times if each not in self.current.members]:
                    del times[member_id]
        return Step()

    def _lost(self, step: Step, _cause: OttlaError) -> Step:
        self.pending.remove(step)
        self.current = self.committed.copy()
        self.checked_topics = None
        for each in self.pending:
            _replay_all(self.current, each.records)
        for member_id in [each for each in self.moving_until_ms if self._is_told_nothing(each)]:
            del self.moving_until_ms[member_id]
        return Step()

    def _is_told_nothing(self, member_id: str) -> bool:
        member = self.current.members.get(member_id)
        if member is None or member.classic is not None:
            return False
        return member.state is not MemberState.UNREVOKED_PARTITIONS


def _classic(value: r.ClassicMemberMetadata | None) -> ClassicTerms | None:
    if value is None:
        return None
    return ClassicTerms(
        value.session_timeout_ms,
        tuple((each.name, each.metadata) for each in value.supported_protocols),
    )


def _state(value: r.ConsumerGroupCurrentMemberAssignmentValue) -> MemberState:
    """A state of a release to come is taken for the one of ours that waits longest."""
    with suppress(ValueError):
        return MemberState(value.state)
    if value.partitions_pending_revocation:
        return MemberState.UNREVOKED_PARTITIONS
    return MemberState.UNRELEASED_PARTITIONS


def _replay_all(state: ConsumerGroupState, records: Iterable[GroupRecord]) -> None:
    for key, value in records:
        state.replay(key, value)


def _partitions(topics: Iterable[r.TopicPartitions]) -> Assignment:
    return frozenset(
        AssignedPartition(each.topic_id, number)
        for each in topics
        if each.topic_id is not None
        for number in each.partitions
    )


def by_topic(assignment: Assignment) -> Mapping[UUID, tuple[int, ...]]:
    """topic -> numbers, in order."""
    found: dict[UUID, list[int]] = {}
    for topic_id, number in sorted(assignment):
        found.setdefault(topic_id, []).append(number)
    return {topic_id: tuple(numbers) for topic_id, numbers in found.items()}

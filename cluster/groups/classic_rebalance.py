"""How a classic group gets from one generation to the next. Pure; model: Kafka's GroupMetadataManager.

All who are members must join; those who do not in time are left out. Then one of them, the leader, is told of all and
says who gets what; that is kept in the log before anybody hears of it.
"""

from collections.abc import Iterable, Mapping

from cluster.groups.classic_group import NO_PROTOCOL, ClassicGroup, Member, State
from cluster.groups.classic_records import generation_record
from cluster.groups.errors import (
    CoordinatorNotAvailableError,
    GroupTooLargeError,
    NotCoordinatorError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from cluster.groups.settings import GroupSettings
from cluster.groups.step import Step
from cluster.groups.subscriptions import subscribed_topics
from storage.errors import OttlaError
from wire.messages.join_group import JoinGroupResponse
from wire.messages.sync_group import SyncGroupResponse

NEW_MEMBER_JOIN_TIMEOUT_MS = 5 * 60 * 1000
"""A new member's heartbeats begin when it has joined; so long its join may take."""


class Clock:
    """now_ms: monotonic. wall_ms: since the epoch, for what is kept in the log only."""

    __slots__ = ("now_ms", "wall_ms")

    def __init__(self, now_ms: int, wall_ms: int) -> None:
        self.now_ms = now_ms
        self.wall_ms = wall_ms


def prepare(group: ClassicGroup, settings: GroupSettings, clock: Clock) -> Step:
    """Everybody has to join again."""
    step = Step()
    if group.state is State.COMPLETING_REBALANCE:
        step.extend(fail_syncs(group, RebalanceInProgressError("the group is rebalancing again")))
        for member in group.members.values():
            member.assignment = b""
    was_empty = group.state is State.EMPTY
    group.become(State.PREPARING_REBALANCE, clock.wall_ms)
    group.sync_deadline_ms = None
    group.awaiting_sync.clear()
    longest = group.rebalance_timeout_ms
    if was_empty:
        delay = min(settings.initial_rebalance_delay_ms, longest)
        group.join_deadline_ms = clock.now_ms + delay
        group.initial_until_ms = clock.now_ms + longest
    else:
        group.join_deadline_ms = clock.now_ms + longest
        group.initial_until_ms = None
    if not was_empty or not group.join_deadline_ms > clock.now_ms:
        return _merge(step, complete_if_all_joined(group, clock))
    return step


def _merge(first: Step, second: Step) -> Step:
    second.answers[:0] = first.answers
    return second


def one_more_joined(group: ClassicGroup, settings: GroupSettings, clock: Clock) -> Step:
    """A member has joined a rebalance. A group that is filling up waits a little longer for others."""
    if group.initial_until_ms is not None:
        delay = min(
            settings.initial_rebalance_delay_ms, max(group.initial_until_ms - clock.now_ms, 0)
        )
        group.join_deadline_ms = clock.now_ms + delay
        if delay:
            return Step()
    return complete_if_all_joined(group, clock)


def complete_if_all_joined(group: ClassicGroup, clock: Clock) -> Step:
    """Go on when nobody is waited for any more."""
    waits = group.initial_until_ms is not None and (group.join_deadline_ms or 0) > clock.now_ms
    if group.state is State.PREPARING_REBALANCE and group.all_joined and not waits:
        return complete(group, clock)
    return Step()


def complete(group: ClassicGroup, clock: Clock) -> Step:
    """The time to join is over: a new generation of those who have."""
    group.initial_until_ms = None
    absent = [each for each in group.members.values() if each.joining is None]
    for member in absent:
        # A static member's place is kept until its session is over.
        if member.instance_id is None:
            group.remove(member.member_id)
    _elect_joined_leader(group)
    if group.members and all(each.joining is None for each in group.members.values()):
        group.join_deadline_ms = clock.now_ms + group.rebalance_timeout_ms
        return Step()
    group.join_deadline_ms = None
    group.generation += 1
    group.assignment_is_being_kept = False
    if not group.members:
        return _emptied(group, clock)
    group.protocol = group.select_protocol()
    group.subscribed = subscribed_topics(
        group.protocol_type, (each.metadata(group.protocol) for each in group.members.values())
    )
    group.become(State.COMPLETING_REBALANCE, clock.wall_ms)
    group.sync_deadline_ms = clock.now_ms + group.rebalance_timeout_ms
    return _answer_joins(group, clock)


def _elect_joined_leader(group: ClassicGroup) -> None:
    leader = group.members.get(group.leader_id or "")
    if leader is not None and leader.joining is not None:
        return
    joined = (each.member_id for each in group.members.values() if each.joining is not None)
    group.leader_id = next(joined, group.leader_id if leader is not None else None)


def _emptied(group: ClassicGroup, clock: Clock) -> Step:
    group.protocol = None
    group.leader_id = None
    group.subscribed = frozenset()
    group.become(State.EMPTY, clock.wall_ms)
    return Step(records=[generation_record(group, {}, clock.wall_ms)])


def _answer_joins(group: ClassicGroup, clock: Clock) -> Step:
    step = Step()
    group.awaiting_sync = {}
    for member in group.members.values():
        group.awaiting_sync[member.member_id] = None
        member.heard(clock.now_ms)
        member.is_new = False
        if member.joining is not None:
            ticket, member.joining = member.joining, None
            step.answer(ticket, joined(group, member))
    return step


def joined(
    group: ClassicGroup, member: Member, *, skip_assignment: bool = False
) -> JoinGroupResponse:
    """What a member of the current generation is told."""
    leads = group.leader_id == member.member_id
    return JoinGroupResponse(
        generation_id=group.generation,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol or NO_PROTOCOL,
        leader=group.leader_id or "",
        skip_assignment=skip_assignment,
        member_id=member.member_id,
        members=group.member_metadata() if leads else (),
    )


def synced(group: ClassicGroup, member: Member) -> SyncGroupResponse:
    """What a member has to read."""
    return SyncGroupResponse(
        protocol_type=group.protocol_type,
        protocol_name=group.protocol,
        assignment=member.assignment,
    )


def assign(group: ClassicGroup, wanted: Mapping[str, bytes], clock: Clock) -> Step:
    """The leader has said who gets what: keep it, then tell them."""
    generation = group.generation
    assignments = {member_id: wanted.get(member_id, b"") for member_id in group.members}
    group.assignment_is_being_kept = True

    def current() -> bool:
        return group.state is State.COMPLETING_REBALANCE and group.generation == generation

    def kept() -> Step:
        if not current():
            return Step()
        group.assignment_is_being_kept = False
        for member_id, assignment in assignments.items():
            if member_id in group.members:
                group.members[member_id].assignment = assignment
        group.become(State.STABLE, clock.wall_ms)
        return _answer_syncs(group)

    def lost(error: OttlaError) -> Step:
        if not current():
            return Step()
        group.assignment_is_being_kept = False
        return fail_syncs(group, _of_the_log(error))

    record = generation_record(group, assignments, clock.wall_ms)
    return Step(records=[record], kept=kept, lost=lost)


def _of_the_log(error: OttlaError) -> OttlaError:
    """What a failed append means to a member: find the coordinator again, try again, or give up."""
    if isinstance(error, NotCoordinatorError | GroupTooLargeError):
        return error
    return CoordinatorNotAvailableError(str(error))


def _answer_syncs(group: ClassicGroup) -> Step:
    step = Step()
    for member in group.members.values():
        if member.syncing is not None:
            ticket, member.syncing = member.syncing, None
            group.awaiting_sync.pop(member.member_id, None)
            step.answer(ticket, synced(group, member))
    return step


def fail_syncs(group: ClassicGroup, error: OttlaError) -> Step:
    """Tell everyone who waits for an assignment that there will be none."""
    step = Step()
    for member in group.members.values():
        if member.syncing is not None:
            ticket, member.syncing = member.syncing, None
            step.answer(ticket, error)
    return step


def fail_waiting(member: Member, error: OttlaError) -> Step:
    """Tell whoever waits in a member's name that it is none any more."""
    step = Step()
    for ticket in (member.joining, member.syncing):
        if ticket is not None:
            step.answer(ticket, error)
    member.joining = member.syncing = None
    return step


def member_left(
    group: ClassicGroup, member_ids: Iterable[str], settings: GroupSettings, clock: Clock
) -> Step:
    """Members are gone: the others rebalance."""
    step = Step()
    for member_id in member_ids:
        member = group.remove(member_id)
        if member is not None:
            gone = UnknownMemberIdError(f"member {member_id} has left group {group.group_id}")
            step.extend(fail_waiting(member, gone))
    if group.state in (State.STABLE, State.COMPLETING_REBALANCE):
        return _merge(step, prepare(group, settings, clock))
    if group.state is State.PREPARING_REBALANCE:
        return _merge(step, complete_if_all_joined(group, clock))
    return step

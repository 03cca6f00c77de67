"""How one member of a KIP-848 group gets from what it has to what it shall have. Pure.

    STABLE ──newer target──► UNREVOKED_PARTITIONS ──it let them go──► UNRELEASED_PARTITIONS ──others did──► STABLE

A partition is given to a member only when no other has it: one that is pending revocation is still its old owner's,
until that member's heartbeat no longer names it. That is what keeps two members from reading one partition.

Being told to let go is a step with an epoch of its own. A heartbeat of the epoch before does not name partitions that
the member was given in an answer it is still working on, so it would be no proof that they are free; Kafka takes it for
one. All that the member had is still its own in that step, so what it read may be committed with either epoch.

A member with the classic protocol says what it has when it joins. Its epoch is its generation, and the other way
round: it is the same while the member is told to let go and rises when it has, so that a process which has missed that
cannot commit any more. One that has let go before it was told (the eager assignors) need not be told.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID


class AssignedPartition(NamedTuple):
    """A partition by its topic's id."""

    topic_id: UUID
    partition: int


Assignment = frozenset[AssignedPartition]
NOTHING: Assignment = frozenset()
JOINING = 0
LEAVING = -1
LEAVING_FOR_A_WHILE = -2
"""The epochs that say so in a heartbeat. A static member that left for a while has the last one."""


class MemberState(IntEnum):
    """Kafka's numbers, as the log has them."""

    STABLE = 0
    UNREVOKED_PARTITIONS = 1
    UNRELEASED_PARTITIONS = 2


class ClassicTerms(NamedTuple):
    """What a member with the classic protocol came with. protocols: its assignors, each with its subscription."""

    session_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class ConsumerMember:
    """A member. topics: sorted names. assigned and revoking are both its own; the latter it was told to let go.

    classic: None for a member with the protocol of KIP-848.
    """

    member_id: str
    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    rebalance_timeout_ms: int = -1
    topics: tuple[str, ...] = ()
    regex: str | None = None
    assignor: str | None = None
    epoch: int = 0
    previous_epoch: int = 0
    state: MemberState = MemberState.STABLE
    assigned: Assignment = NOTHING
    revoking: Assignment = NOTHING
    classic: ClassicTerms | None = None

    @property
    def has(self) -> Assignment:
        """Every partition that nobody else may have."""
        return self.assigned | self.revoking if self.revoking else self.assigned

    @property
    def is_held_back(self) -> bool:
        """Whether it came with partitions that are not its own, and has to let go of them before it gets any."""
        return self.state is MemberState.UNREVOKED_PARTITIONS and not self.has


def reconcile(
    member: ConsumerMember,
    target_epoch: int,
    target: Assignment,
    is_free: Callable[[AssignedPartition], bool],
    owned: Assignment | None,
) -> ConsumerMember:
    """The member, as far as it can be brought now; itself when nothing can be done.

    is_free: whether no other member has a partition. owned: what the member says it has; None: it does not say.
    """
    match member.state:
        case MemberState.STABLE:
            if member.epoch == target_epoch:
                return member
        case MemberState.UNREVOKED_PARTITIONS:
            if owned is None or member.revoking & owned:
                return member
        case MemberState.UNRELEASED_PARTITIONS:
            pass
    return _next(member, target_epoch, target, is_free, owned)


def _next(
    member: ConsumerMember,
    target_epoch: int,
    target: Assignment,
    is_free: Callable[[AssignedPartition], bool],
    owned: Assignment | None,
) -> ConsumerMember:
    keeps = member.assigned & target
    revoking = member.assigned - target
    if revoking and member.epoch > JOINING and not _has_let_go(member, revoking, owned):
        told = _told_epoch(member)
        assert told + (member.classic is not None) <= target_epoch, (member, target_epoch)
        return _moved(member, told, MemberState.UNREVOKED_PARTITIONS, keeps, revoking)
    # A new process of a static member has nothing yet that it would have to let go.
    wanted = target - keeps
    free = frozenset(each for each in wanted if is_free(each))
    state = MemberState.STABLE if len(free) == len(wanted) else MemberState.UNRELEASED_PARTITIONS
    return _moved(member, target_epoch, state, keeps | free, NOTHING)


def _has_let_go(member: ConsumerMember, revoking: Assignment, owned: Assignment | None) -> bool:
    return member.classic is not None and owned is not None and not revoking & owned


def _told_epoch(member: ConsumerMember) -> int:
    """The epoch of a member that is told to let go."""
    if member.classic is not None and member.state is not MemberState.UNREVOKED_PARTITIONS:
        return member.epoch
    return member.epoch + 1


def _moved(
    member: ConsumerMember,
    epoch: int,
    state: MemberState,
    assigned: Assignment,
    revoking: Assignment,
) -> ConsumerMember:
    same = (member.epoch, member.state, member.assigned, member.revoking)
    if same == (epoch, state, assigned, revoking):
        return member
    # The epoch before is what a member comes with whose last answer was lost.
    previous = member.epoch if epoch != member.epoch else member.previous_epoch
    return replace(
        member,
        epoch=epoch,
        previous_epoch=previous,
        state=state,
        assigned=assigned,
        revoking=revoking,
    )

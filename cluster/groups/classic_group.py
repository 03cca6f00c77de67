"""A classic group: its members, its generation, and the states it goes through (Kafka's ClassicGroup).

        EMPTY ──join──► PREPARING_REBALANCE ──all joined──► COMPLETING_REBALANCE ──assigned──► STABLE
          ▲                    ▲    │                              │                            │
          └──── all left ──────┼────┘◄──── join, leave, expiry ────┴────────────────────────────┘

Pure. Times are monotonic milliseconds unless said otherwise.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from cluster.groups.step import Ticket
from wire.messages.join_group import JoinGroupResponseMember

NO_PROTOCOL = ""


class State(Enum):
    """Kafka's names, as tools show them."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


# state -> the states it may be left for; anything else is our bug.
TRANSITIONS = {
    State.EMPTY: (State.PREPARING_REBALANCE, State.DEAD),
    State.PREPARING_REBALANCE: (State.COMPLETING_REBALANCE, State.EMPTY, State.DEAD),
    State.COMPLETING_REBALANCE: (State.STABLE, State.PREPARING_REBALANCE, State.DEAD),
    State.STABLE: (State.PREPARING_REBALANCE, State.DEAD),
    State.DEAD: (),
}


@dataclass(slots=True)
class Member:
    """One member. session_deadline_ms: until when it must be heard of; joining, syncing: the request that waits."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    assignment: bytes = b""
    session_deadline_ms: int = 0
    joining: Ticket | None = None
    syncing: Ticket | None = None
    is_new: bool = False

    def metadata(self, protocol: str) -> bytes:
        """What it said for a protocol."""
        return next((data for name, data in self.protocols if name == protocol), b"")

    def heard(self, now_ms: int) -> None:
        """It lives."""
        self.session_deadline_ms = now_ms + self.session_timeout_ms


@dataclass(slots=True)
class ClassicGroup:
    """`state_since_wall_ms`: for the expiry of offsets. Deadlines are None while nothing is waited for."""

    group_id: str
    state: State = State.EMPTY
    protocol_type: str | None = None
    generation: int = 0
    protocol: str | None = None
    leader_id: str | None = None
    members: dict[str, Member] = field(default_factory=dict)
    static: dict[str, str] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    awaiting_sync: dict[str, None] = field(default_factory=dict)
    state_since_wall_ms: int = -1
    join_deadline_ms: int | None = None
    initial_until_ms: int | None = None
    sync_deadline_ms: int | None = None
    assignment_is_being_kept: bool = False
    subscribed: frozenset[str] | None = None

    def become(self, state: State, wall_ms: int) -> None:
        """Change the state."""
        assert state in TRANSITIONS[self.state], (self.group_id, self.state, state)
        self.state = state
        self.state_since_wall_ms = wall_ms

    def add(self, member: Member) -> None:
        """A member comes; the first one leads."""
        if not self.members:
            self.protocol_type = self.protocol_type or None
        self.members[member.member_id] = member
        if member.instance_id is not None:
            self.static[member.instance_id] = member.member_id
        if self.leader_id is None:
            self.leader_id = member.member_id
        self.pending.pop(member.member_id, None)

    def remove(self, member_id: str) -> Member | None:
        """A member goes; another one leads if it did."""
        member = self.members.pop(member_id, None)
        self.awaiting_sync.pop(member_id, None)
        if member is None:
            return None
        if member.instance_id is not None and self.static.get(member.instance_id) == member_id:
            del self.static[member.instance_id]
        if self.leader_id == member_id:
            self.leader_id = next(iter(self.members), None)
        return member

    def replace_static(self, instance_id: str, new_id: str) -> Member:
        """A static member's process was restarted: the same member under a new id."""
        old_id = self.static[instance_id]
        member = self.members.pop(old_id)
        member.member_id = new_id
        self.members[new_id] = member
        self.static[instance_id] = new_id
        if old_id in self.awaiting_sync:
            del self.awaiting_sync[old_id]
            self.awaiting_sync[new_id] = None
        if self.leader_id == old_id:
            self.leader_id = new_id
        return member

    def supports(self, protocol_type: str, protocols: Iterable[str]) -> bool:
        """Whether somebody with these protocols could be a member."""
        names = list(protocols)
        if not self.members:
            return bool(protocol_type) and bool(names)
        if protocol_type != self.protocol_type:
            return False
        return bool(self._shared() & set(names))

    def _shared(self) -> set[str]:
        found = [{name for name, _ in member.protocols} for member in self.members.values()]
        return set.intersection(*found) if found else set()

    def select_protocol(self) -> str:
        """Every member votes for the first of its protocols that all know; the most votes win."""
        shared = self._shared()
        assert shared, f"members of {self.group_id} share no protocol"
        votes = Counter(
            next(name for name, _ in member.protocols if name in shared)
            for member in self.members.values()
        )
        return votes.most_common(1)[0][0]

    @property
    def all_joined(self) -> bool:
        """Whether nobody is waited for any more."""
        return not self.pending and all(
            member.joining is not None for member in self.members.values()
        )

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest that any member asked for."""
        return max((each.rebalance_timeout_ms for each in self.members.values()), default=0)

    def member_metadata(self) -> tuple[JoinGroupResponseMember, ...]:
        """What the leader is told of all members."""
        protocol = self.protocol or NO_PROTOCOL
        return tuple(
            JoinGroupResponseMember(
                member_id=each.member_id,
                group_instance_id=each.instance_id,
                metadata=each.metadata(protocol),
            )
            for each in self.members.values()
        )

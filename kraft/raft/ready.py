"""What the core wants done, with the safety order in the type.

The shell, for each Ready and in the order of the Readys:
1. sends `send` and reads and sends `chunks_to_send`, whenever it likes;
2. writes `chunks_received`, then makes `persist` durable, then reports `RaftNode.persisted(persist.sequence)`;
3. only when this and every earlier Persist is durable sends `send_after_persist`;
4. lets the state machine take `restore`, then `apply`, and reports `RaftNode.applied`; answers `reads` once applied
   so far.
It may step the node and take further Readys while a Persist is still on its way: one fsync then serves many steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from kraft.raft.membership import Membership
from kraft.raft.messages import AnyMessage, Entry, HardState, InstallSnapshot, SnapshotMeta


class Role(Enum):
    """What a node is at the moment; a learner is a FOLLOWER without a vote."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a node finds at its start: all of it durable.

    `entries` are a run that reaches the log's end; they begin at 1, or at or before `snapshot.index + 1`.
    `commit_index` is a hint (0: unknown): what is known to be committed beyond the snapshot.
    """

    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta | None = None
    entries: Sequence[Entry] = ()
    commit_index: int = 0


@dataclass(frozen=True, slots=True)
class Persist:
    """To be made durable, in the order of the fields."""

    sequence: int
    # Term and vote, one atomic record.
    hard_state: HardState | None
    # A snapshot received whole takes the place of the entire log, which goes on at snapshot.index + 1.
    snapshot: SnapshotMeta | None
    # Remove this entry and all after it.
    truncate_from: int | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class ChunkToSend:
    """A piece of our own snapshot that a follower needs: the shell reads it and sends `message(data)`."""

    source: int
    target: int
    term: int
    snapshot: SnapshotMeta
    offset: int
    length: int

    def message(self, data: bytes) -> InstallSnapshot:
        """The message around the bytes read."""
        assert len(data) == self.length, f"chunk of {len(data)} bytes, {self.length} wanted"
        return InstallSnapshot(
            self.source, self.target, self.term, self.snapshot, self.offset, data
        )


@dataclass(frozen=True, slots=True)
class ChunkReceived:
    """A piece of the leader's snapshot: written at `offset` of a temporary file; offset 0 begins it anew."""

    snapshot: SnapshotMeta
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ReadResult:
    """The read may be answered once `index` is applied; None: leadership was lost before it was confirmed."""

    read_id: int
    index: int | None


@dataclass(frozen=True, slots=True)
class LeadershipFact:
    """For the shell's log and callbacks: this node's role, or the leader that it knows, is another."""

    now_ms: int
    term: int
    role: Role
    leader_id: int | None
    cause: str


@dataclass(frozen=True, slots=True)
class MembershipFact:
    """The members are others from the entry `index` on; not `committed` yet when only appended."""

    index: int
    membership: Membership
    committed: bool


@dataclass(frozen=True, slots=True)
class FollowerLostDataFact:
    """A follower's log ends before what it had acknowledged as durable: its disk has lost data."""

    node_id: int
    acknowledged_index: int
    last_index: int


Fact = LeadershipFact | MembershipFact | FollowerLostDataFact


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything new since the Ready before."""

    persist: Persist | None
    send: tuple[AnyMessage, ...]
    send_after_persist: tuple[AnyMessage, ...]
    chunks_to_send: tuple[ChunkToSend, ...]
    chunks_received: tuple[ChunkReceived, ...]
    restore: SnapshotMeta | None
    apply: tuple[Entry, ...]
    reads: tuple[ReadResult, ...]
    facts: tuple[Fact, ...]
    # There is more to apply than `max_apply_bytes`: call again.
    more: bool

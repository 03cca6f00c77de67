"""A simulated node's parts that are not Raft: its disk, its process, its state machine."""

from collections import deque
from dataclasses import dataclass, field

from kraft.raft.messages import AnyMessage, Entry, HardState, SnapshotMeta
from kraft.raft.node import RaftNode
from kraft.raft.ready import Persist
from tests.kraft.raft.invariants import EMPTY, Digest


@dataclass(slots=True)
class Durable:
    """One node's disk: all of it synced."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: SnapshotMeta | None = None
    snapshot_data: bytes = b""
    entries: list[Entry] = field(default_factory=list)

    def take(self, persist: Persist, received: dict[SnapshotMeta, bytes], steps: int) -> None:
        """The first `steps` of the four things that a Persist asks for, in order; the last one maybe in part."""
        if persist.hard_state is not None and steps > 0:
            assert persist.hard_state.term >= self.hard_state.term, "a durable term went back"
            self.hard_state = persist.hard_state
        if persist.snapshot is not None and steps > 1:
            self.snapshot, self.snapshot_data = persist.snapshot, received.pop(persist.snapshot)
            self.entries = []
        if persist.truncate_from is not None and steps > 2:
            first = self.entries[0].index if self.entries else persist.truncate_from
            del self.entries[persist.truncate_from - first :]
        if steps > 3:
            entries = persist.entries if steps == 4 else persist.entries[: steps - 4]
            assert not entries or not self.entries or entries[0].index == self.entries[-1].index + 1
            self.entries.extend(entries)

    def term_at(self, index: int) -> int | None:
        """The term of a durable entry; 0 when a snapshot covers it; None when it is not there."""
        if self.snapshot is not None and index <= self.snapshot.index:
            return 0
        if not self.entries or not self.entries[0].index <= index <= self.entries[-1].index:
            return None
        return self.entries[index - self.entries[0].index].term

    def drop_before(self, index: int) -> None:
        """Entries before `index` are not needed any more."""
        if self.entries:
            del self.entries[: max(index - self.entries[0].index, 0)]


@dataclass(slots=True)
class Machine:
    """A node with its process (None: not running), its disk and its state machine."""

    node_id: int
    durable: Durable = field(default_factory=Durable)
    node: RaftNode | None = None
    digest: Digest = EMPTY
    persists: deque[Persist] = field(default_factory=deque)
    received: dict[SnapshotMeta, bytes] = field(default_factory=dict)
    late: deque[tuple[int, tuple[AnyMessage, ...]]] = field(default_factory=deque)
    handed: int = 0
    life: int = 0
    timer_ms: int = -1
    disk_ms: int = 1

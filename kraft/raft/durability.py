"""What of the log and the hard state was handed to the shell, and what the shell has reported durable."""

from collections import deque
from dataclasses import dataclass

from kraft.raft.log import RaftLog
from kraft.raft.messages import HardState, SnapshotMeta
from kraft.raft.ready import Persist


@dataclass(slots=True)
class _Outstanding:
    sequence: int
    hard_state: HardState | None
    snapshot: SnapshotMeta | None
    # Entries up to here will be durable with it; lowered when they are cut away meanwhile.
    last_index: int


class Durability:
    """The way of entries and hard states to the disk. Several Persists may be on their way, answered in order."""

    def __init__(self, hard_state: HardState, last_index: int) -> None:
        self.durable_hard_state = hard_state
        self.persisted_index = last_index
        self._handed_hard_state = hard_state
        self._next_index = last_index + 1
        self._truncate_from: int | None = None
        self._snapshot: SnapshotMeta | None = None
        self._outstanding: deque[_Outstanding] = deque()
        self._sequence = 0

    def truncated(self, index: int) -> None:
        """The log was cut at `index`: what was handed over from there on is no longer ours."""
        if index < self._next_index:
            self._truncate_from = min(index, self._truncate_from or index)
            self._next_index = index
        self._lower(index - 1)

    def installed(self, snapshot: SnapshotMeta, commit_index: int) -> None:
        """A snapshot has replaced the log; until it is durable only the committed part of the old one counts."""
        self._snapshot = snapshot
        self._truncate_from = None
        self._next_index = snapshot.index + 1
        self._lower(commit_index)

    def _lower(self, last_index: int) -> None:
        self.persisted_index = min(self.persisted_index, last_index)
        for outstanding in self._outstanding:
            outstanding.last_index = min(outstanding.last_index, last_index)

    def take(self, term: int, vote: int | None, log: RaftLog) -> Persist | None:
        """What has changed since the last call, or None."""
        handed = self._handed_hard_state
        changed = None if (handed.term, handed.vote) == (term, vote) else HardState(term, vote)
        entries = log.slice(self._next_index, log.last_index, 1 << 62)
        if changed is None and not entries and self._truncate_from is None and not self._snapshot:
            return None
        self._sequence += 1
        persist = Persist(self._sequence, changed, self._snapshot, self._truncate_from, entries)
        self._outstanding.append(
            _Outstanding(self._sequence, changed, self._snapshot, log.last_index)
        )
        self._handed_hard_state = changed or handed
        self._next_index = log.last_index + 1
        self._truncate_from = None
        self._snapshot = None
        return persist

    def persisted(self, sequence: int) -> SnapshotMeta | None:
        """All up to `sequence` is durable. Returns the last snapshot among it."""
        assert sequence <= self._sequence, f"persist {sequence} was never handed out"
        snapshot = None
        while self._outstanding and self._outstanding[0].sequence <= sequence:
            done = self._outstanding.popleft()
            self.durable_hard_state = done.hard_state or self.durable_hard_state
            self.persisted_index = max(self.persisted_index, done.last_index)
            snapshot = done.snapshot or snapshot
        return snapshot

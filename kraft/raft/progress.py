"""What a leader knows of one follower, and what it may send to it."""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from kraft.raft.messages import SnapshotMeta


class ReplicationState(Enum):
    """How entries go to a follower."""

    # Where the logs agree is not known: one message, then wait for the answer.
    PROBE = "probe"
    # Known: many messages in flight.
    REPLICATE = "replicate"
    # What it needs next is compacted away: a snapshot goes in chunks.
    SNAPSHOT = "snapshot"


@dataclass(slots=True)
class Progress:
    """One follower as its leader sees it. Invariant: 0 <= match_index < next_index."""

    node_id: int
    next_index: int
    last_contact_ms: int
    match_index: int = 0
    state: ReplicationState = ReplicationState.PROBE
    probe_sent: bool = False
    heartbeat_due: bool = False
    told_commit_index: int = 0
    acked_round: int = 0
    # The last index of each AppendEntries with entries that has not been answered.
    inflight: deque[int] = field(default_factory=deque)
    snapshot: SnapshotMeta | None = None
    snapshot_offset: int = 0
    chunk_sent_ms: int | None = None

    @property
    def needs_snapshot(self) -> bool:
        """Whether a snapshot goes to it."""
        return self.state is ReplicationState.SNAPSHOT

    def can_send_entries(self, max_inflight: int) -> bool:
        """Whether entries may be sent now."""
        if self.state is ReplicationState.REPLICATE:
            return len(self.inflight) < max_inflight
        return self.state is ReplicationState.PROBE and not self.probe_sent

    def sent_entries(self, last_index: int) -> None:
        """Entries up to `last_index` are on their way."""
        if self.state is ReplicationState.REPLICATE:
            self.inflight.append(last_index)
            self.next_index = last_index + 1
        else:
            self.probe_sent = True

    def matched(self, index: int) -> bool:
        """The follower has everything up to `index`. Returns whether that is news."""
        while self.inflight and self.inflight[0] <= index:
            self.inflight.popleft()
        news = index > self.match_index
        self.match_index = max(self.match_index, index)
        self.next_index = max(self.next_index, self.match_index + 1)
        return news

    def probe(self, next_index: int) -> None:
        """Find out anew where the logs agree, beginning at `next_index`."""
        self.state = ReplicationState.PROBE
        self.next_index = max(next_index, self.match_index + 1)
        self.probe_sent = False
        self.inflight.clear()
        self._forget_snapshot()

    def lost_connection(self) -> None:
        """What was in flight may never arrive."""
        if self.state is ReplicationState.REPLICATE:
            self.probe(self.match_index + 1)

    def replicate(self) -> None:
        """The logs agree up to match_index: send freely from there."""
        self.state = ReplicationState.REPLICATE
        self.next_index = self.match_index + 1
        self.inflight.clear()
        self._forget_snapshot()

    def send_snapshot(self, snapshot: SnapshotMeta) -> None:
        """Begin, or begin anew, with the first chunk."""
        self.state = ReplicationState.SNAPSHOT
        self.inflight.clear()
        self.snapshot = snapshot
        self.snapshot_offset = 0
        self.chunk_sent_ms = None

    def _forget_snapshot(self) -> None:
        self.snapshot = None
        self.snapshot_offset = 0
        self.chunk_sent_ms = None

"""How one node of the group behaves."""

from dataclasses import dataclass

from storage.errors import ErrorCode, OttlaError


class RaftConfigError(OttlaError):
    """A setting of the consensus core that cannot work."""

    code = ErrorCode.INVALID_CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """Settings of one node; all times are milliseconds of a monotonic clock. Raises RaftConfigError at birth."""

    node_id: int
    """This node, zero or above."""
    election_timeout_ms: int = 1000
    """A voter that has not heard of a leader for this long, up to twice as long by chance, asks for an election. Also
    the leader's lease: for so long after hearing it nobody votes against it, and a leader without a majority for so
    long resigns."""
    heartbeat_interval_ms: int = 150
    """How often a leader is heard of when there is nothing to say."""
    death_hint_jitter_min_ms: int = 5
    """A voter that is told that the leader's process is gone waits at least so long before asking for an election,"""
    death_hint_jitter_max_ms: int = 50
    """and at most so long."""
    max_append_bytes: int = 512 * 1024
    """Entries in one AppendEntries; a single larger entry still travels alone."""
    max_inflight_appends: int = 32
    """AppendEntries on their way to one follower without an answer."""
    max_entry_bytes: int = 8 * 1024 * 1024
    """The largest command."""
    max_uncommitted_bytes: int = 64 * 1024 * 1024
    """The leader refuses commands while more than this waits to be committed."""
    max_apply_bytes: int = 4 * 1024 * 1024
    """Committed entries handed over for applying in one Ready."""
    max_pending_reads: int = 10_000
    """Reads waiting for a round of heartbeats."""
    snapshot_chunk_bytes: int = 512 * 1024
    """Bytes of one InstallSnapshot."""
    trailing_entries: int = 1000
    """Entries kept behind a snapshot, so that a follower a little behind needs no snapshot."""
    promotion_max_lag_entries: int = 100
    """A learner is caught up when it is at most so far behind the leader's commit index."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.node_id < 0:
            raise RaftConfigError(f"node_id = {self.node_id}: it must be zero or above")
        if not 0 < self.heartbeat_interval_ms * 2 <= self.election_timeout_ms:
            raise RaftConfigError(
                f"heartbeat_interval_ms = {self.heartbeat_interval_ms} must be above zero and at most half of "
                f"election_timeout_ms = {self.election_timeout_ms}, or followers would doubt a healthy leader"
            )
        if not 0 <= self.death_hint_jitter_min_ms <= self.death_hint_jitter_max_ms:
            raise RaftConfigError(
                f"death_hint_jitter_min_ms = {self.death_hint_jitter_min_ms} must lie between 0 and "
                f"death_hint_jitter_max_ms = {self.death_hint_jitter_max_ms}"
            )
        if self.trailing_entries < 0 or self.promotion_max_lag_entries < 0:
            raise RaftConfigError(
                "trailing_entries and promotion_max_lag_entries must not be negative"
            )
        for name in (
            "max_append_bytes",
            "max_inflight_appends",
            "max_entry_bytes",
            "max_uncommitted_bytes",
            "max_apply_bytes",
            "max_pending_reads",
            "snapshot_chunk_bytes",
        ):
            if getattr(self, name) < 1:
                raise RaftConfigError(f"{name} = {getattr(self, name)}: it must be at least 1")

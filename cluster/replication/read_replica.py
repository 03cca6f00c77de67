"""Consumers that read from followers (KIP-392): who is sent where. Pure. Only the Kafka door has such readers."""

from collections.abc import Callable

from cluster.replication.partition_state import LeaderState
from storage.errors import ErrorCode, OttlaError


class ReplicaBehindError(OttlaError):
    """A follower does not hold an offset that others may hold: its leader knows (KIP-392)."""

    code = ErrorCode.OFFSET_NOT_AVAILABLE
    retriable = True


def nearest_replica(
    state: LeaderState, offset: int, log_start_offset: int, near: Callable[[int], bool]
) -> int | None:
    """The follower to which a leader sends a consumer that wants `offset`; None: it stays with the leader.

    Kafka's RackAwareReplicaSelector: a leader that is near itself serves itself, otherwise the near follower that is
    furthest. Only members of the ISR that hold the offset count: whoever lags would hold its readers up, too.
    """
    if offset < log_start_offset or near(state.node_id):
        return None
    found = [
        (progress.end_offset, progress.caught_up_ms, replica)
        for replica, progress in state.followers.items()
        if replica in state.isr and progress.end_offset >= offset and near(replica)
    ]
    return max(found)[2] if found else None

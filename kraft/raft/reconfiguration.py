"""Changing the members one step at a time (Raft thesis, 4; bug R9)."""

from kraft.raft import roles
from kraft.raft.core import Core
from kraft.raft.errors import MembershipBusyError, MembershipChangeError
from kraft.raft.membership import ChangeKind, MembershipChange
from kraft.raft.messages import EntryKind
from kraft.raft.replication import propose, require_leader


def propose_membership(core: Core, change: MembershipChange, now_ms: int) -> tuple[int, int]:
    """Append the next membership; it counts from now on. Raises as RaftNode.propose_membership says."""
    require_leader(core)
    if core.commit_index < core.term_start_index:
        raise MembershipBusyError(
            f"the leader of term {core.term} has not committed an entry of its own yet; try again"
        )
    if not core.membership_is_committed:
        raise MembershipBusyError(
            f"the members' change at index {core.memberships[-1][0]} is not committed yet; try again"
        )
    membership = change.applied_to(core.membership)
    if change.kind is ChangeKind.PROMOTE:
        _require_caught_up(core, change.node_id, now_ms)
    term, index = propose(core, EntryKind.MEMBERSHIP, [membership.encode()])
    roles.follow_membership(core, now_ms)
    return term, index


def _require_caught_up(core: Core, node_id: int, now_ms: int) -> None:
    """A voter that lags or is silent would put the majority at risk."""
    progress = core.progress.get(node_id)
    if progress is None:
        raise MembershipChangeError(f"node {node_id} does not follow this leader")
    lag = core.commit_index - progress.match_index
    if lag > core.config.promotion_max_lag_entries:
        raise MembershipBusyError(
            f"learner {node_id} is {lag} entries behind, "
            f"{core.config.promotion_max_lag_entries} at most are allowed; wait and try again"
        )
    silent_ms = now_ms - progress.last_contact_ms
    if silent_ms >= core.config.election_timeout_ms:
        raise MembershipBusyError(
            f"learner {node_id} was not heard of for {silent_ms} ms; start it and try again"
        )

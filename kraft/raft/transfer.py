"""Handing leadership over (Raft thesis, 3.10)."""

from kraft.raft.core import Core
from kraft.raft.errors import MembershipChangeError, ProposalRefusedError
from kraft.raft.replication import hand_over_when_ready, require_leader


def transfer_leadership(core: Core, target: int, now_ms: int) -> None:
    """Take no more proposals, bring the target up to date, then let it stand. Raises as RaftNode's says."""
    require_leader(core)
    if target == core.node_id:
        return
    if target not in core.voters:
        raise MembershipChangeError(
            f"node {target} cannot lead: it is not one of the voters {sorted(core.voters)}"
        )
    if core.transfer_target is not None and core.transfer_target != target:
        raise ProposalRefusedError(
            f"leadership is being handed to node {core.transfer_target} already; try again"
        )
    core.transfer_target = target
    core.transfer_deadline_ms = now_ms + core.config.election_timeout_ms
    hand_over_when_ready(core, core.progress[target])


def tick(core: Core, now_ms: int) -> None:
    """A transfer that takes an election timeout has failed: this leader goes on."""
    if core.transfer_target is not None and now_ms >= core.transfer_deadline_ms:
        core.transfer_target = None

"""What an operator sees of the quorum."""

from dataclasses import dataclass

from kraft.raft.core import Core
from kraft.raft.membership import Member
from kraft.raft.progress import ReplicationState
from kraft.raft.ready import Role


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """A follower as the leader sees it."""

    node_id: int
    match_index: int
    state: ReplicationState
    last_contact_ms: int


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """One node; `followers` only at the leader. Times are of the node's own monotonic clock."""

    node_id: int
    role: Role
    term: int
    leader_id: int | None
    commit_index: int
    applied_index: int
    persisted_index: int
    first_index: int
    last_index: int
    snapshot_index: int
    members: tuple[Member, ...]
    transfer_target: int | None
    followers: tuple[FollowerStatus, ...]


def status_of(core: Core) -> RaftStatus:
    """A picture of the node as it is now."""
    return RaftStatus(
        node_id=core.node_id,
        role=core.role,
        term=core.term,
        leader_id=core.leader_id,
        commit_index=core.commit_index,
        applied_index=core.applied_index,
        persisted_index=core.durability.persisted_index,
        first_index=core.log.base_index + 1,
        last_index=core.log.last_index,
        snapshot_index=core.snapshot.index if core.snapshot else 0,
        members=core.membership.members,
        transfer_target=core.transfer_target,
        followers=tuple(
            FollowerStatus(each.node_id, each.match_index, each.state, each.last_contact_ms)
            for each in core.progress.values()
        ),
    )

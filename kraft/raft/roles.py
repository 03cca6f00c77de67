"""Becoming follower, candidate, leader (Raft paper, Figure 4, with the pre-candidate of the thesis, 9.6)."""

from kraft.raft.core import Core
from kraft.raft.messages import Entry, EntryKind
from kraft.raft.progress import Progress
from kraft.raft.ready import Role


def become_follower(core: Core, term: int, leader_id: int | None, now_ms: int, cause: str) -> None:
    """Follow `leader_id` (None: not known yet) in `term`."""
    changed = term != core.term or core.role is not Role.FOLLOWER or leader_id != core.leader_id
    if term > core.term:
        core.set_term(term)
        core.incoming = None
    if core.role is Role.LEADER:
        _lay_down_leadership(core)
    core.role = Role.FOLLOWER
    core.leader_id = leader_id
    core.leader_reported_dead = False
    core.campaign_is_transfer = False
    core.votes.clear()
    core.election_deadline_ms = now_ms + core.election_timeout()
    if changed:
        core.leadership_changed(now_ms, cause)


def become_pre_candidate(core: Core, now_ms: int, cause: str) -> None:
    """Ask who would vote; neither term nor vote change (bug R8)."""
    assert core.role is not Role.LEADER
    changed = core.role is not Role.PRE_CANDIDATE or core.leader_id is not None
    core.role = Role.PRE_CANDIDATE
    core.leader_id = None
    core.leader_reported_dead = False
    core.votes = {core.node_id: True}
    core.election_deadline_ms = now_ms + retry_timeout(core, now_ms, pre_vote=True)
    if changed:
        core.leadership_changed(now_ms, cause)


def become_candidate(core: Core, now_ms: int, cause: str, *, transfer: bool) -> None:
    """Stand in the next term. Our own vote counts when it is durable (bug R1), as everybody's."""
    assert core.role is not Role.LEADER
    core.role = Role.CANDIDATE
    core.leader_id = None
    core.leader_reported_dead = False
    core.incoming = None
    core.set_term(core.term + 1)
    core.set_vote(core.node_id)
    core.votes = {}
    core.campaign_is_transfer = transfer
    core.election_deadline_ms = now_ms + retry_timeout(core, now_ms, pre_vote=False)
    core.leadership_changed(now_ms, cause)


def retry_timeout(core: Core, now_ms: int, *, pre_vote: bool) -> int:
    """How long to wait for votes. Short while the leader is known to be dead: nobody can be disturbed by it."""
    if now_ms < core.hurry_until_ms:
        longest = core.config.death_hint_jitter_max_ms
        return core.rng.randrange(longest, 3 * longest + 1) + 1
    if pre_vote:
        half = max(core.config.election_timeout_ms // 2, 1)
        return half + core.rng.randrange(half)
    return core.election_timeout()


def become_leader(core: Core, now_ms: int, cause: str) -> None:
    """Lead this term, and begin it with an entry of its own (Raft paper, 8; bug R3)."""
    assert core.role is Role.CANDIDATE
    assert core.hard_state_is_durable, "leading before the own vote is durable"
    core.role = Role.LEADER
    core.leader_id = core.node_id
    core.votes.clear()
    core.transfer_target = None
    core.reads.leadership_won()
    core.progress = {}
    follow_membership(core, now_ms)
    core.term_start_index = core.log.last_index + 1
    core.append(Entry(core.term_start_index, core.term, EntryKind.NOOP))
    core.uncommitted_bytes = sum(
        entry.size_bytes
        for entry in core.log.slice(core.commit_index + 1, core.log.last_index, 1 << 62)
    )
    core.heartbeat_deadline_ms = now_ms + core.config.heartbeat_interval_ms
    core.quorum_deadline_ms = now_ms + core.config.election_timeout_ms
    core.leadership_changed(now_ms, cause)


def follow_membership(core: Core, now_ms: int) -> None:
    """Replicate to every member; one that is being removed is still told so until the removal is committed."""
    last_committed = core.membership_at(core.commit_index)
    members = {member.node_id for member in last_committed.members + core.membership.members} - {
        core.node_id
    }
    for node_id in sorted(members - core.progress.keys()):
        core.progress[node_id] = Progress(
            node_id, next_index=core.log.last_index + 1, last_contact_ms=now_ms, heartbeat_due=True
        )
    for node_id in core.progress.keys() - members:
        del core.progress[node_id]


def _lay_down_leadership(core: Core) -> None:
    core.progress = {}
    core.transfer_target = None
    core.uncommitted_bytes = 0
    core.reads.leadership_lost()

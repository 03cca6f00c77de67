"""Leader election: pre-vote, vote, and the leases that keep a healthy leader in office.

Raft paper, 5.2 and 5.4.1; thesis, 9.6 (pre-vote) and 4.2.3 (nobody votes against a leader heard of lately).
"""

from kraft.raft import roles
from kraft.raft.core import Core
from kraft.raft.messages import (
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from kraft.raft.quorum import Tally, tally
from kraft.raft.ready import Role


def tick(core: Core, now_ms: int) -> None:
    """Patience with the leader, or with the voters, may have come to an end."""
    if core.role is Role.LEADER or now_ms < core.election_deadline_ms:
        return
    cause = _cause(core)
    if not core.may_stand:
        roles.become_follower(core, core.term, None, now_ms, cause)
        return
    start_pre_vote(core, now_ms, cause)


def _cause(core: Core) -> str:
    if core.leader_reported_dead:
        return f"node {core.leader_id}, the leader, is reported dead"
    if core.role is Role.FOLLOWER and core.leader_id is not None:
        return f"node {core.leader_id}, the leader, was silent"
    return "no leader is known" if core.role is Role.FOLLOWER else "not enough votes in time"


def start_pre_vote(core: Core, now_ms: int, cause: str) -> None:
    """Ask whether an election would be won before disturbing anybody with one."""
    roles.become_pre_candidate(core, now_ms, cause)
    if tally(core.voters, core.votes) is Tally.WON:
        start_election(core, now_ms, cause, transfer=False)
        return
    core.early.extend(
        PreVote(core.node_id, voter, core.term + 1, core.log.last_index, core.log.last_term)
        for voter in sorted(core.voters - {core.node_id})
    )


def start_election(core: Core, now_ms: int, cause: str, *, transfer: bool) -> None:
    """Stand for election in the next term."""
    roles.become_candidate(core, now_ms, cause, transfer=transfer)
    core.late.extend(
        RequestVote(
            core.node_id, voter, core.term, core.log.last_index, core.log.last_term, transfer
        )
        for voter in sorted(core.voters - {core.node_id})
    )


def own_vote_durable(core: Core, now_ms: int) -> None:
    """Something became durable: if it was a candidate's own vote, it counts now."""
    if (
        core.role is Role.CANDIDATE
        and core.hard_state_is_durable
        and not core.votes.get(core.node_id)
    ):
        core.votes[core.node_id] = True
        _count_votes(core, now_ms)


def has_lease(core: Core, now_ms: int) -> bool:
    """Whether a leader is in office as far as this node can tell, so that nobody else gets its vote."""
    if core.role is Role.LEADER:
        return True
    return (
        core.leader_id is not None
        and not core.leader_reported_dead
        and now_ms < core.leader_contact_ms + core.config.election_timeout_ms
    )


def _lease_forbids(core: Core, candidate: int, now_ms: int) -> bool:
    """A leader that asks for votes itself is no leader any more: its own lease cannot stand in its way (bug R8)."""
    return candidate != core.leader_id and has_lease(core, now_ms)


def on_pre_vote(core: Core, message: PreVote, now_ms: int) -> None:
    """Say whether we would vote so. Nothing here changes: no term, no vote, no timer (bug R8)."""
    granted = (
        message.term > core.term
        and not _lease_forbids(core, message.source, now_ms)
        and core.log.is_not_ahead_of(message.last_index, message.last_term)
    )
    term = message.term if granted else core.term
    core.late.append(PreVoteResponse(core.node_id, message.source, term, granted))


def on_pre_vote_response(core: Core, message: PreVoteResponse, now_ms: int) -> None:
    """Stand for election when a majority would vote for us."""
    if core.role is not Role.PRE_CANDIDATE:
        return
    if message.granted and message.term != core.term + 1:
        return
    core.votes[message.source] = message.granted
    if tally(core.voters, core.votes) is Tally.WON:
        start_election(core, now_ms, "a majority would vote for this node", transfer=False)


def ignores_vote_request(core: Core, message: RequestVote, now_ms: int) -> bool:
    """A candidate that disturbs a leader in office is not even allowed to raise the term (Raft paper, 6)."""
    return not message.transfer and _lease_forbids(core, message.source, now_ms)


def on_request_vote(core: Core, message: RequestVote, now_ms: int) -> None:
    """Vote, once in a term, for a candidate whose log is at least as up to date (Raft paper, 5.2, 5.4.1)."""
    granted = (
        message.term == core.term
        and core.vote in (None, message.source)
        and core.leader_id in (None, message.source)
        and core.log.is_not_ahead_of(message.last_index, message.last_term)
    )
    if granted:
        core.set_vote(message.source)
        core.election_deadline_ms = now_ms + roles.retry_timeout(core, now_ms, pre_vote=False)
    core.late.append(RequestVoteResponse(core.node_id, message.source, core.term, granted))


def on_request_vote_response(core: Core, message: RequestVoteResponse, now_ms: int) -> None:
    """Count a vote of our term."""
    if core.role is not Role.CANDIDATE or message.term != core.term:
        return
    core.votes[message.source] = message.granted
    _count_votes(core, now_ms)


def _count_votes(core: Core, now_ms: int) -> None:
    if core.votes.get(core.node_id) and tally(core.voters, core.votes) is Tally.WON:
        votes = sorted(voter for voter, granted in core.votes.items() if granted)
        roles.become_leader(core, now_ms, f"elected by nodes {votes}")


def on_timeout_now(core: Core, message: TimeoutNow, now_ms: int) -> None:
    """The leader hands over to us: stand at once, without asking first (Raft thesis, 3.10)."""
    if core.role is Role.FOLLOWER and core.leader_id == message.source and core.may_stand:
        start_election(core, now_ms, f"node {message.source} hands leadership over", transfer=True)


def peer_unreachable(core: Core, node_id: int, now_ms: int) -> None:
    """The leader's process is said to be gone: ask for an election soon. Safe when it is not true."""
    if core.role is not Role.FOLLOWER or core.leader_id != node_id:
        return
    if not core.may_stand:
        roles.become_follower(
            core, core.term, None, now_ms, f"node {node_id}, the leader, is reported dead"
        )
        return
    config = core.config
    jitter = core.rng.randint(config.death_hint_jitter_min_ms, config.death_hint_jitter_max_ms)
    core.election_deadline_ms = min(core.election_deadline_ms, now_ms + jitter)
    if not core.leader_reported_dead:
        core.leader_reported_dead = True
        core.hurry_until_ms = now_ms + config.election_timeout_ms

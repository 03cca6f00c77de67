"""The leader's side of replication (Raft paper, 5.3, 5.4.2), pipelined with flow control (thesis, 10.2)."""

from kraft.raft import roles
from kraft.raft.core import Core
from kraft.raft.errors import NotLeaderError, ProposalRefusedError, ProposalTooLargeError
from kraft.raft.messages import AppendEntries, AppendEntriesResponse, Entry, EntryKind, TimeoutNow
from kraft.raft.progress import Progress, ReplicationState
from kraft.raft.quorum import majority_value
from kraft.raft.ready import ChunkToSend, FollowerLostDataFact, Role


def require_leader(core: Core) -> None:
    """Raises NotLeaderError with the leader this node knows of."""
    if core.role is not Role.LEADER:
        known = "no leader is known" if core.leader_id is None else f"node {core.leader_id} is"
        raise NotLeaderError(
            f"node {core.node_id} is not the leader of term {core.term}; {known}",
            core.leader_id,
            core.term,
        )


def propose(core: Core, kind: EntryKind, data: list[bytes]) -> tuple[int, int]:
    """Append entries of our term. Returns (term, index of the last). Raises as RaftNode.propose says."""
    require_leader(core)
    if core.transfer_target is not None:
        raise ProposalRefusedError(
            f"node {core.node_id} is handing leadership over to node {core.transfer_target}; try again"
        )
    for each in data:
        if len(each) > core.config.max_entry_bytes:
            raise ProposalTooLargeError(
                f"a command of {len(each)} bytes is above the limit of {core.config.max_entry_bytes}"
            )
    first = core.log.last_index + 1
    entries = [Entry(first + place, core.term, kind, each) for place, each in enumerate(data)]
    size = sum(entry.size_bytes for entry in entries)
    if core.uncommitted_bytes and core.uncommitted_bytes + size > core.config.max_uncommitted_bytes:
        raise ProposalRefusedError(
            f"{core.uncommitted_bytes} bytes wait to be committed, the limit is "
            f"{core.config.max_uncommitted_bytes}; try again"
        )
    core.uncommitted_bytes += size
    for entry in entries:
        core.append(entry)
    return core.term, core.log.last_index


def tick(core: Core, now_ms: int) -> None:
    """Heartbeats, and the leader's doubt about its own majority."""
    if now_ms >= core.heartbeat_deadline_ms:
        core.heartbeat_deadline_ms = now_ms + core.config.heartbeat_interval_ms
        for progress in core.progress.values():
            progress.heartbeat_due = True
    if now_ms >= core.quorum_deadline_ms:
        _check_quorum(core, now_ms)


def _check_quorum(core: Core, now_ms: int) -> None:
    """A leader that no majority of the voters has answered for an election timeout resigns (bug R6)."""
    heard = majority_value(
        now_ms if voter == core.node_id else _contact(core, voter) for voter in core.voters
    )
    core.quorum_deadline_ms = heard + core.config.election_timeout_ms
    if now_ms >= core.quorum_deadline_ms:
        roles.become_follower(
            core, core.term, None, now_ms, "no majority of the voters was heard of"
        )


def _contact(core: Core, voter: int) -> int:
    return core.progress[voter].last_contact_ms


def pump(core: Core, now_ms: int) -> None:
    """Send to every follower what it may get now."""
    if core.commit_index >= core.term_start_index and core.reads.begin_round(core.commit_index):
        for progress in core.progress.values():
            progress.heartbeat_due = True
        _confirm_reads(core)
    for progress in core.progress.values():
        _send_to(core, progress, now_ms)


def _send_to(core: Core, progress: Progress, now_ms: int) -> None:
    if progress.next_index <= core.log.base_index and not progress.needs_snapshot:
        assert core.snapshot is not None, "the log was compacted without a snapshot"
        progress.send_snapshot(core.snapshot)
    while (
        progress.can_send_entries(core.config.max_inflight_appends)
        and progress.next_index <= core.log.last_index
    ):
        entries = core.log.slice(
            progress.next_index, core.log.last_index, core.config.max_append_bytes
        )
        _send_append(core, progress, progress.next_index - 1, entries)
        progress.sent_entries(entries[-1].index)
    if progress.needs_snapshot:
        _send_chunk(core, progress, now_ms)
    news = (
        progress.state is ReplicationState.REPLICATE
        and progress.told_commit_index < core.commit_index
    )
    if progress.heartbeat_due or news:
        _send_heartbeat(core, progress)


def _send_append(
    core: Core, progress: Progress, previous_index: int, entries: tuple[Entry, ...]
) -> None:
    progress.told_commit_index = core.commit_index
    core.early.append(
        AppendEntries(
            core.node_id,
            progress.node_id,
            core.term,
            previous_index,
            core.log.term_at(previous_index),
            core.commit_index,
            core.reads.round,
            entries,
        )
    )


def _send_heartbeat(core: Core, progress: Progress) -> None:
    """Empty, and after the last entry sent: a refusal tells that something was lost on the way."""
    progress.heartbeat_due = False
    if not progress.needs_snapshot:
        _send_append(core, progress, progress.next_index - 1, ())
        return
    core.early.append(
        AppendEntries(core.node_id, progress.node_id, core.term, 0, 0, 0, core.reads.round)
    )


def _send_chunk(core: Core, progress: Progress, now_ms: int) -> None:
    """One chunk at a time; again when it was not answered for an election timeout."""
    sent = progress.chunk_sent_ms
    if sent is not None and now_ms < sent + core.config.election_timeout_ms:
        return
    assert core.snapshot is not None
    if progress.snapshot != core.snapshot:
        progress.send_snapshot(core.snapshot)
    offset = progress.snapshot_offset
    length = min(core.config.snapshot_chunk_bytes, core.snapshot.size_bytes - offset)
    progress.chunk_sent_ms = now_ms
    core.chunks_to_send.append(
        ChunkToSend(core.node_id, progress.node_id, core.term, core.snapshot, offset, length)
    )


def on_append_response(core: Core, message: AppendEntriesResponse, now_ms: int) -> None:
    """A follower has taken entries over, or refused to."""
    progress = core.progress.get(message.source)
    if core.role is not Role.LEADER or progress is None:
        return
    progress.last_contact_ms = now_ms
    if message.round > progress.acked_round:
        progress.acked_round = message.round
        _confirm_reads(core)
    if message.success:
        _accepted(core, progress, message.index, now_ms)
    else:
        _refused(core, progress, message)


def _accepted(core: Core, progress: Progress, index: int, now_ms: int) -> None:
    news = progress.matched(index)
    if progress.state is ReplicationState.PROBE:
        progress.replicate()
    elif progress.needs_snapshot and progress.match_index >= core.log.base_index:
        progress.probe(progress.match_index + 1)
    if news:
        advance_commit(core, now_ms)
        hand_over_when_ready(core, progress)


def _refused(core: Core, progress: Progress, message: AppendEntriesResponse) -> None:
    if progress.needs_snapshot:
        return
    if message.last_index < progress.match_index:
        core.facts.append(
            FollowerLostDataFact(progress.node_id, progress.match_index, message.last_index)
        )
        progress.match_index = 0
    elif _is_stale(progress, message.index):
        return
    agreed = core.log.last_not_above(message.hint_index, message.hint_term)
    # Always at least one step back, also when only the base is left to compare: then a snapshot follows.
    progress.probe(min(agreed, message.hint_index, max(message.index - 1, 0)) + 1)


def _is_stale(progress: Progress, previous_index: int) -> bool:
    """A refusal that later answers have overtaken."""
    if progress.state is ReplicationState.PROBE:
        return previous_index != progress.next_index - 1
    return previous_index <= progress.match_index


def snapshot_installed(core: Core, progress: Progress, index: int, now_ms: int) -> None:
    """The follower's log covers a snapshot up to `index`."""
    progress.matched(index)
    progress.probe(progress.match_index + 1)
    progress.heartbeat_due = True
    advance_commit(core, now_ms)


def advance_commit(core: Core, now_ms: int) -> None:
    """Commit what a majority has, but count only entries of our own term (Raft paper, 5.4.2; bug R3)."""
    index = majority_value(
        core.durability.persisted_index
        if voter == core.node_id
        else core.progress[voter].match_index
        for voter in core.voters
    )
    if index <= core.commit_index or core.log.term_at(index) != core.term:
        return
    committed = core.log.slice(core.commit_index + 1, index, 1 << 62)
    core.uncommitted_bytes = max(
        core.uncommitted_bytes - sum(entry.size_bytes for entry in committed), 0
    )
    core.commit_to(index)
    if any(entry.kind is EntryKind.MEMBERSHIP for entry in committed):
        _membership_committed(core, now_ms)


def _membership_committed(core: Core, now_ms: int) -> None:
    """Members that left hear of it once more; a leader that removed itself resigns (Raft paper, 6)."""
    for progress in core.progress.values():
        if progress.state is ReplicationState.REPLICATE and (
            not core.is_voter or core.membership.find(progress.node_id) is None
        ):
            _send_to(core, progress, now_ms)
    roles.follow_membership(core, now_ms)
    if not core.is_voter:
        _name_successor(core)
        roles.become_follower(core, core.term, None, now_ms, "removed from the voters")


def _name_successor(core: Core) -> None:
    """A leader that leaves lets the voter with the longest log stand at once (Raft thesis, 4.2.2)."""
    best = max(core.voters, key=lambda voter: (core.progress[voter].match_index, -voter))
    core.early.append(TimeoutNow(core.node_id, best, core.term))


def _confirm_reads(core: Core) -> None:
    core.reads.confirm(
        core.reads.round if voter == core.node_id else core.progress[voter].acked_round
        for voter in core.voters
    )


def hand_over_when_ready(core: Core, progress: Progress) -> None:
    """Leadership is being handed to this follower: let it stand as soon as it has everything (thesis, 3.10)."""
    if core.transfer_target == progress.node_id and progress.match_index == core.log.last_index:
        core.early.append(TimeoutNow(core.node_id, progress.node_id, core.term))

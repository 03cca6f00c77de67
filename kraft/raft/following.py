"""The follower's side of replication (Raft paper, 5.3)."""

from kraft.raft import roles
from kraft.raft.core import Core
from kraft.raft.messages import AppendEntries, AppendEntriesResponse, InstallSnapshot


def heard_from_leader(core: Core, message: AppendEntries | InstallSnapshot, now_ms: int) -> None:
    """The sender leads our term: follow it."""
    assert message.term > core.term or core.leader_id in (None, message.source), (
        f"nodes {core.leader_id} and {message.source} both lead term {core.term}"
    )
    core.leader_contact_ms = now_ms
    core.hurry_until_ms = now_ms
    roles.become_follower(
        core, message.term, message.source, now_ms, f"node {message.source} leads"
    )


def on_append_entries(core: Core, message: AppendEntries, now_ms: int) -> None:
    """Take over what the leader has, if it fits to what is here."""
    heard_from_leader(core, message, now_ms)
    if not _fits(core, message.previous_index, message.previous_term):
        _refuse(core, message)
        return
    _take_over(core, message)
    matched = message.previous_index + len(message.entries)
    core.commit_to(max(core.commit_index, min(message.commit_index, matched)))
    if message.entries:
        core.late.append(_success(core, message, matched))
        return
    # A heartbeat is answered at once, so that a slow disk does not make the leader doubt its majority: it
    # acknowledges only what is durable already.
    durable = min(matched, core.durability.persisted_index)
    outbox = core.early if core.hard_state_is_durable else core.late
    outbox.append(_success(core, message, durable))


def _fits(core: Core, previous_index: int, previous_term: int) -> bool:
    # What is committed here is in every later leader's log (leader completeness, Raft paper, 5.4.3).
    return previous_index <= core.commit_index or core.log.matches(previous_index, previous_term)


def _take_over(core: Core, message: AppendEntries) -> None:
    for position, entry in enumerate(message.entries):
        if entry.index <= core.log.base_index:
            continue
        if entry.index <= core.log.last_index:
            if core.log.term_at(entry.index) == entry.term:
                continue
            core.truncate_log(entry.index)
        for new in message.entries[position:]:
            core.append(new)
        return


def _success(core: Core, message: AppendEntries, index: int) -> AppendEntriesResponse:
    return AppendEntriesResponse(
        core.node_id,
        message.source,
        core.term,
        success=True,
        index=index,
        round=message.round,
        last_index=core.log.last_index,
    )


def _refuse(core: Core, message: AppendEntries) -> None:
    hint = core.log.last_not_above(message.previous_index, message.previous_term)
    core.late.append(
        AppendEntriesResponse(
            core.node_id,
            message.source,
            core.term,
            success=False,
            index=message.previous_index,
            round=message.round,
            hint_index=hint,
            hint_term=core.log.term_at(hint),
            last_index=core.log.last_index,
        )
    )


def refuse_old_leader(core: Core, message: AppendEntries | InstallSnapshot) -> None:
    """Tell a leader of an older term which term it is now; it resigns."""
    core.late.append(
        AppendEntriesResponse(
            core.node_id, message.source, core.term, success=False, index=0, round=0
        )
    )

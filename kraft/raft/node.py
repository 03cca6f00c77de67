"""`RaftNode`: the face of the consensus core.

Pure: messages and the time go in, `ready()` says what to do, `next_deadline()` says when to come back at the latest.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from kraft.raft import (
    election,
    following,
    reconfiguration,
    replication,
    roles,
    snapshots,
    transfer,
)
from kraft.raft.config import RaftConfig
from kraft.raft.core import Core
from kraft.raft.membership import Membership, MembershipChange
from kraft.raft.messages import (
    AnyMessage,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    EntryKind,
    InstallSnapshot,
    InstallSnapshotResponse,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    SnapshotMeta,
    TimeoutNow,
)
from kraft.raft.ready import Ready, Restored, Role
from kraft.raft.status import RaftStatus, status_of

_Handler = Callable[[Core, Any, int], None]

_HANDLERS: dict[type, _Handler] = {
    PreVote: election.on_pre_vote,
    PreVoteResponse: election.on_pre_vote_response,
    RequestVote: election.on_request_vote,
    RequestVoteResponse: election.on_request_vote_response,
    TimeoutNow: election.on_timeout_now,
    AppendEntries: following.on_append_entries,
    AppendEntriesResponse: replication.on_append_response,
    InstallSnapshot: snapshots.on_install_snapshot,
    InstallSnapshotResponse: snapshots.on_install_snapshot_response,
}


class RaftNode:
    """One node of the group. All times are milliseconds of one monotonic clock and must never go back."""

    def __init__(
        self,
        config: RaftConfig,
        restored: Restored,
        initial_membership: Membership,
        *,
        now_ms: int,
        rng: Random,
    ) -> None:
        """`initial_membership` counts while neither log nor snapshot name members: the same list on every node."""
        self._core = Core(config, restored, initial_membership, now_ms, rng)

    # What is.

    @property
    def role(self) -> Role:
        """What this node is."""
        return self._core.role

    @property
    def term(self) -> int:
        """The current term."""
        return self._core.term

    @property
    def leader_id(self) -> int | None:
        """The leader of this term as far as known."""
        return self._core.leader_id

    @property
    def commit_index(self) -> int:
        """The last entry known to be committed."""
        return self._core.commit_index

    @property
    def last_index(self) -> int:
        """The last entry, durable or not."""
        return self._core.log.last_index

    @property
    def first_index(self) -> int:
        """The first entry that the log must go on holding; what is before it may be deleted."""
        return self._core.log.base_index + 1

    @property
    def applied_index(self) -> int:
        """The last entry reported as applied."""
        return self._core.applied_index

    @property
    def membership(self) -> Membership:
        """The members in force."""
        return self._core.membership

    @property
    def reached(self) -> Membership:
        """The members in force, and those who are leaving but must still hear of it."""
        core = self._core
        leaving = core.membership_at(core.commit_index).members
        return Membership.of(
            *core.membership.members,
            *(member for member in leaving if core.membership.find(member.node_id) is None),
        )

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The latest own snapshot."""
        return self._core.snapshot

    def contact_ms(self, node_id: int) -> int:
        """When a member last answered this leader; -1 where this node does not lead, or that one is no member."""
        progress = self._core.progress.get(node_id)
        return -1 if self.role is not Role.LEADER or progress is None else progress.last_contact_ms

    def status(self) -> RaftStatus:
        """Everything an operator wants to see."""
        return status_of(self._core)

    def next_deadline(self) -> int:
        """When `tick` must be called at the latest, in milliseconds."""
        core = self._core
        if core.role is not Role.LEADER:
            return core.election_deadline_ms
        deadline = min(core.heartbeat_deadline_ms, core.quorum_deadline_ms)
        if core.transfer_target is not None:
            deadline = min(deadline, core.transfer_deadline_ms)
        return deadline

    # What happens.

    def step(self, message: AnyMessage, now_ms: int) -> None:
        """Take a message in. Messages for another node are dropped."""
        core = self._core
        self._time_is(now_ms)
        if message.target != core.node_id:
            return
        if message.term > core.term and not _enter_term_of(core, message, now_ms):
            return
        if message.term < core.term and not _answers_old_term(core, message):
            return
        _HANDLERS[type(message)](core, message, now_ms)

    def tick(self, now_ms: int) -> None:
        """Time has passed."""
        core = self._core
        self._time_is(now_ms)
        if core.role is Role.LEADER:
            transfer.tick(core, now_ms)
            replication.tick(core, now_ms)
        else:
            election.tick(core, now_ms)

    def peer_unreachable(self, node_id: int, now_ms: int) -> None:
        """A hint that a peer's process is gone (its connections are refused). Nothing breaks when it is wrong."""
        self._time_is(now_ms)
        progress = self._core.progress.get(node_id)
        if progress is not None:
            progress.lost_connection()
        election.peer_unreachable(self._core, node_id, now_ms)

    # What is asked for.

    def propose(self, commands: Sequence[bytes], now_ms: int) -> tuple[int, int]:
        """Append commands, next to each other. Returns (term, index of the last of them).

        They are committed when an entry with this index *and* this term is applied.
        Raises NotLeaderError, ProposalRefusedError (try again), ProposalTooLargeError.
        """
        self._time_is(now_ms)
        return replication.propose(self._core, EntryKind.COMMAND, list(commands))

    def propose_membership(self, change: MembershipChange, now_ms: int) -> tuple[int, int]:
        """Change the members by one step. Returns (term, index).

        Raises NotLeaderError, ProposalRefusedError, MembershipBusyError (try again), MembershipChangeError.
        """
        self._time_is(now_ms)
        return reconfiguration.propose_membership(self._core, change, now_ms)

    def transfer_leadership(self, target: int, now_ms: int) -> None:
        """Hand leadership to a voter; given up after an election timeout, and proposals are refused meanwhile.

        Raises NotLeaderError, MembershipChangeError (not a voter), ProposalRefusedError (another transfer).
        """
        self._time_is(now_ms)
        transfer.transfer_leadership(self._core, target, now_ms)

    def request_read(self, now_ms: int) -> int:
        """Begin a linearizable read; its result comes in a later Ready under the id returned.

        Raises NotLeaderError, ProposalRefusedError.
        """
        self._time_is(now_ms)
        replication.require_leader(self._core)
        return self._core.reads.request()

    # What to do, and what was done.

    def ready(self) -> Ready:
        """Everything that is new since the last call."""
        core = self._core
        if core.role is Role.LEADER:
            replication.pump(core, core.now_ms)
        restore, core.restore = core.restore, None
        if restore is not None:
            core.handed_index = restore.index
        apply, more = self._take_committed()
        ready = Ready(
            persist=core.durability.take(core.term, core.vote, core.log),
            send=tuple(core.early),
            send_after_persist=tuple(core.late),
            chunks_to_send=tuple(core.chunks_to_send),
            chunks_received=tuple(core.chunks_received),
            restore=restore,
            apply=apply,
            reads=core.reads.take_results(),
            facts=tuple(core.facts),
            more=more,
        )
        for outbox in (
            core.early,
            core.late,
            core.chunks_to_send,
            core.chunks_received,
            core.facts,
        ):
            outbox.clear()
        return ready

    def _take_committed(self) -> tuple[tuple[Entry, ...], bool]:
        core = self._core
        last = min(core.commit_index, core.durability.persisted_index)
        # Below the base only while a received snapshot is not durable yet.
        if not core.log.base_index <= core.handed_index < last:
            return (), False
        entries = core.log.slice(core.handed_index + 1, last, core.config.max_apply_bytes)
        core.handed_index = entries[-1].index
        return entries, core.handed_index < last

    def persisted(self, sequence: int, now_ms: int) -> None:
        """All Persists up to this one are durable."""
        core = self._core
        self._time_is(now_ms)
        snapshot = core.durability.persisted(sequence)
        # Of two snapshots in a row only the last is still there to be restored.
        if snapshot is not None and snapshot.index == core.log.base_index:
            core.snapshot = snapshot
            core.restore = snapshot
        election.own_vote_durable(core, now_ms)
        if core.role is Role.LEADER:
            replication.advance_commit(core, now_ms)

    def applied(self, index: int) -> None:
        """The state machine has taken everything up to `index`."""
        self._core.applied_to(index)

    def snapshot_position(self) -> tuple[int, int, Membership]:
        """(index, term, members) of a snapshot of the state as applied now."""
        core = self._core
        index = core.applied_index
        return index, core.log.term_at(index), core.membership_at(index)

    def compact(self, snapshot: SnapshotMeta) -> None:
        """An own snapshot is durable: the log behind it, but for the trailing entries, may go."""
        snapshots.compact(self._core, snapshot)

    def _time_is(self, now_ms: int) -> None:
        assert now_ms >= self._core.now_ms, f"time went back from {self._core.now_ms} to {now_ms}"
        self._core.now_ms = now_ms


def _enter_term_of(core: Core, message: AnyMessage, now_ms: int) -> bool:
    """Follow a newer term (Raft paper, Figure 2, all servers). Returns whether the message counts."""
    if isinstance(message, PreVote) or (isinstance(message, PreVoteResponse) and message.granted):
        return True
    if isinstance(message, AppendEntries | InstallSnapshot):
        return True
    if isinstance(message, RequestVote) and election.ignores_vote_request(core, message, now_ms):
        return False
    roles.become_follower(
        core, message.term, None, now_ms, f"node {message.source} is in term {message.term}"
    )
    return True


def _answers_old_term(core: Core, message: AnyMessage) -> bool:
    """A message of an older term is refused, or dropped. Returns whether its handler does it."""
    if isinstance(message, AppendEntries | InstallSnapshot):
        following.refuse_old_leader(core, message)
        return False
    return isinstance(message, PreVote | RequestVote)

"""The state of one node that all parts of the algorithm share, and the few acts that all of them need.

The parts are modules of functions over a `Core`: roles, election, following (the follower's side of replication),
replication (the leader's), snapshots, reconfiguration, reads, transfer. `node.RaftNode` is their face.
"""

from random import Random

from kraft.raft.config import RaftConfig
from kraft.raft.durability import Durability
from kraft.raft.log import RaftLog
from kraft.raft.membership import Membership
from kraft.raft.messages import AnyMessage, Entry, EntryKind, SnapshotMeta
from kraft.raft.progress import Progress
from kraft.raft.reads import Reads
from kraft.raft.ready import (
    ChunkReceived,
    ChunkToSend,
    Fact,
    LeadershipFact,
    MembershipFact,
    Restored,
    Role,
)


class Core:
    """Fields are the Raft paper's (Figure 2) where it has them. Only this package touches them."""

    def __init__(
        self,
        config: RaftConfig,
        restored: Restored,
        initial_membership: Membership,
        now_ms: int,
        rng: Random,
    ) -> None:
        self.config = config
        self.node_id = config.node_id
        self.rng = rng
        self.snapshot = restored.snapshot
        self.log = _log_of(restored)
        self.term, self.vote = _term_and_vote_of(restored, self.log)
        snapshot_index = restored.snapshot.index if restored.snapshot else 0
        self.commit_index = min(max(snapshot_index, restored.commit_index), self.log.last_index)
        self.handed_index = snapshot_index
        self.applied_index = snapshot_index
        self.durability = Durability(restored.hard_state, self.log.last_index)
        # (index, members from there on); the first as of the last applied entry, the last in force.
        self.memberships: list[tuple[int, Membership]] = [
            (
                snapshot_index,
                restored.snapshot.membership if restored.snapshot else initial_membership,
            )
        ]
        self.membership = self.memberships[0][1]
        self.voters = self.membership.voters
        for entry in restored.entries:
            if entry.kind is EntryKind.MEMBERSHIP and entry.index > snapshot_index:
                self.membership_appended(entry)

        self.now_ms = now_ms
        self.role = Role.FOLLOWER
        self.leader_id: int | None = None
        self.leader_contact_ms = now_ms
        # The leader's process is said to be gone: its lease does not hold.
        self.leader_reported_dead = False
        # Until then elections are retried quickly, because the leader was reported dead.
        self.hurry_until_ms = now_ms
        self.election_deadline_ms = self._first_election_ms(now_ms)
        self.votes: dict[int, bool] = {}
        self.campaign_is_transfer = False

        # The leader's own.
        self.progress: dict[int, Progress] = {}
        self.term_start_index = 0
        self.heartbeat_deadline_ms = 0
        self.quorum_deadline_ms = 0
        self.uncommitted_bytes = 0
        self.transfer_target: int | None = None
        self.transfer_deadline_ms = 0
        self.reads = Reads(config.max_pending_reads)

        # A snapshot that is being received: what comes next and the checksum so far.
        self.incoming: SnapshotMeta | None = None
        self.incoming_offset = 0
        self.incoming_checksum = 0

        self.restore: SnapshotMeta | None = None
        self.early: list[AnyMessage] = []
        self.late: list[AnyMessage] = []
        self.chunks_to_send: list[ChunkToSend] = []
        self.chunks_received: list[ChunkReceived] = []
        self.facts: list[Fact] = []

    @property
    def is_voter(self) -> bool:
        """Whether this node votes, as far as it knows."""
        return self.node_id in self.voters

    @property
    def may_stand(self) -> bool:
        """Whether this node stands for election: also while its own removal is not known to be committed, because
        the others may need its log for that (Raft thesis, 4.2.2)."""
        return self.is_voter or self.node_id in self.membership_at(self.commit_index).voters

    @property
    def hard_state_is_durable(self) -> bool:
        """Whether term and vote as they are now are on disk."""
        durable = self.durability.durable_hard_state
        return durable.term == self.term and durable.vote == self.vote

    def set_term(self, term: int) -> None:
        """Enter a newer term, in which no vote is given yet."""
        assert term > self.term, f"term {self.term} cannot become {term}"
        self.term = term
        self.vote = None

    def set_vote(self, candidate: int) -> None:
        """Give this term's only vote."""
        assert self.vote in (None, candidate), (
            f"node {self.node_id} voted for {self.vote} in term {self.term}, not for {candidate}"
        )
        self.vote = candidate

    def commit_to(self, index: int) -> None:
        """Everything up to `index` is committed, for ever."""
        if index <= self.commit_index:
            return
        assert index <= self.log.last_index, (
            f"commit index {index} beyond the log's end {self.log.last_index}"
        )
        self.facts.extend(
            MembershipFact(since, membership, committed=True)
            for since, membership in self.memberships
            if self.commit_index < since <= index
        )
        self.commit_index = index

    def applied_to(self, index: int) -> None:
        """The state machine has taken everything up to `index`."""
        assert self.applied_index <= index <= self.handed_index, (
            f"applied {index}, but {self.applied_index} was before and {self.handed_index} handed over"
        )
        self.applied_index = index
        while len(self.memberships) > 1 and self.memberships[1][0] <= index:
            del self.memberships[0]

    def truncate_log(self, index: int) -> None:
        """Cut away `index` and all after it, which another leader's entries replace."""
        assert index > self.commit_index, (
            f"node {self.node_id}: entry {index} is committed (up to {self.commit_index}) and cannot be cut"
        )
        self.log.truncate_from(index)
        self.durability.truncated(index)
        while self.memberships[-1][0] >= index and len(self.memberships) > 1:
            self.memberships.pop()
            self._members_are(*self.memberships[-1])

    def append(self, entry: Entry) -> None:
        """Add one entry to the log; members named in it count from now on (Raft paper, 6)."""
        self.log.append(entry)
        if entry.kind is EntryKind.MEMBERSHIP:
            self.membership_appended(entry)
            self.facts.append(MembershipFact(entry.index, self.membership, committed=False))

    def membership_appended(self, entry: Entry) -> None:
        """The members are those of this entry."""
        self.memberships.append((entry.index, Membership.decode(entry.data)))
        self.membership = self.memberships[-1][1]
        self.voters = self.membership.voters

    def _members_are(self, index: int, membership: Membership) -> None:
        self.membership = membership
        self.voters = membership.voters
        self.facts.append(MembershipFact(index, membership, committed=index <= self.commit_index))

    def reset_log(self, snapshot: SnapshotMeta) -> None:
        """A snapshot takes the place of the whole log."""
        assert snapshot.index > self.commit_index, "a snapshot must bring something new"
        self.durability.installed(snapshot, self.commit_index)
        self.log.reset(snapshot.index, snapshot.term)
        self.commit_index = snapshot.index
        self.memberships = [(snapshot.index, snapshot.membership)]
        self._members_are(*self.memberships[0])

    def membership_at(self, index: int) -> Membership:
        """Who was a member as of the entry `index`, which is not older than the last applied."""
        return next(members for since, members in reversed(self.memberships) if since <= index)

    @property
    def membership_is_committed(self) -> bool:
        """Whether no change of the members is under way."""
        return self.memberships[-1][0] <= self.commit_index

    def election_timeout(self) -> int:
        """A patience of once to twice the election timeout, by chance, in milliseconds."""
        timeout = self.config.election_timeout_ms
        return timeout + self.rng.randrange(timeout)

    def _first_election_ms(self, now_ms: int) -> int:
        """Soon after the start: a leader that is there has a lease and a pre-vote costs nothing."""
        if self.voters == {self.node_id}:
            return now_ms
        return now_ms + self.rng.randrange(
            self.config.heartbeat_interval_ms, self.config.election_timeout_ms
        )

    def leadership_changed(self, now_ms: int, cause: str) -> None:
        """Tell the shell who this node is and whom it follows."""
        self.facts.append(LeadershipFact(now_ms, self.term, self.role, self.leader_id, cause))


def _log_of(restored: Restored) -> RaftLog:
    snapshot, entries = restored.snapshot, list(restored.entries)
    if not entries:
        return RaftLog(snapshot.index, snapshot.term) if snapshot else RaftLog(0, 0)
    first = entries[0].index
    if first == 1:
        return RaftLog(0, 0, entries)
    assert snapshot is not None, f"the log begins at {first} but there is no snapshot before it"
    assert first <= snapshot.index + 1, (
        f"entries {snapshot.index + 1}..{first - 1} are missing between snapshot and log"
    )
    if entries[-1].index < snapshot.index:
        return RaftLog(snapshot.index, snapshot.term)
    if first == snapshot.index + 1:
        return RaftLog(snapshot.index, snapshot.term, entries)
    return RaftLog(first, entries[0].term, entries[1:])


def _term_and_vote_of(restored: Restored, log: RaftLog) -> tuple[int, int | None]:
    hard_state = restored.hard_state
    if log.last_term > hard_state.term:
        return log.last_term, None
    return hard_state.term, hard_state.vote

"""What must hold in every state of a group of Raft nodes, told from outside the nodes (Raft paper, Figure 3)."""

from collections.abc import Callable
from zlib import crc32

from kraft.raft.messages import (
    AnyMessage,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    HardState,
    InstallSnapshotResponse,
    RequestVote,
    RequestVoteResponse,
)
from kraft.raft.node import RaftNode
from kraft.raft.ready import Persist, ReadResult, Role

# What the state machine makes of the log: a number that depends on every entry before it.
Digest = int
EMPTY: Digest = 0


def digest_after(before: Digest, entry: Entry) -> Digest:
    """The state after one more entry."""
    return crc32(b"%d %d %d %s" % (entry.index, entry.term, entry.kind, entry.data), before)


class Ghost:
    """The history of the group as an all-seeing observer knows it."""

    def __init__(self, durable_copies: Callable[[int, int], set[int]]) -> None:
        self._durable_copies = durable_copies
        self.committed: list[tuple[int, bytes]] = [(0, b"")]
        self.leaders: dict[int, int] = {}
        self.votes: dict[tuple[int, int], int] = {}
        self.written: dict[tuple[int, int], tuple[int, bytes]] = {}
        self.digests: dict[int, Digest] = {0: EMPTY}
        self.reads: dict[tuple[int, int], int] = {}
        self.completed_reads = 0

    @property
    def last_committed(self) -> int:
        """The highest index that any node has ever known to be committed."""
        return len(self.committed) - 1

    def node_changed(self, node: RaftNode, old_commit: int, old_term: int) -> None:
        """A node has taken a step: look at its term, role and commit index."""
        core = node._core
        assert node.term >= old_term, (
            f"node {core.node_id}: term went from {old_term} to {node.term}"
        )
        assert node.commit_index >= old_commit, f"node {core.node_id}: commit index went back"
        if node.role is Role.LEADER:
            self._leads(node)
        if node.commit_index > old_commit:
            self._commits(node, old_commit)

    def _leads(self, node: RaftNode) -> None:
        core = node._core
        known = self.leaders.get(node.term)
        if known is not None:
            assert known == core.node_id, (
                f"election safety: nodes {known} and {core.node_id} both lead term {node.term}"
            )
            return
        self.leaders[node.term] = core.node_id
        last = self.last_committed
        assert core.log.last_index >= last, f"leader completeness: {last} is missing"
        if last >= core.log.base_index:
            assert core.log.term_at(last) == self.committed[last][0], (
                f"leader completeness: node {core.node_id} of term {node.term} has another entry at {last}"
            )

    def _commits(self, node: RaftNode, old_commit: int) -> None:
        log = node._core.log
        for index in range(max(old_commit, log.base_index) + 1, node.commit_index + 1):
            entry = log.at(index)
            if index <= self.last_committed:
                assert self.committed[index] == (entry.term, entry.data), (
                    f"state machine safety: index {index} was committed otherwise"
                )
            else:
                assert index == self.last_committed + 1, f"a gap before committed index {index}"
                self.committed.append((entry.term, entry.data))
                voters = node.membership.voters
                copies = self._durable_copies(index, entry.term) & voters
                assert len(copies) > len(voters) // 2, (
                    f"index {index} is committed, but durable only on {copies} of the voters {set(voters)}"
                )
        if log.base_index > old_commit and log.base_index <= self.last_committed:
            assert log.base_term == self.committed[log.base_index][0], "snapshot of another history"

    def persists(self, persist: Persist, node: RaftNode) -> None:
        """Entries were appended to a node's log (log matching: index and term name one entry and its past)."""
        log = node._core.log
        for entry in persist.entries:
            previous = log.term_at(entry.index - 1) if log.has_term(entry.index - 1) else -1
            known = self.written.setdefault((entry.index, entry.term), (previous, entry.data))
            assert known[1] == entry.data, (
                f"log matching: two entries {entry.index} of term {entry.term}"
            )
            assert -1 in (previous, known[0]) or known[0] == previous, (
                f"log matching: entry {entry.index} of term {entry.term} follows two different entries"
            )

    def sends(
        self, message: AnyMessage, durable: HardState, durable_term_at: Callable[[int], int | None]
    ) -> None:
        """A message leaves a node: it may say nothing that a crash could make untrue."""
        if isinstance(message, RequestVote):
            self._votes(message.source, message.term, message.source, durable)
        elif isinstance(message, RequestVoteResponse) and message.granted:
            self._votes(message.source, message.term, message.target, durable)
        elif isinstance(message, AppendEntries):
            assert message.term <= durable.term, "a leader of a term that is not durable"
        elif isinstance(message, AppendEntriesResponse) and message.success and message.index:
            assert durable_term_at(message.index) is not None or durable.term > message.term, (
                f"node {message.source} acknowledges {message.index}, which is not durable"
            )
        elif isinstance(message, InstallSnapshotResponse) and message.installed:
            assert durable_term_at(message.snapshot_index) is not None, (
                f"node {message.source} acknowledges a snapshot that is not durable"
            )

    def _votes(self, voter: int, term: int, candidate: int, durable: HardState) -> None:
        known = self.votes.setdefault((voter, term), candidate)
        assert known == candidate, f"node {voter} voted for {known} and {candidate} in term {term}"
        assert durable.term > term or (durable.term, durable.vote) == (term, candidate), (
            f"node {voter}: a vote for {candidate} in term {term} was told before it was durable"
        )

    def applies(self, node_id: int, entry: Entry, before: Digest) -> Digest:
        """A state machine takes an entry."""
        assert entry.index <= self.last_committed, (
            f"node {node_id} applies uncommitted {entry.index}"
        )
        after = digest_after(before, entry)
        known = self.digests.setdefault(entry.index, after)
        assert known == after, f"state machine safety: node {node_id} differs at {entry.index}"
        return after

    def restores(self, index: int, digest: Digest) -> None:
        """A state machine takes a snapshot."""
        assert self.digests[index] == digest, f"the snapshot at {index} is of another state"

    def read_begins(self, node_id: int, read_id: int) -> None:
        """A read must see everything committed by now (bug R5)."""
        self.reads[node_id, read_id] = self.last_committed

    def read_ends(self, node_id: int, result: ReadResult) -> None:
        """It may be answered as of `result.index`."""
        needed = self.reads.pop((node_id, result.read_id))
        if result.index is not None:
            self.completed_reads += 1
            assert result.index >= needed, (
                f"stale read: as of {result.index}, but {needed} was committed before it began"
            )

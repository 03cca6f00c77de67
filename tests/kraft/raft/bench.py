"""One RaftNode on a bench: the test plays all other nodes, the disk and the clock."""

import random
from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

from kraft.raft.config import RaftConfig
from kraft.raft.membership import Member, Membership
from kraft.raft.messages import (
    AnyMessage,
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    EntryKind,
    HardState,
    PreVote,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    SnapshotMeta,
)
from kraft.raft.node import RaftNode
from kraft.raft.ready import Persist, ReadResult, Ready, Restored, Role

ELECTION_TIMEOUT_MS = 1000
M = TypeVar("M")


def members(*voters: int, learners: Sequence[int] = ()) -> Membership:
    """A membership with addresses made up."""
    return Membership.of(
        *(Member(node_id, f"node{node_id}:1") for node_id in voters),
        *(Member(node_id, f"node{node_id}:1", voter=False) for node_id in learners),
    )


def entries_of(*terms: int, after: int = 0) -> list[Entry]:
    """Commands of these terms, the first one at index `after + 1`; equal index and term mean equal data."""
    return [
        Entry(index, term, EntryKind.COMMAND, b"%d/%d" % (index, term))
        for index, term in enumerate(terms, after + 1)
    ]


def snapshot_of(index: int, term: int, *voters: int, data: bytes = b"state") -> SnapshotMeta:
    """A snapshot's identity."""
    return SnapshotMeta(index, term, members(*voters), len(data), crc32(data))


class Bench:
    """Node 1 of `voters` unless told otherwise, restored with a log of these terms."""

    def __init__(
        self,
        *voters: int,
        node_id: int = 1,
        term: int | None = None,
        vote: int | None = None,
        log: Sequence[int] = (),
        snapshot: SnapshotMeta | None = None,
        commit: int = 0,
        membership: Membership | None = None,
        seed: int = 1,
        **settings: int,
    ) -> None:
        base = snapshot.index if snapshot else 0
        hard_state = HardState(max(log, default=0) if term is None else term, vote)
        self.now_ms = 0
        self.node_id = node_id
        self.auto_persist = True
        self.sent: list[AnyMessage] = []
        self.applied: list[Entry] = []
        self.persists: list[Persist] = []
        self.reads: list[ReadResult] = []
        self.readies: list[Ready] = []
        self._late: list[tuple[int, AnyMessage]] = []
        self._durable = 0
        self.node = RaftNode(
            RaftConfig(node_id=node_id, election_timeout_ms=ELECTION_TIMEOUT_MS, **settings),
            Restored(
                hard_state=hard_state,
                snapshot=snapshot,
                entries=entries_of(*log, after=base),
                commit_index=commit,
            ),
            membership or members(*(voters or (1, 2, 3))),
            now_ms=0,
            rng=random.Random(seed),
        )
        self.settle()
        self.sent.clear()

    # The shell's part.

    def settle(self) -> None:
        """Do what the node says until it says nothing more."""
        while True:
            ready = self.node.ready()
            self.readies.append(ready)
            self.sent.extend(ready.send)
            self.sent.extend(chunk.message(bytes(chunk.length)) for chunk in ready.chunks_to_send)
            self.reads.extend(ready.reads)
            if ready.persist is not None:
                self.persists.append(ready.persist)
            handed = self.persists[-1].sequence if self.persists else 0
            self._late.extend((handed, message) for message in ready.send_after_persist)
            if ready.restore is not None:
                self.node.applied(ready.restore.index)
            if ready.apply:
                self.applied.extend(ready.apply)
                self.node.applied(ready.apply[-1].index)
            if self.auto_persist:
                self.persist()
            self._send_late()
            if (
                ready.persist is None
                and not ready.more
                and not ready.apply
                and ready.restore is None
            ):
                return

    def persist(self) -> None:
        """All that was handed over is durable now."""
        if self.persists and self.persists[-1].sequence > self._durable:
            self._durable = self.persists[-1].sequence
            self.node.persisted(self._durable, self.now_ms)
        self._send_late()

    def _send_late(self) -> None:
        self.sent.extend(message for sequence, message in self._late if sequence <= self._durable)
        self._late = [each for each in self._late if each[0] > self._durable]

    @property
    def waiting(self) -> list[AnyMessage]:
        """Messages that wait for the disk."""
        return [message for _, message in self._late]

    # The others' part.

    def receive(self, message: AnyMessage) -> list[AnyMessage]:
        """Give the node a message; returns what it sends then."""
        self.sent.clear()
        self.node.step(message, self.now_ms)
        self.settle()
        return list(self.sent)

    def sleep(self, duration_ms: int) -> list[AnyMessage]:
        """Let time pass, ticking whenever the node wants it; returns what it sends."""
        self.sent.clear()
        end_ms = self.now_ms + duration_ms
        while self.node.next_deadline() <= end_ms:
            self.now_ms = max(self.node.next_deadline(), self.now_ms)
            self.node.tick(self.now_ms)
            self.settle()
        self.now_ms = end_ms
        return list(self.sent)

    def time_out(self) -> list[AnyMessage]:
        """Let the node's patience end; returns what it sends."""
        return self.sleep(self.node.next_deadline() - self.now_ms)

    def propose(self, *commands: bytes) -> list[AnyMessage]:
        """Propose to the node; returns what it sends."""
        self.sent.clear()
        self.node.propose(commands or (b"command",), self.now_ms)
        self.settle()
        return list(self.sent)

    def stand(self) -> list[AnyMessage]:
        """Let the node become a candidate; returns its requests for votes."""
        if self.node.role is not Role.PRE_CANDIDATE:
            self.time_out()
        for voter in self.voters:
            if self.node.role is Role.PRE_CANDIDATE:
                self.receive(PreVoteResponse(voter, self.node_id, self.node.term + 1, granted=True))
        assert self.node.role in (Role.CANDIDATE, Role.LEADER)
        return list(self.sent)

    def lead(self) -> list[AnyMessage]:
        """Let the node be elected by all; returns what it sends then."""
        self.stand()
        for voter in self.voters:
            if self.node.role is Role.CANDIDATE:
                self.receive(RequestVoteResponse(voter, self.node_id, self.node.term, granted=True))
        assert self.node.role is Role.LEADER
        return list(self.sent)

    @property
    def voters(self) -> list[int]:
        """The other voters."""
        return sorted(self.node.membership.voters - {self.node_id})

    def follow(self, leader: int = 2, term: int | None = None, commit: int = 0) -> list[AnyMessage]:
        """A heartbeat of a leader, which fits to the node's log."""
        log = self.node._core.log
        return self.receive(
            AppendEntries(
                leader,
                self.node_id,
                term or max(self.node.term, 1),
                log.last_index,
                log.last_term,
                commit,
                0,
            )
        )

    def acknowledge(self, follower: int, index: int, round_: int = 0) -> list[AnyMessage]:
        """A follower says that it has everything up to `index`."""
        return self.receive(
            AppendEntriesResponse(
                follower,
                self.node_id,
                self.node.term,
                success=True,
                index=index,
                round=round_,
                last_index=index,
            )
        )

    def ask_for_vote(
        self,
        candidate: int,
        term: int,
        last_index: int = 100,
        last_term: int = 100,
        *,
        transfer: bool = False,
    ) -> bool:
        """A candidate asks; returns the answer. False also when there is none."""
        sent = self.receive(
            RequestVote(candidate, self.node_id, term, last_index, last_term, transfer)
        )
        answers = only(sent, RequestVoteResponse)
        return bool(answers) and answers[0].granted

    def ask_for_pre_vote(
        self, candidate: int, term: int, last_index: int = 100, last_term: int = 100
    ) -> PreVoteResponse:
        """Somebody asks whether it would be voted for; returns the answer."""
        return only(
            self.receive(PreVote(candidate, self.node_id, term, last_index, last_term)),
            PreVoteResponse,
        )[0]

    @property
    def log(self) -> list[tuple[int, int]]:
        """(index, term) of all entries held."""
        log = self.node._core.log
        return [
            (index, log.term_at(index)) for index in range(log.base_index + 1, log.last_index + 1)
        ]

    @property
    def terms(self) -> list[int]:
        """Terms of all entries held."""
        return [term for _, term in self.log]


def only(messages: Sequence[AnyMessage], kind: type[M]) -> list[M]:
    """The messages of one kind."""
    return [message for message in messages if isinstance(message, kind)]

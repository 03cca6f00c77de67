"""The shell around a `RaftNode`: one task steps it and does what it says, another one waits for the disk.

While an fsync is on its way the node goes on stepping and sending what may go before it, so a slow disk neither
silences a leader nor makes followers doubt it (etcd #7617). What must wait for the disk is sent in order afterwards,
and one fsync serves all steps that came meanwhile.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import structlog

from kraft.proposals import PendingReads, Proposals
from kraft.raft.config import RaftConfig
from kraft.raft.errors import NotLeaderError
from kraft.raft.membership import Membership, MembershipChange
from kraft.raft.messages import AnyMessage, Entry, SnapshotMeta
from kraft.raft.node import RaftNode
from kraft.raft.ready import LeadershipFact, MembershipFact, Ready, Role
from kraft.raft.status import RaftStatus
from kraft.snapshot_file import describe
from kraft.store import RaftStore
from kraft.store_writer import StoreWriter
from kraft.transport import RaftTransport
from storage.errors import ErrorCode, OttlaError

log = structlog.get_logger("raft")

# Raft repeats what matters: messages beyond this are dropped.
INBOX_MESSAGES = 4096
# Messages taken in between two looks at the clock and the outboxes.
STEPS_PER_TURN = 256


class RaftStorageError(OttlaError):
    """The metadata log met an IO error: the node acknowledges nothing more and stops (bug S1)."""

    code = ErrorCode.KAFKA_STORAGE_ERROR


class StateMachine(Protocol):
    """What the log drives. All calls come from the driver's task, in the order of the log."""

    def apply(self, entries: Sequence[Entry]) -> None:
        """Take committed entries, of every kind and without gaps."""
        ...

    def snapshot(self) -> bytes:
        """The whole state after the last entry applied."""
        ...

    def restore(self, data: bytes, index: int, term: int) -> None:
        """Take this state, as of that entry, in place of the present one."""
        ...


def _ignore(_: object) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """Told from the driver's task; they must not block nor raise."""

    leadership: Callable[[LeadershipFact], None] = _ignore
    """This node's role, or the leader it knows of, is another."""
    membership: Callable[[Membership], None] = _ignore
    """The members are others: links should lead to these now, among them who is just leaving. Called at the start."""


class RaftDriver:
    """Make it inside a running loop, then `run()` it; everything else is called from the same loop."""

    def __init__(
        self,
        config: RaftConfig,
        store: RaftStore,
        transport: RaftTransport,
        machine: StateMachine,
        initial_membership: Membership,
        *,
        rng: Random,
        listeners: Listeners | None = None,
        snapshot_log_bytes: int = 4 << 20,
    ) -> None:
        """A snapshot is taken after `snapshot_log_bytes` of applied entries."""
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._store = store
        self._writer = StoreWriter(store, self._wake_up)
        self._transport = transport
        self._machine = machine
        self._listeners = listeners or Listeners()
        self._snapshot_log_bytes = snapshot_log_bytes
        self._node = RaftNode(
            config, store.restored(), initial_membership, now_ms=self._now_ms(), rng=rng
        )
        self._inbox: deque[AnyMessage] = deque()
        self._gone_peers: dict[int, None] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._stopped: str | None = None
        # Messages that wait for the Persist with this sequence.
        self._late: deque[tuple[int, tuple[AnyMessage, ...]]] = deque()
        self._handed_sequence = 0
        self._reported_sequence = 0
        self._proposals = Proposals()
        self._reads = PendingReads()
        self._give_up_at_ms: int | None = None
        self._bytes_since_snapshot = 0
        self._membership: Membership | None = None
        self.dropped_messages = 0
        """Arrived when the inbox was full."""

    # What is asked of it.

    @property
    def node(self) -> RaftNode:
        """To look at: role, term, leader, indexes, membership."""
        return self._node

    def status(self) -> RaftStatus:
        """Everything an operator wants to see; contact times are of `loop.time()` in milliseconds."""
        return self._node.status()

    def receive(self, message: AnyMessage) -> None:
        """A message has arrived. Dropped when too many wait."""
        if len(self._inbox) >= INBOX_MESSAGES or self._stopping:
            self.dropped_messages += 1
            return
        self._inbox.append(message)
        self._wake.set()

    def peer_unreachable(self, node_id: int) -> None:
        """A peer's process was found gone (connection refused). A hint: nothing breaks when it is wrong.

        Repeat it while the process stays gone: a message that was still on its way takes it back.
        """
        self._gone_peers[node_id] = None
        self._wake.set()

    def propose(self, commands: Sequence[bytes]) -> Awaitable[int]:
        """Append commands next to each other, now; the result is the last one's index, once applied on this node.

        Raises NotLeaderError, ProposalRefusedError, ProposalTooLargeError at once. The awaitable raises
        NotLeaderError when another leader took over: the message tells whether the outcome is known.
        """
        self._check_running()
        term, index = self._node.propose(commands, self._now_ms())
        self._wake.set()
        return self._proposals.park(term, index)

    def propose_membership(self, change: MembershipChange) -> Awaitable[int]:
        """Change the members by one step; done when committed and applied here.

        Raises NotLeaderError, MembershipBusyError (try again), MembershipChangeError at once.
        """
        self._check_running()
        term, index = self._node.propose_membership(change, self._now_ms())
        self._wake.set()
        return self._proposals.park(term, index)

    def read(self) -> Awaitable[int]:
        """Done when everything committed before this call is applied here and this node still led after it.

        Raises NotLeaderError, also while waiting.
        """
        self._check_running()
        read_id = self._node.request_read(self._now_ms())
        self._wake.set()
        return self._reads.park(read_id)

    def transfer_leadership(self, target: int | None = None) -> None:
        """Hand leadership to a voter (None: the one that is furthest); given up after an election timeout.

        Raises NotLeaderError, MembershipChangeError, ProposalRefusedError.
        """
        self._check_running()
        now_ms = self._now_ms()
        self._node.transfer_leadership(self._furthest_voter() if target is None else target, now_ms)
        self._wake.set()

    def _furthest_voter(self) -> int:
        status = self._node.status()
        voters = {member.node_id for member in status.members if member.voter}
        reached = [
            (follower.match_index, follower.last_contact_ms, follower.node_id)
            for follower in status.followers
            if follower.node_id in voters
        ]
        return max(reached)[2] if reached else status.node_id

    def stop(self) -> None:
        """Let `run` end; what is on its way to the disk still gets there."""
        self._stopping = True
        self._wake.set()

    def _check_running(self) -> None:
        if self._stopping or self._stopped is not None:
            raise NotLeaderError(
                f"node {self._config.node_id} is stopped: {self._stopped or 'on its way down'}"
            )

    # What it does.

    async def run(self) -> None:
        """Drive the node until `stop`. Raises RaftStorageError after an IO error: the process should end."""
        error: Exception | None = None
        try:
            self._begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._writer.run())
                await self._turn_until_stopped()
                self._writer.stop()
        except* (OSError, OttlaError) as group:
            error = _first_of(group)
        finally:
            self._stopped = "it was told to stop" if self._stopping else f"it has failed: {error}"
            self._proposals.fail_all("this node stopped")
            self._reads.fail_all("this node stopped")
        if error is not None:
            raise RaftStorageError(
                f"node {self._config.node_id} stops, its metadata log failed: {error}"
            ) from error

    def _begin(self) -> None:
        snapshot = self._store.snapshot
        if snapshot is not None:
            self._machine.restore(self._store.snapshot_data(), snapshot.index, snapshot.term)
        self._tell_membership()

    async def _turn_until_stopped(self) -> None:
        while not self._stopping:
            more = self._turn()
            if more or self._inbox:
                await asyncio.sleep(0)
                continue
            # A millisecond is counted when it is over.
            deadline = self._loop.call_at((self._next_deadline_ms() + 0.5) / 1000, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                deadline.cancel()
                self._wake.clear()

    def _next_deadline_ms(self) -> int:
        deadline_ms = self._node.next_deadline()
        return deadline_ms if self._give_up_at_ms is None else min(deadline_ms, self._give_up_at_ms)

    def _turn(self) -> bool:
        """Take in what has come, let time pass, do what the node says. Returns whether more is to do at once."""
        node, now_ms = self._node, self._now_ms()
        if self._writer.persisted_sequence > self._reported_sequence:
            self._reported_sequence = self._writer.persisted_sequence
            node.persisted(self._reported_sequence, now_ms)
            self._send_late()
        for _ in range(min(len(self._inbox), STEPS_PER_TURN)):
            node.step(self._inbox.popleft(), now_ms)
        if not self._inbox:
            # After the messages: what a dead leader has sent before its end must not take the hint back.
            for node_id in self._gone_peers:
                node.peer_unreachable(node_id, now_ms)
            self._gone_peers.clear()
        if now_ms >= node.next_deadline():
            node.tick(now_ms)
        self._give_up_in_time(now_ms)
        ready = node.ready()
        self._perform(ready)
        return ready.more

    def _perform(self, ready: Ready) -> None:
        """In the order of `kraft.raft.ready`: what may go early, to the disk, what waits for it, what applies."""
        for message in ready.send:
            self._transport.send(message)
        for chunk in ready.chunks_to_send:
            data = self._store.read_chunk(chunk)
            if data is not None:
                self._transport.send(chunk.message(data))
        for received in ready.chunks_received:
            self._store.write_chunk(received)
        if ready.persist is not None:
            self._handed_sequence = ready.persist.sequence
            self._writer.persist(ready.persist)
        if ready.send_after_persist:
            self._late.append((self._handed_sequence, ready.send_after_persist))
            self._send_late()
        self._tell(ready)
        if ready.restore is not None:
            self._restore(ready.restore)
        if ready.apply:
            self._apply(ready.apply)
        self._reads.confirmed(ready.reads)
        self._reads.applied(self._node.applied_index)

    def _send_late(self) -> None:
        while self._late and self._late[0][0] <= self._reported_sequence:
            for message in self._late.popleft()[1]:
                self._transport.send(message)

    # The state machine.

    def _apply(self, entries: Sequence[Entry]) -> None:
        self._machine.apply(entries)
        self._node.applied(entries[-1].index)
        self._proposals.applied(entries)
        self._bytes_since_snapshot += sum(entry.size_bytes for entry in entries)
        if self._bytes_since_snapshot >= self._snapshot_log_bytes:
            self.take_snapshot()

    def _restore(self, snapshot: SnapshotMeta) -> None:
        log.info("snapshot installed", index=snapshot.index, term=snapshot.term)
        self._machine.restore(self._store.snapshot_data(), snapshot.index, snapshot.term)
        self._node.applied(snapshot.index)
        self._proposals.restored(snapshot)
        self._bytes_since_snapshot = 0

    def take_snapshot(self) -> None:
        """Write a snapshot of what is applied now, and let the log behind it go. One at a time."""
        if self._writer.saving_snapshot or not self._node.applied_index:
            return
        index, term, membership = self._node.snapshot_position()
        if self._node.snapshot is not None and index <= self._node.snapshot.index:
            return
        data = self._machine.snapshot()
        self._bytes_since_snapshot = 0
        self._writer.save_snapshot(describe(index, term, membership, data), data, self._saved)

    def _saved(self, snapshot: SnapshotMeta) -> int:
        """The snapshot is durable. Returns where the log may begin."""
        self._node.compact(snapshot)
        return self._node.first_index

    # Telling others.

    def _tell(self, ready: Ready) -> None:
        for fact in ready.facts:
            if isinstance(fact, LeadershipFact):
                self._leadership_changed(fact)
            elif isinstance(fact, MembershipFact):
                self._tell_membership()
            else:
                log.error(
                    "a follower has lost data that it had acknowledged",
                    follower=fact.node_id,
                    acknowledged_index=fact.acknowledged_index,
                    last_index=fact.last_index,
                )

    def _leadership_changed(self, fact: LeadershipFact) -> None:
        log.info(
            "quorum role",
            node=self._config.node_id,
            role=fact.role.value,
            term=fact.term,
            leader=fact.leader_id,
            cause=fact.cause,
        )
        if fact.role is Role.LEADER:
            self._give_up_at_ms = None
        elif len(self._proposals) and self._give_up_at_ms is None:
            self._give_up_at_ms = fact.now_ms + 2 * self._config.election_timeout_ms
        self._listeners.leadership(fact)

    def _give_up_in_time(self, now_ms: int) -> None:
        """Proposals of a lost leadership mostly find out what became of them; not for ever, though."""
        if self._give_up_at_ms is not None and now_ms >= self._give_up_at_ms:
            self._give_up_at_ms = None
            self._proposals.fail_all("this node does not lead any more")

    def _tell_membership(self) -> None:
        if self._node.reached != self._membership:
            self._membership = self._node.reached
            self._listeners.membership(self._membership)

    # Time.

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    def _wake_up(self) -> None:
        self._wake.set()


def _first_of(group: BaseExceptionGroup[OSError | OttlaError]) -> Exception:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, Exception)
    return first

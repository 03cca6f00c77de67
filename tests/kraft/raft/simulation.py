"""A seeded event scheduler around RaftNodes: virtual time, a faulty network, disks that forget what was not synced.

Everything that happens is drawn from one seed and one schedule of `Act`s, which is plain data, so that hypothesis can
shrink it. The invariants are checked after every event.
"""

import heapq
import random
from collections import Counter
from collections.abc import Iterable
from zlib import crc32

from kraft.raft.config import RaftConfig
from kraft.raft.membership import ChangeKind, Member, Membership, MembershipChange
from kraft.raft.messages import AnyMessage, SnapshotMeta, decode, encode
from kraft.raft.node import RaftNode
from kraft.raft.ready import LeadershipFact, MembershipFact, Persist, Ready, Restored, Role
from storage.errors import OttlaError
from tests.kraft.raft.invariants import EMPTY, Digest, Ghost
from tests.kraft.raft.machines import Machine
from tests.kraft.raft.schedules import Act

ELECTION_TIMEOUT_MS = 1000


class Simulation:
    """A group of nodes 0..size-1, the first `voters` of them voting."""

    def __init__(
        self,
        seed: int,
        *,
        voters: int = 3,
        spares: int = 0,
        trailing_entries: int = 3,
        chunk_bytes: int = 7,
        trace: bool = False,
    ) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 0
        self.events = 0
        self.ghost = Ghost(self.durable_copies)
        self.seen: Counter[str] = Counter()
        self.loss_percent = 0
        self.repeat_percent = 0
        self.delay_ms = (1, 5)
        self.blocked: set[tuple[int, int]] = set()
        self.commands = 0
        self.leader_changes: list[tuple[int, int, int]] = []
        self.sent: list[AnyMessage] | None = [] if trace else None
        self._queue: list[tuple[int, int, int, int, object]] = []
        self._order = 0
        self._configs = [
            RaftConfig(
                node_id=node_id,
                election_timeout_ms=ELECTION_TIMEOUT_MS,
                trailing_entries=trailing_entries,
                snapshot_chunk_bytes=chunk_bytes,
                max_append_bytes=150,
                max_inflight_appends=3,
                max_apply_bytes=200,
                promotion_max_lag_entries=2,
            )
            for node_id in range(voters + spares)
        ]
        self.initial = Membership.of(
            *(Member(node_id, f"node{node_id}:1") for node_id in range(voters))
        )
        self.machines = [Machine(node_id) for node_id in range(voters + spares)]
        for machine in self.machines:
            self._start(machine)

    def durable_copies(self, index: int, term: int) -> set[int]:
        """The nodes whose disks hold this entry, or a snapshot that covers it."""
        return {
            machine.node_id
            for machine in self.machines
            if machine.durable.term_at(index) in (0, term)
        }

    # Processes.

    def _start(self, machine: Machine) -> None:
        durable = machine.durable
        machine.node = RaftNode(
            self._configs[machine.node_id],
            Restored(
                hard_state=durable.hard_state, snapshot=durable.snapshot, entries=durable.entries
            ),
            self.initial,
            now_ms=self.now_ms,
            rng=random.Random(self.rng.random()),
        )
        machine.digest = EMPTY
        if durable.snapshot is not None:
            machine.digest = _digest_of(durable.snapshot_data)
            self.ghost.restores(durable.snapshot.index, machine.digest)
        machine.timer_ms = -1
        self._after(machine, machine.node.commit_index, machine.node.term)

    def _stop(self, machine: Machine) -> None:
        """Power loss: of what is on its way to the disk some beginning gets there."""
        machine.node = None
        machine.life += 1
        for _ in range(self.rng.randrange(len(machine.persists) + 1)):
            persist = machine.persists.popleft()
            machine.durable.take(persist, machine.received, 4)
        if machine.persists:
            persist = machine.persists[0]
            machine.durable.take(persist, machine.received, self.rng.randrange(6))
        machine.persists.clear()
        machine.late.clear()
        machine.received.clear()
        machine.handed = 0

    # What a node wants done.

    def _after(self, machine: Machine, old_commit: int, old_term: int) -> None:
        """The node has taken a step: check it, and do what it says."""
        node = machine.node
        assert node is not None
        self.ghost.node_changed(node, old_commit, old_term)
        while True:
            ready = node.ready()
            self._perform(machine, node, ready)
            if not ready.more:
                break
        deadline_ms = max(node.next_deadline(), self.now_ms)
        if machine.timer_ms < self.now_ms or deadline_ms < machine.timer_ms:
            machine.timer_ms = deadline_ms
            self._schedule(deadline_ms - self.now_ms, _TIMER, machine.node_id, machine.life)

    def _perform(self, machine: Machine, node: RaftNode, ready: Ready) -> None:
        for message in ready.send:
            self._send(machine, message)
        for chunk in ready.chunks_to_send:
            if machine.durable.snapshot == chunk.snapshot:
                data = machine.durable.snapshot_data[chunk.offset : chunk.offset + chunk.length]
                self._send(machine, chunk.message(data))
        for received in ready.chunks_received:
            before = machine.received.get(received.snapshot, b"")[: received.offset]
            assert len(before) == received.offset, "a chunk before the one that precedes it"
            machine.received[received.snapshot] = before + received.data
        if ready.persist is not None:
            self._persist(machine, node, ready.persist)
        if ready.send_after_persist:
            machine.late.append((machine.handed, ready.send_after_persist))
            self._send_late(machine)
        if ready.restore is not None:
            assert machine.durable.snapshot == ready.restore
            machine.digest = _digest_of(machine.durable.snapshot_data)
            self.ghost.restores(ready.restore.index, machine.digest)
            node.applied(ready.restore.index)
        for entry in ready.apply:
            machine.digest = self.ghost.applies(machine.node_id, entry, machine.digest)
        if ready.apply:
            node.applied(ready.apply[-1].index)
        for result in ready.reads:
            self.ghost.read_ends(machine.node_id, result)
        self._note(node, ready)

    def _note(self, node: RaftNode, ready: Ready) -> None:
        for fact in ready.facts:
            if isinstance(fact, MembershipFact) and fact.committed:
                self.seen["membership changes"] += 1
            if isinstance(fact, LeadershipFact) and fact.role is Role.LEADER:
                self.seen["elections"] += 1
                self.leader_changes.append((self.now_ms, fact.term, node._core.node_id))

    def _persist(self, machine: Machine, node: RaftNode, persist: Persist) -> None:
        self.ghost.persists(persist, node)
        machine.persists.append(persist)
        machine.handed = persist.sequence
        after_ms = self.rng.randrange(machine.disk_ms + 1)
        self._schedule(after_ms, _PERSISTED, machine.node_id, machine.life)
        self.seen["cuts of a log"] += persist.truncate_from is not None
        self.seen["snapshots installed"] += persist.snapshot is not None

    def _send_late(self, machine: Machine) -> None:
        waiting_for = machine.persists[0].sequence if machine.persists else machine.handed + 1
        while machine.late and machine.late[0][0] < waiting_for:
            for message in machine.late.popleft()[1]:
                self._send(machine, message)

    def _send(self, machine: Machine, message: AnyMessage) -> None:
        self.ghost.sends(message, machine.durable.hard_state, machine.durable.term_at)
        if self.sent is not None:
            self.sent.append(message)
        if (machine.node_id, message.target) in self.blocked:
            return
        rng = self.rng
        if self.loss_percent and rng.randrange(100) < self.loss_percent:
            return
        data = encode(message)
        self._schedule(rng.randint(*self.delay_ms), _DELIVER, message.target, data)
        if self.repeat_percent and rng.randrange(100) < self.repeat_percent:
            self._schedule(rng.randint(1, 500), _DELIVER, message.target, data)

    # Events.

    def _schedule(self, after_ms: int, kind: int, node_id: int, what: object) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.now_ms + after_ms, self._order, kind, node_id, what))

    def run(self, duration_ms: int) -> None:
        """Let virtual time pass."""
        end_ms = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end_ms:
            at_ms, _, kind, node_id, what = heapq.heappop(self._queue)
            self.now_ms = at_ms
            self._event(self.machines[node_id], kind, what)
        self.now_ms = end_ms

    def _event(self, machine: Machine, kind: int, what: object) -> None:
        node = machine.node
        if node is None or (kind != _DELIVER and what != machine.life):
            return
        self.events += 1
        commit_index, term = node.commit_index, node.term
        if kind == _DELIVER:
            assert isinstance(what, bytes)
            message = decode(what)
            if (message.source, machine.node_id) in self.blocked:
                return
            node.step(message, self.now_ms)
        elif kind == _TIMER:
            machine.timer_ms = -1
            if self.now_ms >= node.next_deadline():
                node.tick(self.now_ms)
        else:
            persist = machine.persists.popleft()
            machine.durable.take(persist, machine.received, 4)
            self._send_late(machine)
            node.persisted(persist.sequence, self.now_ms)
        self._after(machine, commit_index, term)

    # Acts.

    def play(self, acts: Iterable[Act]) -> None:
        """Do these one after the other."""
        for act in acts:
            self.run(act.after_ms)
            getattr(self, f"do_{act.name}")(*act.arguments)

    def _running(self, role: Role | None = None) -> list[tuple[Machine, RaftNode]]:
        return [
            (machine, machine.node)
            for machine in self.machines
            if machine.node is not None and (role is None or machine.node.role is role)
        ]

    def do_propose(self, count: int = 1) -> None:
        """Every node that believes to lead gets commands."""
        for machine, node in self._running(Role.LEADER):
            commands = [b"%d" % (self.commands + place) for place in range(count)]
            self.commands += count
            commit_index, term = node.commit_index, node.term
            try:
                node.propose(commands, self.now_ms)
            except OttlaError:
                continue
            self._after(machine, commit_index, term)

    def do_read(self) -> None:
        """Every node that believes to lead gets a read."""
        for machine, node in self._running(Role.LEADER):
            read_id = node.request_read(self.now_ms)
            self.ghost.read_begins(machine.node_id, read_id)
            self._after(machine, node.commit_index, node.term)

    def do_crash(self, node_id: int) -> None:
        """Power loss of one node."""
        if self.machines[node_id].node is not None:
            self._stop(self.machines[node_id])

    def do_restart(self, node_id: int) -> None:
        """It comes back."""
        if self.machines[node_id].node is None:
            self._start(self.machines[node_id])

    def do_bounce(self, node_id: int) -> None:
        """Power loss and back at once."""
        self.do_crash(node_id)
        self.do_restart(node_id)

    def do_block(self, source: int, target: int) -> None:
        """Nothing passes from one node to the other; the way back stays open."""
        self.blocked.add((source, target))

    def do_unblock(self, source: int, target: int) -> None:
        """Open that way again."""
        self.blocked.discard((source, target))

    def do_isolate(self, node_id: int) -> None:
        """Nothing in, nothing out."""
        for other in range(len(self.machines)):
            self.blocked |= {(node_id, other), (other, node_id)}

    def do_strand_leaders(self, survivors: int) -> None:
        """Every leader keeps its ways to the nodes whose bit is set, loses all others, and gets commands."""
        for leader in self.leaders():
            for other in range(len(self.machines)):
                if not survivors >> other & 1:
                    self.blocked |= {(leader, other), (other, leader)}
        self.do_propose(3)
        self.do_read()

    def do_crash_leaders(self) -> None:
        """Power loss of whoever leads."""
        for leader in self.leaders():
            self.do_crash(leader)

    def do_crash_all(self) -> None:
        """Power loss of the whole group, which comes back at once."""
        for machine in self.machines:
            self.do_crash(machine.node_id)
        for machine in self.machines:
            self.do_restart(machine.node_id)

    def do_split(self, mask: int) -> None:
        """Nodes whose bit is set on one side, the others on the other."""
        size = range(len(self.machines))
        self.blocked = {(a, b) for a in size for b in size if (mask >> a & 1) != (mask >> b & 1)}

    def do_heal(self) -> None:
        """All links are open."""
        self.blocked.clear()

    def do_weather(self, loss_percent: int, repeat_percent: int, max_delay_ms: int) -> None:
        """How the network is from now on."""
        self.loss_percent, self.repeat_percent = loss_percent, repeat_percent
        self.delay_ms = (1, max(max_delay_ms, 1))

    def do_disk(self, node_id: int, max_ms: int) -> None:
        """How long one node's syncs take from now on."""
        self.machines[node_id].disk_ms = max_ms

    def do_hint(self, node_id: int, peer: int) -> None:
        """A node is told that a peer's process is gone, true or not."""
        machine = self.machines[node_id]
        if machine.node is not None and peer != node_id:
            commit_index, term = machine.node.commit_index, machine.node.term
            machine.node.peer_unreachable(peer, self.now_ms)
            self._after(machine, commit_index, term)

    def do_hints(self, peer: int) -> None:
        """Everybody is told so."""
        for machine in self.machines:
            self.do_hint(machine.node_id, peer)

    def do_transfer(self, target: int) -> None:
        """Every leader is to hand over to that node."""
        for machine, node in self._running(Role.LEADER):
            try:
                node.transfer_leadership(target, self.now_ms)
            except OttlaError:
                continue
            self._after(machine, node.commit_index, node.term)

    def do_snapshot(self, node_id: int) -> None:
        """A node writes a snapshot of what it has applied."""
        machine = self.machines[node_id]
        node = machine.node
        if node is None or not node.applied_index:
            return
        index, term, membership = node.snapshot_position()
        if machine.durable.snapshot is not None and index <= machine.durable.snapshot.index:
            return
        data = b"state %d" % machine.digest
        snapshot = SnapshotMeta(index, term, membership, len(data), crc32(data))
        machine.durable.snapshot, machine.durable.snapshot_data = snapshot, data
        node.compact(snapshot)
        machine.durable.drop_before(node.first_index)

    def do_change(self, kind: int, node_id: int) -> None:
        """Every leader is to change the members."""
        change = MembershipChange(list(ChangeKind)[kind], node_id, f"node{node_id}:1")
        for machine, node in self._running(Role.LEADER):
            try:
                node.propose_membership(change, self.now_ms)
            except OttlaError:
                continue
            self._after(machine, node.commit_index, node.term)

    # The end.

    def leaders(self) -> list[int]:
        """Who believes to lead."""
        return [machine.node_id for machine, _ in self._running(Role.LEADER)]

    def node(self, node_id: int) -> RaftNode:
        """A running node."""
        node = self.machines[node_id].node
        assert node is not None
        return node

    def leader(self) -> RaftNode:
        """The only leader."""
        leaders = self.leaders()
        assert len(leaders) == 1, f"leaders: {leaders}"
        return self.node(leaders[0])

    def wait_for_leader(self, timeouts: int = 10) -> RaftNode:
        """Run until one node leads and has committed an entry of its term."""
        for _ in range(timeouts * 10):
            for _, node in self._running(Role.LEADER):
                if node.commit_index >= node._core.term_start_index and len(self.leaders()) == 1:
                    return node
            self.run(ELECTION_TIMEOUT_MS // 10)
        raise AssertionError(f"no leader within {timeouts} election timeouts")

    def converge(self, timeouts: int = 12) -> None:
        """Heal everything: soon there is one leader, and all its members have the same log and state."""
        self.do_heal()
        self.do_weather(0, 0, 5)
        for machine in self.machines:
            machine.disk_ms = 1
            self.do_restart(machine.node_id)
        for _ in range(timeouts * 2):
            self.run(ELECTION_TIMEOUT_MS // 2)
            if self._has_converged():
                return
            if len(self.leaders()) == 1 and self._idle(self.leader()):
                self.do_propose()
        raise AssertionError(
            f"not converged after {timeouts} election timeouts: "
            + "; ".join(str(node.status()) for _, node in self._running())
        )

    def _idle(self, leader: RaftNode) -> bool:
        return (
            leader.commit_index == leader.last_index
            and leader.last_index == self.ghost.last_committed
        )

    def _has_converged(self) -> bool:
        leaders = self.leaders()
        if len(leaders) != 1 or not self.node(leaders[0]).membership.find(leaders[0]):
            return False
        leader = self.node(leaders[0])
        if (
            leader.commit_index != leader.last_index
            or leader.commit_index < leader._core.term_start_index
        ):
            return False
        members = [self.machines[member.node_id] for member in leader.membership.members]
        return all(
            machine.node is not None
            and machine.node.applied_index == leader.commit_index
            and machine.node.leader_id == leaders[0]
            and machine.digest == self.machines[leaders[0]].digest
            for machine in members
        )


_DELIVER, _TIMER, _PERSISTED = range(3)


def _digest_of(data: bytes) -> Digest:
    return int(data.removeprefix(b"state "))

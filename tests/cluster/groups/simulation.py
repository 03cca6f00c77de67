"""A classic group under seeded faults: its clients, the network to its coordinator, and the log it keeps things in.

Requests of one connection arrive in their order or not at all. The log commits late; at a change of leaders some of
what was not committed yet survives, nobody is told of it, and the next coordinator begins from the records.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from cluster.groups.attendance import Absence
from cluster.groups.classic_group import State
from cluster.groups.errors import CoordinatorNotAvailableError, NotCoordinatorError
from cluster.groups.records import (
    GroupRecord,
    OffsetCommitKey,
    OffsetCommitValue,
    decode_record,
    encode_key,
    encode_value,
)
from cluster.groups.step import Step
from storage.errors import OttlaError
from tests.cluster.groups.consumers import SUBSCRIPTION, Consumer, Request
from tests.cluster.groups.lab import GROUP, REBALANCE_MS, SESSION_MS, Lab
from tests.cluster.groups.watch import Watch

ANSWER_MS = 5_000
RETENTION_MS = 60_000
# A member whose answer to its join was lost is waited for this long (NEW_MEMBER_JOIN_TIMEOUT_MS), and a rebalance more.
FAULTS = ("move", "move", "die", "leave", "pause", "twin", "all leave", "stranger", "expire")
QUIET_MS = 5 * 60_000 + 3 * REBALANCE_MS + 2 * SESSION_MS


class Node(Lab):
    """A coordinator whose log commits when the simulation says so."""

    def __init__(self, simulation: "Simulation", seed: int) -> None:
        super().__init__(delay_ms=simulation.delay_ms, seed=seed, offsets_retention_ms=RETENTION_MS)
        self.keeps = False
        # Everything goes through the log that the simulation moves.
        self.simulation = simulation

    @property
    def next_ticket(self) -> int:
        """What the next request will be known by."""
        return self._tickets + 1

    def perform(self, step: Step) -> None:
        if step.records:
            if self.simulation.log_refuses():
                self.lose(step, CoordinatorNotAvailableError("too few replicas"))
                return
            self.simulation.appended(step)
        super().perform(step)

    def _kept(self, step: Step) -> None:
        self.simulation.watch.kept(step.records)
        super()._kept(step)

    def tell(self, ticket: int, response: Any) -> None:
        super().tell(ticket, response)
        self.simulation.told(ticket, response)

    def keep(self, steps: int) -> None:
        """The high watermark moves over so many steps."""
        held, self.held = self.held[:steps], self.held[steps:]
        for step in held:
            self._kept(step)

    def expire_due(self) -> None:
        """What is due now, which includes what that makes due."""
        for _ in range(10):
            due = self.coordinator.next_deadline_ms(GROUP)
            if due is None or due > self.now_ms:
                return
            self.perform(self.coordinator.expire(GROUP, self.clock))
        raise AssertionError("a deadline that stays")


class Simulation:
    """`play` for a while, then `settle`; the invariants are looked at after every event. `breaks`: connections break,
    too, of those who live as of those who do not.
    """

    def __init__(self, seed: int, *, breaks: bool = False) -> None:
        self.rng = random.Random(seed)
        self._breaks = random.Random(f"{seed} breaks") if breaks else None
        self.partitions = self.rng.randrange(1, 7)
        self.delay_ms = self.rng.choice([0, 3000])
        self.watch = Watch()
        self.seen: Counter[str] = Counter()
        self.faults = True
        self._over = False
        self.now_ms = 1_000_000
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        self._arrival_ms: dict[tuple[str, int], int] = {}
        self._open: dict[int, Exchange] = {}
        self._log_moves = False
        self.node: Node | None = Node(self, self.rng.getrandbits(32))
        self.consumers = [self._consumer(number) for number in range(self.rng.randrange(1, 6))]

    def _consumer(self, number: int) -> Consumer:
        instance = f"static-{number}" if self.rng.random() < 0.4 else None
        return Consumer(self, random.Random(self.rng.getrandbits(32)), f"c{number}", instance)

    # The world of consumers.

    def after(self, ms: int, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now_ms + ms, self._number, event))

    def _network_ms(self) -> int:
        slow = self.faults and self.rng.random() < 0.05
        return self.rng.randrange(500, 8_000) if slow else self.rng.randrange(1, 20)

    def _lost(self) -> bool:
        return self.faults and self.rng.random() < 0.03

    def ask(self, consumer: Consumer, kind: str, request: Request) -> None:
        connection = consumer.connection
        line = (consumer.name, connection)
        arrival = max(self.now_ms + self._network_ms(), self._arrival_ms.get(line, 0))
        self._arrival_ms[line] = arrival
        exchange = Exchange(self, consumer, kind, request)

        def arrive() -> None:
            if consumer.connection == connection and not self._lost():
                self._arrive(exchange)

        self.after(arrival - self.now_ms, arrive)
        if kind != "leave":
            patient = REBALANCE_MS if kind in ("join", "sync") else 0
            self.after(ANSWER_MS + patient, exchange.late)

    def reply(self, exchange: "Exchange", response: Any) -> None:
        """The answer is on its way."""
        if not self._lost():
            self.after(self._network_ms(), lambda: exchange.heard(response))

    def when_awake(self, consumer: Consumer, event: Callable[[], None]) -> bool:
        """Whether a consumer can do something now; if it is paused the event comes again when it is not."""
        wait_ms = consumer.paused_until_ms - self.now_ms
        if wait_ms > 0:
            self.after(wait_ms, event)
        return wait_ms <= 0

    def wake(self, consumer: Consumer, after_ms: int) -> None:
        life = consumer.life

        def woken() -> None:
            if consumer.life == life and self.when_awake(consumer, woken):
                consumer.woken()

        self.after(after_ms, woken)

    def fenced(self, consumer: Consumer) -> None:
        """Whoever looks after processes starts it again unless there is another one in its place."""
        self.seen["fenced"] += 1
        self.after(1_000, lambda: self.start(consumer))

    def start(self, consumer: Consumer) -> None:
        """Unless it runs, or another one with its instance id."""
        if self._over:
            return
        same = [each for each in self.consumers if each.instance == consumer.instance]
        if not any(each.up for each in (same if consumer.instance else [consumer])):
            consumer.start()

    # The coordinator's side.

    def _arrive(self, exchange: "Exchange") -> None:
        node = self.node
        if node is None:
            self.reply(exchange, NotCoordinatorError("moving"))
        elif exchange.kind == "fetch":
            found = {each: node.committed(each) for each in exchange.request["partitions"]}
            offsets = {each: -1 if offset is None else offset for each, offset in found.items()}
            self.reply(exchange, offsets)
        else:
            self._open[node.next_ticket] = exchange
            exchange.put(node)

    def told(self, ticket: int, response: Any) -> None:
        """The coordinator answers a request."""
        exchange = self._open.pop(ticket)
        request = exchange.request
        if isinstance(response, OttlaError):
            self.seen[response.code.name] += 1
        elif exchange.kind == "sync":
            member, generation = request["member_id"], request["generation"]
            process = request["instance"] or member
            self.watch.assigned(member, process, generation, response.assignment)
        elif exchange.kind == "commit":
            self.seen["commits"] += 1
            member = request["member_id"] if request["generation"] >= 0 else ""
            self.watch.accepted(member, request["generation"], request["offsets"])
        self.reply(exchange, response)

    def appended(self, step: Step) -> None:
        """Records come into the log of the leader, and will be committed after a while."""
        assert self.node is not None
        before = [*self.node.log, *(record for each in self.node.held for record in each.records)]
        group = self.node.coordinator.groups.get(GROUP)
        self.watch.appended(
            step.records,
            before,
            wall_ms=self.node.wall_ms,
            retention_ms=RETENTION_MS,
            has_members=group is not None and group.state is not State.EMPTY,
        )
        self._move_log()

    def _move_log(self) -> None:
        if not self._log_moves:
            self._log_moves = True
            slow = self.faults and self.rng.random() < 0.1
            self.after(self.rng.randrange(2_000) if slow else self.rng.randrange(1, 30), self._keep)

    def _keep(self) -> None:
        self._log_moves = False
        if self.node is not None and self.node.held:
            self.node.keep(self.rng.randrange(1, len(self.node.held) + 1))
        if self.node is not None and self.node.held:
            self._move_log()

    def log_refuses(self) -> bool:
        """Whether the next append finds too few replicas."""
        return self.faults and self.rng.random() < 0.02

    # Faults.

    def move(self, down_ms: int) -> None:
        """Another node leads: it has what was committed, and some of what was not."""
        node, self.node = self.node, None
        if node is None:
            return
        self.seen["moves"] += 1
        survivors = node.held[: self.rng.randrange(len(node.held) + 1)]
        for step in survivors:
            self.watch.kept(step.records)
        log = [*node.log, *(record for step in survivors for record in step.records)]
        for ticket in sorted(self._open):
            node.tell(ticket, NotCoordinatorError("another node leads"))
        self.after(down_ms, lambda: self._lead(node, log))

    def _lead(self, before: Node, log: list[GroupRecord]) -> None:
        node = Node(self, self.rng.getrandbits(32))
        node._tickets = before._tickets
        node.log = log
        self.node = node
        self._tell_time()
        for key, value in log:
            record = decode_record(encode_key(key), encode_value(value))
            assert record is not None
            node.coordinator.load(record, node.clock)

    def _fault(self) -> None:
        if not self.faults:
            return
        self.after(self.rng.randrange(500, 8_000), self._fault)
        one = self.rng.choice(self.consumers)
        nobody_is_there = not any(each.up for each in self.consumers)
        kind = self.rng.choice(("stranger", "expire") if nobody_is_there else FAULTS)
        if kind == "move":
            self.move(self.rng.choice([1, 100, 3_000]))
        elif kind == "die" and one.up:
            one.die()
            self.after(self.rng.choice([10, 2_000, 20_000]), lambda: self.start(one))
        elif kind == "leave" and one.up:
            one.leave()
            self.after(self.rng.choice([10, 20_000]), lambda: self.start(one))
        elif kind == "pause":
            one.paused_until_ms = self.now_ms + self.rng.randrange(2_000, 3 * SESSION_MS)
        elif kind == "twin" and one.instance and len(self.consumers) < 8:
            name = f"c{len(self.consumers)}"
            twin = Consumer(self, random.Random(self.rng.getrandbits(32)), name, one.instance)
            self.consumers.append(twin)
            twin.start()
        elif kind == "all leave":
            for each in self.consumers:
                each.die()
                back_ms = self.rng.randrange(RETENTION_MS, 2 * RETENTION_MS)
                self.after(back_ms, self._starter(each))
                self.after(back_ms + self.rng.randrange(4_000), self._expire_offsets)
        elif kind == "stranger":
            self._stranger()
        elif kind == "expire":
            self._expire_offsets()

    def _break(self) -> None:
        dice = self._breaks
        if dice is None or not self.faults:
            return
        self.after(dice.randrange(100, 3_000), self._break)
        who = Absence(GROUP, dice.choice(self.consumers).member_id, dice.choice((None, 500)))
        if self.node is not None:
            self.seen["breaks"] += 1
            self.node.perform(self.node.coordinator.absent(who, self.node.clock))

    def _starter(self, consumer: Consumer) -> Callable[[], None]:
        return lambda: self.start(consumer)

    def _stranger(self) -> None:
        """Somebody commits who is no member: an administrator, or somebody who thinks that it is."""
        node = self.node
        if node is None:
            return
        records = [*node.log, *(record for each in node.held for record in each.records)]
        known = {
            key.partition: value.offset
            for key, value in records
            if isinstance(key, OffsetCommitKey) and isinstance(value, OffsetCommitValue)
        }
        partition = self.rng.randrange(self.partitions)
        request: dict[str, Any] = {
            "member_id": self.rng.choice(["", "somebody"]),
            "generation": self.rng.choice([-1, self.rng.randrange(5)]),
            "instance": None,
            "offsets": {partition: known.get(partition, 0) + 1},
        }
        nobody = Consumer(self, self.rng, "nobody", None)
        exchange = Exchange(self, nobody, "commit", request)
        nobody.die()
        group = node.coordinator.groups.get(GROUP)
        has_members = group is not None and bool(group.members)
        refused = self.seen.total()
        self._arrive(exchange)
        if has_members or request["generation"] >= 0:
            assert self.seen.total() > refused, f"a stranger commits: {request}"
        if self.rng.random() < 0.5:
            self._expire_offsets()

    def _expire_offsets(self) -> None:
        if self.node is not None:
            for step in self.node.coordinator.expire_offsets(self.node.clock):
                self.node.perform(step)

    # Time.

    def _tell_time(self) -> None:
        if self.node is not None:
            self.node.now_ms = self.now_ms
            self.node.wall_ms = 1_700_000_000_000 + self.now_ms

    def run(self, ms: int) -> None:
        """Let so much time pass."""
        end = self.now_ms + ms
        while self.now_ms < end:
            due = self._events[0][0] if self._events else end
            if self.node is not None:
                due = min(due, self.node.coordinator.next_deadline_ms(GROUP) or due)
            self.now_ms = max(min(due, end), self.now_ms)
            self._tell_time()
            if self.node is not None:
                self.node.expire_due()
            if self._events and self._events[0][0] <= self.now_ms:
                heapq.heappop(self._events)[2]()
            if self.node is not None:
                found = self.node.coordinator.offsets.of(GROUP)
                self.watch.seen({where.partition: each.offset for where, each in found.items()})

    def play(self, ms: int) -> None:
        """Consumers come, and faults."""
        for each in self.consumers:
            self.after(self.rng.randrange(3_000), self._starter(each))
        self.after(2_000, self._fault)
        self._break()
        self.run(ms)

    def settle(self) -> None:
        """No faults any more: everybody reads on, and everything is answered."""
        self.faults = False
        for each in self.consumers:
            self.start(each)
        end = self.now_ms + QUIET_MS
        while not self._settled():
            assert self.now_ms < end, f"the group does not settle: {self._state()}"
            self.run(5_000)
        before = {each.name: each.commits for each in self.consumers}
        self.run(30_000)
        assert self._settled(), f"the group does not stay settled: {self._state()}"
        self._over = True
        for each in self.consumers:
            if each.up and each.positions:
                assert each.commits > before[each.name], f"{each.name} does not get on"
            each.die()
        self.run(1_000)
        assert not self._open, f"never answered: {[each.kind for each in self._open.values()]}"

    def _settled(self) -> bool:
        group = self.node.coordinator.groups.get(GROUP) if self.node is not None else None
        if group is None or group.state is not State.STABLE:
            return False
        running = [each for each in self.consumers if each.up]
        owned = sorted(partition for each in running for partition in each.positions)
        in_it = all(each.reads and each.generation == group.generation for each in running)
        in_it = in_it and len(group.members) == len(running) and not group.pending
        return in_it and owned == list(range(self.partitions))

    def _state(self) -> str:
        group = self.node.coordinator.groups.get(GROUP) if self.node is not None else None
        told = [(each.name, each.up, each.reads, each.generation) for each in self.consumers]
        return f"{group} {told}"


class Exchange:
    """One request and its answer."""

    def __init__(
        self, simulation: Simulation, consumer: Consumer, kind: str, request: Request
    ) -> None:
        self.simulation, self.consumer, self.kind, self.request = (
            simulation,
            consumer,
            kind,
            request,
        )
        self._life = consumer.life
        self._waits = True

    def _is_waited_for(self, event: Callable[[], None]) -> bool:
        if not self._waits or self.consumer.life != self._life:
            return False
        if not self.simulation.when_awake(self.consumer, event):
            return False
        self._waits = False
        return True

    def heard(self, response: Any) -> None:
        """The answer has come."""
        if self._is_waited_for(lambda: self.heard(response)):
            self.consumer.answered(self.kind, response)

    def late(self) -> None:
        """No answer has come in time."""
        if self._is_waited_for(self.late):
            self.consumer.reconnect()

    def put(self, node: Node) -> None:
        """Ask the coordinator."""
        member, generation = self.request["member_id"], self.request["generation"]
        instance = self.request["instance"]
        if self.kind == "join":
            node.join(
                member,
                instance=instance,
                protocols=(("range", SUBSCRIPTION),),
                client=self.consumer.name,
                told_first=self.consumer.told_first,
            )
        elif self.kind == "sync":
            node.sync(member, generation, self.request["assignments"], instance)
        elif self.kind == "heartbeat":
            node.heartbeat(member, generation, instance)
        elif self.kind == "leave":
            node.leave(member)
        else:
            node.commit_all(self.request["offsets"], member, generation, instance)

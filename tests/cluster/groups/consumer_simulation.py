"""Members of a KIP-848 group as real clients behave, on a network that loses, against a coordinator that moves.

A member has one heartbeat under way at a time. It lets partitions go before it takes new ones, both after a while, and
says what it has with every full heartbeat. An answer that does not come in time is a lost one: it asks again, in full.
"""

import random
from dataclasses import dataclass, field

from cluster.groups.attendance import Absence
from cluster.groups.errors import (
    FencedInstanceIdError,
    FencedMemberEpochError,
    GroupError,
    UnknownMemberIdError,
)
from cluster.groups.reconciliation import NOTHING, AssignedPartition, Assignment
from cluster.groups.settings import GroupSettings
from cluster.groups.step import Ticket
from storage.errors import OttlaError
from tests.cluster.groups.consumer_house import G, House, assigned, heartbeat
from wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatResponse
from wire.messages.offset_commit import OffsetCommitRequest

TICK_MS = 250
SESSION_MS = 4_000
INTERVAL_MS = 500
REQUEST_TIMEOUT_MS = 1_000
REBALANCE_MS = 6_000
SETTINGS = GroupSettings(
    consumer_session_timeout_ms=SESSION_MS, consumer_heartbeat_interval_ms=INTERVAL_MS
)


@dataclass
class Client:
    """One process. has: what it reads; wanted: what it was told to read. paused_until_ms: it does nothing at all."""

    name: str
    topics: tuple[str, ...]
    instance_id: str | None
    life: int = 1
    epoch: int = 0
    has: Assignment = NOTHING
    wanted: Assignment = NOTHING
    in_full: bool = True
    stopped: bool = False
    next_beat_ms: int = 0
    revoke_at_ms: int | None = None
    paused_until_ms: int = 0
    waiting_for: tuple[Ticket, int] | None = None
    rng: random.Random = field(default_factory=random.Random)

    @property
    def member_id(self) -> str:
        """A new one with each life."""
        return f"{self.name}-{self.life}"

    def forget(self) -> None:
        """Everything is let go at once; what comes next is a first heartbeat."""
        self.has = self.wanted = NOTHING
        self.epoch, self.in_full, self.revoke_at_ms = 0, True, None

    def heard(self, answer: ConsumerGroupHeartbeatResponse, now_ms: int) -> None:
        """An answer."""
        self.epoch, self.in_full = answer.member_epoch, False
        self.next_beat_ms = now_ms + INTERVAL_MS
        found = assigned(answer)
        if found is not None and found != self.wanted:
            self.wanted = found
            self.revoke_at_ms = now_ms + self.rng.choice((0, TICK_MS, 5 * TICK_MS))

    def work(self, now_ms: int) -> None:
        """Let go first, take new ones afterwards; then say so at once."""
        if self.revoke_at_ms is None or self.revoke_at_ms > now_ms:
            return
        if self.has - self.wanted:
            self.has &= self.wanted
            self.revoke_at_ms = now_ms + self.rng.choice((0, TICK_MS))
        else:
            self.has, self.revoke_at_ms = self.wanted, None
        self.in_full, self.next_beat_ms = True, now_ms


class Simulation:
    """`faults`: whether the network loses, members pause and the coordinator moves; with `breaks` connections break,
    too, of those who live as of those who do not.
    """

    def __init__(self, seed: int, *, same_topics: bool, breaks: bool = False) -> None:
        self.rng = random.Random(seed)
        self._breaks = random.Random(f"{seed} breaks") if breaks else None
        self.seed = seed
        self.house = House({"t": 7, "u": 3, "v": 2}, SETTINGS)
        self.faults = True
        every = ("t", "u", "v")
        self.clients = [
            Client(
                f"m{each}",
                every if same_topics else tuple(self.rng.sample(every, self.rng.randint(1, 3))),
                f"static{each}" if each % 3 == 0 else None,
                rng=self.rng,
            )
            for each in range(5)
        ]
        self.same_topics = same_topics
        self.moved = 0

    @property
    def now_ms(self) -> int:
        """The time of everybody."""
        return self.house.clock.now_ms

    def run(self, ms: int) -> None:
        """So much time, tick by tick; the invariant is checked after each."""
        end = self.now_ms + ms
        while self.now_ms < end:
            self.house.later(TICK_MS)
            if self.faults:
                self._harm()
            if self.house.held and (not self.faults or self.rng.random() < 0.5):
                self.house.commit()
            for client in self.rng.sample(self.clients, len(self.clients)):
                if client.paused_until_ms <= self.now_ms:
                    self._step(client)
            self.check()

    def _break(self) -> None:
        if self._breaks is not None and self._breaks.random() < 0.05:
            who = Absence(G, self._breaks.choice(self.clients).member_id, None)
            self.house.perform(self.house.coordinator.absent(who, self.house.clock))

    def _harm(self) -> None:
        self._break()
        dice = self.rng.random()
        client = self.rng.choice(self.clients)
        self.house.hold = self.rng.random() < 0.3
        if dice < 0.01:
            self.house.reload()
            self.moved += 1
        elif dice < 0.02:
            client.paused_until_ms = self.now_ms + self.rng.choice((1_000, SESSION_MS * 2))
        elif dice < 0.03:
            self._restart(client)
        elif dice < 0.035:
            self.house.set_topics(t=7, u=self.rng.choice((3, 4, 5)), v=self.rng.choice((1, 2)))
        elif dice < 0.04:
            client.stopped = not client.stopped
            if client.stopped:
                self._say_goodbye(client, -1)
                client.forget()

    def _restart(self, client: Client) -> None:
        """A process ends, in order or by a crash, and another one begins."""
        if self.rng.random() < 0.6:
            self._say_goodbye(client, -2 if client.instance_id else -1)
        client.forget()
        client.life += 1
        client.waiting_for = None
        client.next_beat_ms = self.now_ms + self.rng.choice((0, 1_000, SESSION_MS))

    def _say_goodbye(self, client: Client, epoch: int) -> None:
        client.has = NOTHING
        if client.epoch > 0 and not self._lost():
            try:
                self.house.send(heartbeat(client.member_id, epoch, instance_id=client.instance_id))
            except GroupError:
                return

    def _lost(self) -> bool:
        return self.faults and self.rng.random() < 0.1

    def _step(self, client: Client) -> None:
        client.work(self.now_ms)
        if client.waiting_for is not None:
            self._listen(client, *client.waiting_for)
        due = client.next_beat_ms <= self.now_ms
        if client.waiting_for is None and due and not client.stopped:
            self._beat(client)

    def _listen(self, client: Client, ticket: Ticket, until_ms: int) -> None:
        answer = self.house.answers.pop(ticket, None)
        if answer is None:
            if until_ms <= self.now_ms:
                self._unheard(client)
            return
        client.waiting_for = None
        if self._lost():
            self._unheard(client)
        elif isinstance(answer, ConsumerGroupHeartbeatResponse):
            client.heard(answer, self.now_ms)
        else:
            self._refused(client, answer)

    def _unheard(self, client: Client) -> None:
        client.waiting_for, client.in_full = None, True
        client.next_beat_ms = self.now_ms + TICK_MS

    def _beat(self, client: Client) -> None:
        first = client.epoch == 0
        full = client.in_full or self.rng.random() < 0.2
        request = heartbeat(
            client.member_id,
            client.epoch,
            client.has if full else None,
            instance_id=client.instance_id,
            subscribed_topic_names=client.topics if first or full else None,
            rebalance_timeout_ms=REBALANCE_MS if first or full else -1,
        )
        if self._lost():
            self._unheard(client)
            return
        try:
            ticket = self.house.send(request)
            if self.faults and self.rng.random() < 0.1:
                # The same bytes once more; the second answer is heard.
                ticket = self.house.send(request)
        except GroupError as error:
            self._refused(client, error)
            return
        client.waiting_for = (ticket, self.now_ms + REQUEST_TIMEOUT_MS)
        self._listen(client, *client.waiting_for)

    def _refused(self, client: Client, error: OttlaError) -> None:
        client.next_beat_ms = self.now_ms + TICK_MS
        client.waiting_for = None
        if isinstance(error, FencedMemberEpochError | UnknownMemberIdError):
            client.forget()
        elif isinstance(error, FencedInstanceIdError):
            client.forget()
            client.life += 1
        else:
            client.in_full = True

    def check(self) -> None:
        """G3: of all who read a partition, one at most is a member that could commit what it has read."""
        owners: dict[AssignedPartition, str] = {}
        for client in self.clients:
            if not client.has or not self._may_commit(client):
                continue
            for each in client.has:
                other = owners.setdefault(each, client.member_id)
                assert other == client.member_id, (
                    f"seed {self.seed}: {other} and {client.member_id} both read {each}"
                )
        if G in self.house.coordinator.consumer.groups:
            self._check_group()

    def _may_commit(self, client: Client) -> bool:
        """Whether it would be accepted now or, were it told its newest epoch, then."""
        group = self.house.coordinator.consumer.groups.get(G)
        if group is None or client.member_id not in group.current.members:
            request = OffsetCommitRequest(
                group_id=G, member_id=client.member_id, generation_id_or_member_epoch=client.epoch
            )
            try:
                self.house.coordinator.check_commit(request, self.house.clock)
            except GroupError:
                return False
            raise AssertionError(f"seed {self.seed}: {client.member_id} is no member and commits")
        return True

    def _check_group(self) -> None:
        for state in (self.house.group.current, self.house.group.committed):
            given: dict[AssignedPartition, str] = {}
            for member in state.members.values():
                assert not member.assigned & member.revoking
                for each in member.has:
                    assert given.setdefault(each, member.member_id) == member.member_id
            assert given == state.owners, f"seed {self.seed}"

    def settled(self) -> bool:
        """Whether every partition is read by exactly one who asked, as evenly as can be."""
        living = [each for each in self.clients if not each.stopped]
        wanted = self.house.topics.partitions({name for each in living for name in each.topics})
        everything = {
            AssignedPartition(topic, number)
            for topic, count in wanted.items()
            for number in range(count)
        }
        read = [each for client in living for each in client.has]
        if len(read) != len(set(read)) or set(read) != everything:
            return False
        loads = [len(each.has) for each in living]
        return not self.same_topics or not loads or max(loads) - min(loads) <= 1

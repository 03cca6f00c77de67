"""A group whose processes change their protocol by restarts, one by one and there and back, under the faults of
`consumer_simulation`; besides, requests to join come late and twice, and the log refuses records.
"""

from collections import Counter
from collections.abc import Callable

from cluster.groups.errors import CoordinatorNotAvailableError
from cluster.groups.reconciliation import AssignedPartition
from cluster.groups.settings import GroupSettings, MigrationPolicy
from cluster.groups.step import Step
from tests.cluster.groups.bridge_house import BridgeHouse
from tests.cluster.groups.classic_client import ClassicClient
from tests.cluster.groups.consumer_house import G
from tests.cluster.groups.consumer_simulation import (
    INTERVAL_MS,
    SESSION_MS,
    TICK_MS,
    Client,
    Simulation,
)


class BridgeWorld(BridgeHouse):
    """`refuses`: whether the log takes no more at the moment. seen_joins: what was asked, for it to come once more."""

    refuses: Callable[[], bool] = staticmethod(lambda: False)

    def perform(self, step: Step) -> None:
        if not step.records or not self.refuses():
            super().perform(step)
            return
        cause = CoordinatorNotAvailableError("too few replicas")
        for ticket, _ in step.answers:
            self.answers[ticket] = cause
        if step.lost is not None:
            self.perform(step.lost(cause))


class BridgeSimulation(Simulation):
    """Each place has a process of one protocol or the other; `new_share` of those that start have the new one."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, same_topics=seed % 2 == 0)
        policy = MigrationPolicy.UPGRADE if seed % 5 == 4 else MigrationPolicy.BIDIRECTIONAL
        settings = GroupSettings(
            consumer_session_timeout_ms=SESSION_MS,
            consumer_heartbeat_interval_ms=INTERVAL_MS,
            initial_rebalance_delay_ms=self.rng.choice((0, 1_000)),
            consumer_migration_policy=policy,
        )
        self.world = BridgeWorld({"t": 7, "u": 3, "v": 2}, settings)
        self.world.refuses = lambda: self.faults and self.rng.random() < 0.02
        self.house = self.world
        self.new_share = 0.0
        self.seen: Counter[str] = Counter()
        self._late: list[tuple[int, ClassicClient]] = []
        cooperative = seed % 3 != 0
        self.classics = [
            ClassicClient(each.name, each.topics, each.instance_id, cooperative, self.rng)
            for each in self.clients
        ]
        for client, classic in zip(self.clients, self.classics, strict=True):
            client.stopped = True
            classic.start(self.now_ms)

    def step_of_all(self) -> None:
        """What every classic process does in a tick; the others are the base's."""
        for classic in self.rng.sample(self.classics, len(self.classics)):
            if classic.running and classic.paused_until_ms <= self.now_ms:
                self._count(classic)
                classic.step(self.world, self.now_ms, self._lost())
            elif not classic.running and self._is_vacant(classic):
                # Whoever looks after processes starts it again.
                classic.start(self.now_ms + TICK_MS)

    def _count(self, classic: ClassicClient) -> None:
        if classic.has and G in self.world.coordinator.consumer.groups:
            self.seen["classic among new"] += 1

    def _is_vacant(self, classic: ClassicClient) -> bool:
        return self.clients[self.classics.index(classic)].stopped

    def run(self, ms: int) -> None:
        end = self.now_ms + ms
        while self.now_ms < end:
            was = self._protocol()
            super().run(TICK_MS)
            self._repeat_joins()
            self.step_of_all()
            self.check()
            self.seen[f"{was} to {self._protocol()}"] += 1

    def _protocol(self) -> str:
        coordinator = self.world.coordinator
        if G in coordinator.groups:
            return "classic" if coordinator.groups[G].members else "empty"
        group = coordinator.consumer.groups.get(G)
        return "empty" if group is None or not group.current.members else "new"

    def _repeat_joins(self) -> None:
        """A join that took another way comes late: its answer reaches nobody."""
        if not self.faults:
            self._late.clear()
        for at_ms, classic in [each for each in self._late if each[0] <= self.now_ms]:
            self._late.remove((at_ms, classic))
            if classic.member_id:
                self.seen["late joins"] += 1
                self.world.ask_join(
                    classic.member_id,
                    topics=classic.topics,
                    instance=classic.instance,
                    protocols=classic.protocols,
                )

    def _harm(self) -> None:
        super()._harm()
        for client, classic in zip(self.clients, self.classics, strict=True):
            client.stopped = client.stopped or classic.running
        number = self.rng.randrange(len(self.clients))
        client, classic = self.clients[number], self.classics[number]
        dice = self.rng.random()
        if dice < 0.03:
            self.replace(client, classic)
        elif dice < 0.04:
            classic.paused_until_ms = self.now_ms + self.rng.choice((1_000, 12_000))
        elif dice < 0.05 and not classic.cooperative:
            self._late.append((self.now_ms + self.rng.randrange(5_000), classic))

    def _restart(self, client: Client) -> None:
        if not client.stopped:
            super()._restart(client)

    def replace(self, client: Client, classic: ClassicClient) -> None:
        """A process ends and another one begins in its place."""
        orderly = self.rng.random() < 0.7
        if classic.running:
            if orderly and classic.instance is None and classic.member_id:
                self.world.classic_leave(classic.member_id)
            classic.stop()
        else:
            if orderly:
                self._say_goodbye(client, -2 if client.instance_id else -1)
            client.forget()
            client.life += 1
            client.waiting_for = None
        begins_ms = self.now_ms + self.rng.choice((0, 1_000))
        client.stopped = self.rng.random() >= self.new_share
        client.next_beat_ms = begins_ms
        if client.stopped:
            classic.start(begins_ms)

    def check(self) -> None:
        super().check()
        owners: dict[AssignedPartition, str] = {}
        for client in self.clients:
            if client.has and self._may_commit(client):
                owners |= dict.fromkeys(client.has, client.member_id)
        for classic in self.classics:
            if not classic.has:
                continue
            if self.world.may_commit(classic.member_id, classic.generation) != "NONE":
                continue
            for each in classic.has:
                other = owners.setdefault(each, classic.member_id)
                assert other == classic.member_id, (
                    f"seed {self.seed}: {other} and {classic.member_id} both read {each}"
                )

    def settled(self) -> bool:
        """Whether every partition is read by exactly one who asked, as evenly as can be."""
        names = {name for each in self.classics for name in each.topics}
        everything = {
            AssignedPartition(topic, number)
            for topic, count in self.world.topics.partitions(names).items()
            for number in range(count)
        }
        shares = [
            classic.has if classic.running else client.has
            for client, classic in zip(self.clients, self.classics, strict=True)
        ]
        read = [each for share in shares for each in share]
        if len(read) != len(set(read)) or set(read) != everything:
            return False
        loads = [len(each) for each in shares]
        return not self.same_topics or max(loads) - min(loads) <= 1

"""Where the replicas of new partitions go: leaders evenly over brokers, replicas over racks, the dead last.

In effect Kafka's StripedReplicaPlacer. Each replica goes to the broker that suits best by (alive, rack not yet used
by this partition, little load, seldom behind this leader), chance deciding between equals, so that the partitions of
a lost leader are taken over by all the others alike.
"""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct


class UsableBroker(Struct, frozen=True):
    """A broker that may hold replicas. An empty rack is a rack of its own kind: no rack."""

    node_id: int
    rack: str = ""
    alive: bool = True


class _Load:
    """What the partitions placed so far weigh."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.leaders: Counter[int] = Counter()
        self.replicas: Counter[int] = Counter()
        self.heirs: Counter[tuple[int, int]] = Counter()

    def add(self, replicas: Sequence[int]) -> None:
        self.leaders[replicas[0]] += 1
        self.replicas.update(replicas)
        if len(replicas) > 1:
            self.heirs[replicas[0], replicas[1]] += 1

    def best_leader(self, brokers: Iterable[UsableBroker]) -> UsableBroker:
        return min(
            brokers,
            key=lambda broker: (
                not broker.alive,
                self.leaders[broker.node_id],
                self.replicas[broker.node_id],
                self.rng.random(),
            ),
        )

    def best_follower(
        self, brokers: Iterable[UsableBroker], leader: int, racks: Counter[str]
    ) -> UsableBroker:
        return min(
            brokers,
            key=lambda broker: (
                not broker.alive,
                racks[broker.rack],
                self.replicas[broker.node_id],
                self.heirs[leader, broker.node_id],
                self.rng.random(),
            ),
        )


def place(
    brokers: Sequence[UsableBroker],
    partitions: int,
    replication_factor: int,
    rng: random.Random,
    existing: Iterable[Sequence[int]] = (),
) -> list[tuple[int, ...]]:
    """Replicas of `partitions` new partitions, preferred leader first; `existing` ones of the same topic weigh in."""
    assert 1 <= replication_factor <= len(brokers), (replication_factor, len(brokers))
    load = _Load(rng)
    for replicas in existing:
        load.add(replicas)
    placed = []
    for _ in range(partitions):
        replicas = _place_one(brokers, replication_factor, load)
        load.add(replicas)
        placed.append(replicas)
    return placed


def _place_one(
    brokers: Sequence[UsableBroker], replication_factor: int, load: _Load
) -> tuple[int, ...]:
    leader = load.best_leader(brokers)
    chosen = [leader.node_id]
    racks = Counter([leader.rack])
    left = [broker for broker in brokers if broker is not leader]
    while len(chosen) < replication_factor:
        follower = load.best_follower(left, leader.node_id, racks)
        chosen.append(follower.node_id)
        racks[follower.rack] += 1
        left.remove(follower)
    return tuple(chosen)

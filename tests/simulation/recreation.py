"""Topics that are deleted and made anew under the same name, under faults: identity is the topic's id (I8).

Clients go by name, so a client may write to the old topic while the new one is there already. What must hold goes by
id: what was acknowledged under an id is in that topic's log, and nothing is in it that was not written under its id.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from cluster.broker import Broker
from cluster.handlers.produce import ACKS_ALL, PartitionBatches, ProduceHandler
from kraft.metadata.requests import ControllerRequest, CreateTopics, DeleteTopics, NewTopic
from storage.errors import OttlaError
from storage.records import BatchBuilder
from tests.simulation.cluster import TOPIC, SimCluster, until
from tests.simulation.faults import Fault, random_faults, suffer
from tests.simulation.invariants import Watcher
from tests.simulation.scenario import HEAL_S, peace, settled, well, whole_log
from tests.simulation.workload import call, leader_of


@dataclass
class Lives:
    """By topic id: what was sent to a broker that knew the topic by it, and what of that was acknowledged."""

    sent: dict[UUID, set[str]] = field(default_factory=dict)
    acked: dict[UUID, dict[str, int]] = field(default_factory=dict)


async def run_recreation(
    seed: int, faults: Sequence[Fault] | None = None, *, seconds: float = 5.0
) -> int:
    """Run it all. Returns how many topics there were in turn. Raises AssertionError."""
    cluster = SimCluster(seed, 3)
    cluster.start()
    lives = Lives()
    stop = asyncio.Event()
    schedule = random_faults(cluster, seconds) if faults is None else faults
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Watcher(cluster).run(stop))
        churning = tasks.create_task(_churn(cluster, cluster.stream("admin"), stop))
        for number in range(3):
            tasks.create_task(_produce(cluster, lives, number, stop))
        await suffer(cluster, schedule, seconds)
        stop.set()
        await well(cluster)
        await churning
    await peace(cluster, 1)
    await until(lambda: settled(cluster, 1), HEAL_S, "equal replicas everywhere")
    _check(cluster, lives)
    for node in cluster.nodes:
        node.check_outcome()
    await cluster.stop()
    return len(lives.acked)


async def _churn(cluster: SimCluster, rng: random.Random, stop: asyncio.Event) -> None:
    """Create, delete, create; at the end the topic is there."""
    topic = NewTopic(
        name=TOPIC, partitions=1, replication_factor=3, configs={"min.insync.replicas": "2"}
    )
    while True:
        await _ask(
            cluster, rng, CreateTopics(topics=(topic,)), lambda broker: _id(broker) is not None
        )
        if stop.is_set():
            return
        await asyncio.sleep(rng.uniform(0.2, 0.8))
        if stop.is_set():
            return
        old = {found for broker in cluster.brokers() if (found := _id(broker)) is not None}
        await _ask(
            cluster,
            rng,
            DeleteTopics(names=(TOPIC,)),
            lambda broker, old=old: _id(broker) not in old,
        )


async def _ask(cluster: SimCluster, rng: random.Random, request: ControllerRequest, done) -> None:  # type: ignore[no-untyped-def]
    while True:
        brokers = cluster.brokers()
        if brokers:
            broker = rng.choice(brokers)
            try:
                await call(cluster, rng, broker, broker.admin.change(request, 1.0))
            except (OttlaError, TimeoutError):
                pass
            else:
                if done(broker):
                    return
        await asyncio.sleep(0.05)


def _id(broker: Broker) -> UUID | None:
    topic = broker.image.topic(TOPIC)
    return topic.topic_id if topic is not None else None


async def _produce(cluster: SimCluster, lives: Lives, number: int, stop: asyncio.Event) -> None:
    rng = cluster.stream(f"producer {number}")
    count = 0
    while not stop.is_set():
        await asyncio.sleep(rng.uniform(0.002, 0.03))
        broker = leader_of(cluster, 0, rng)
        if broker is None:
            continue
        count += 1
        try:
            await call(cluster, rng, broker, _send(cluster, broker, lives, f"{number}/{count}"))
        except (OttlaError, TimeoutError):
            continue


async def _send(cluster: SimCluster, broker: Broker, lives: Lives, value: str) -> None:
    builder = BatchBuilder()
    builder.append(cluster.wall_ms(), None, value.encode())
    topic_id = _id(broker)
    results = broker.produce.begin([PartitionBatches(TOPIC, 0, builder.build())], ACKS_ALL)
    if topic_id is None or results[0].error is not None:
        return
    lives.sent.setdefault(topic_id, set()).add(value)
    await ProduceHandler.finish(results, 1.0)
    if results[0].error is None:
        lives.acked.setdefault(topic_id, {})[value] = results[0].base_offset


def _check(cluster: SimCluster, lives: Lives) -> None:
    topic_id = _id(cluster.brokers()[0])
    assert topic_id is not None
    log = dict(whole_log(cluster, 0))
    strangers = set(log.values()) - lives.sent.get(topic_id, set())
    assert not strangers, f"records of another topic of the same name: {sorted(strangers)[:5]}"
    for value, offset in lives.acked.get(topic_id, {}).items():
        assert log.get(offset) == value, f"acknowledged {value} at {offset} is lost"

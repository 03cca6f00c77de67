"""One run: a workload under a schedule of faults, then peace, then the check."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.broker import Broker
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from storage.record_stream import decode_batches
from tests.simulation.cluster import TOPIC, SimCluster, until
from tests.simulation.faults import NORMAL_S, Fault, random_faults, suffer
from tests.simulation.invariants import Watcher
from tests.simulation.workload import History, create_topic, produce, read

HEAL_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a run came to, for those who compare runs."""

    trace: str
    acked: int
    virtual_s: float


async def run_scenario(
    seed: int,
    faults: Sequence[Fault] | None = None,
    *,
    seconds: float = 6.0,
    nodes: int = 3,
    partitions: int = 2,
    **settings: Any,
) -> Outcome:
    """Run it all; `faults` are drawn from the seed when there are none. Raises AssertionError for a broken promise."""
    cluster = SimCluster(seed, nodes, **settings)
    history = History()
    cluster.start()
    await create_topic(cluster, cluster.stream("admin"), partitions, min_isr=min(2, nodes))
    stop = asyncio.Event()
    schedule = random_faults(cluster, seconds) if faults is None else faults
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Watcher(cluster).run(stop))
        for partition in range(partitions):
            tasks.create_task(read(cluster, history, partition, stop))
            for number in (1, 2):
                name = f"p{partition * 10 + number}"
                tasks.create_task(produce(cluster, history, partition, name, stop))
        await suffer(cluster, schedule, seconds)
        await peace(cluster, partitions)
        stop.set()
    await check_end(cluster, history, partitions)
    acked = sum(len(values) for values in history.acked.values())
    outcome = Outcome(cluster.network.trace, acked, asyncio.get_running_loop().time())
    await cluster.stop()
    return outcome


async def check_end(cluster: SimCluster, history: History, partitions: int) -> None:
    """All replicas become equal, and hold what was promised."""
    await until(lambda: settled(cluster, partitions), HEAL_S, "equal replicas everywhere")
    for partition in range(partitions):
        history.check_final(partition, whole_log(cluster, partition))
    for node in cluster.nodes:
        node.check_outcome()


async def peace(cluster: SimCluster, partitions: int) -> None:
    """Heal everything; the cluster must come back by itself."""
    await well(cluster)
    await until(
        lambda: _healthy(cluster, partitions), HEAL_S, "a leader and a full ISR for every partition"
    )


async def well(cluster: SimCluster) -> None:
    """Network and disks work again, all nodes are up; who had a bad disk has had its machine restarted."""
    cluster.network.break_chance = 0.0
    cluster.network.delay_s = NORMAL_S
    cluster.network.heal()
    for node in cluster.nodes:
        node.disk.capacity = None
        if node.disk.failing is not None:
            await node.crash(power_loss=True)
            node.disk.failing = None
    cluster.start()


def _healthy(cluster: SimCluster, partitions: int) -> bool:
    brokers = cluster.brokers()
    if len(brokers) < len(cluster.nodes):
        return False
    for broker, partition in itertools.product(brokers, range(partitions)):
        found = broker.image.partition(TOPIC, partition)
        if found is None or found.leader < 0 or len(found.isr) < len(cluster.nodes):
            return False
    return True


def settled(cluster: SimCluster, partitions: int) -> bool:
    """All replicas of each partition end at the same offset, and all of it is committed."""
    if not _healthy(cluster, partitions):
        return False
    for partition in range(partitions):
        ends = set()
        for broker in cluster.brokers():
            replica = _replica(broker, partition)
            if replica is None:
                return False
            ends.add(replica.log.log_end_offset)
            if isinstance(replica.role, LeaderState):
                ends.add(replica.high_watermark)
        if len(ends) != 1:
            return False
    return True


def _replica(broker: Broker, partition: int) -> Partition | None:
    topic = broker.image.topic(TOPIC)
    assert topic is not None
    return broker.replicas.partitions.get(TopicIdPartition(topic.topic_id, partition))


def whole_log(cluster: SimCluster, partition: int) -> list[tuple[int, str]]:
    """The log, which must be the same on every replica."""
    logs = []
    for broker in cluster.brokers():
        replica = _replica(broker, partition)
        assert replica is not None
        log = replica.log
        records: list[tuple[int, str]] = []
        offset = log.log_start_offset
        while offset < log.log_end_offset:
            data = log.read(offset, 1 << 20, end_offset=log.log_end_offset)
            records += (
                (each.offset, (each.value or b"").decode()) for each in decode_batches(data)
            )
            offset = records[-1][0] + 1
        logs.append(records)
    for other in logs[1:]:
        assert other == logs[0], f"replicas of partition {partition} differ"
    return logs[0]

"""One run: a workload under a schedule of faults, then peace, then the check."""

import asyncio
import itertools
from dataclasses import dataclass

from cluster.broker import Broker
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from storage.record_stream import decode_batches
from tests.simulation.cluster import SimCluster, until
from tests.simulation.workload import TOPIC, History, create_topic, produce, read

HEAL_S = 60.0
KINDS = (
    *("crash", "power", "power_all", "restart") * 2,
    *("cut", "cut_one_way", "heal", "breaks"),
)


@dataclass(frozen=True)
class Fault:
    """What happens at a time. kind: crash, power, power_all, cut, cut_one_way, heal, restart, breaks."""

    at_s: float
    kind: str
    node: int = 1
    other: int = 2


@dataclass(frozen=True)
class Outcome:
    """What a run came to, for those who compare runs."""

    trace: str
    acked: int
    virtual_s: float


def random_faults(cluster: SimCluster, seconds: float) -> list[Fault]:
    """A schedule drawn from the seed."""
    rng = cluster.stream("faults")
    faults = []
    at_s = rng.uniform(0.2, 1.0)
    nodes = len(cluster.nodes)
    while at_s < seconds:
        kind = rng.choice(
            [
                "crash",
                "power",
                "crash",
                "power",
                "cut",
                "cut_one_way",
                "heal",
                "restart",
                "restart",
                "breaks",
                "power_all",
            ]
        )
        node = rng.randint(1, nodes)
        other = (
            rng.choice([each for each in range(1, nodes + 1) if each != node]) if nodes > 1 else 1
        )
        faults.append(Fault(at_s, kind, node, other))
        at_s += rng.expovariate(1.2)
    return faults


async def run_scenario(
    seed: int,
    faults: list[Fault] | None = None,
    *,
    seconds: float = 6.0,
    nodes: int = 3,
    partitions: int = 2,
) -> Outcome:
    """Run it all. Raises AssertionError when a promise is broken."""
    cluster = SimCluster(seed, nodes)
    history = History()
    cluster.start()
    await create_topic(cluster, cluster.stream("admin"), partitions, min_isr=min(2, nodes))
    stop = asyncio.Event()
    schedule = random_faults(cluster, seconds) if faults is None else faults
    async with asyncio.TaskGroup() as tasks:
        for partition in range(partitions):
            tasks.create_task(read(cluster, history, partition, stop))
            for number in (1, 2):
                name = f"p{partition * 10 + number}"
                tasks.create_task(produce(cluster, history, partition, name, stop))
        await _suffer(cluster, schedule, seconds)
        await _peace(cluster, partitions)
        stop.set()
    await until(lambda: _settled(cluster, partitions), HEAL_S, "equal replicas everywhere")
    for partition in range(partitions):
        history.check_final(partition, _whole_log(cluster, partition))
    _check_unexpected(cluster)
    acked = sum(len(values) for values in history.acked.values())
    outcome = Outcome(cluster.network.trace, acked, asyncio.get_running_loop().time())
    await cluster.stop()
    return outcome


async def _suffer(cluster: SimCluster, schedule: list[Fault], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for fault in sorted(schedule, key=lambda each: each.at_s):
        await asyncio.sleep(max(0.0, began_s + fault.at_s - loop.time()))
        cluster.network.note(f"fault {fault}")
        await _strike(cluster, fault)
    await asyncio.sleep(max(0.0, began_s + seconds - loop.time()))


async def _strike(cluster: SimCluster, fault: Fault) -> None:
    node = cluster.node(fault.node)
    match fault.kind:
        case "crash" | "power":
            await node.crash(power_loss=fault.kind == "power")
        case "power_all":
            for each in cluster.nodes:
                await each.crash(power_loss=True)
            cluster.start()
        case "cut":
            cluster.network.cut_way(fault.node, fault.other)
            cluster.network.cut_way(fault.other, fault.node)
        case "cut_one_way":
            cluster.network.cut_way(fault.node, fault.other)
        case "heal":
            cluster.network.heal()
        case "restart":
            cluster.start()
        case "breaks":
            cluster.network.break_chance = 0.0 if cluster.network.break_chance else 0.01
        case other:
            raise AssertionError(f"no such fault: {other}")


async def _peace(cluster: SimCluster, partitions: int) -> None:
    """Heal everything; the cluster must come back by itself."""
    cluster.network.break_chance = 0.0
    cluster.network.heal()
    cluster.start()
    await until(
        lambda: _healthy(cluster, partitions), HEAL_S, "a leader and a full ISR for every partition"
    )


def _healthy(cluster: SimCluster, partitions: int) -> bool:
    brokers = cluster.brokers()
    if len(brokers) < len(cluster.nodes):
        return False
    for broker, partition in itertools.product(brokers, range(partitions)):
        found = broker.image.partition(TOPIC, partition)
        if found is None or found.leader < 0 or len(found.isr) < len(cluster.nodes):
            return False
    return True


def _settled(cluster: SimCluster, partitions: int) -> bool:
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


def _whole_log(cluster: SimCluster, partition: int) -> list[tuple[int, str]]:
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


def _check_unexpected(cluster: SimCluster) -> None:
    for node in cluster.nodes:
        error = node.outcome()
        assert error is None, f"node {node.node_id} ended by itself: {error!r}"

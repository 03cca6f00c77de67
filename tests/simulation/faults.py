"""Faults as data: what happens when, so that a schedule can be drawn, written down, or shrunk by hypothesis."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cluster.replication.disk_guard import RESERVE_BYTES
from tests.simulation.cluster import TOPIC, SimCluster

# One node, or a pair of them, and how often each is drawn.
KINDS = (
    *("crash", "power", "restart") * 3,
    *("power_all", "heal", "heal", "breaks"),
    *("full_disk", "room", "bad_disk", "bad_logs"),
    *("slow", "slow"),
    *("cut", "cut_one_way", "isolate", "deafen", "mute"),
)
FATAL = ("crash", "power")
SLOW_S = (0.0002, 0.12)
NORMAL_S = (0.0002, 0.002)
BREAK_CHANCE = 0.01
# Instead of a node's number: who leads partition 0, or the metadata quorum, when the fault strikes.
LEADER, CONTROLLER = 0, -1


@dataclass(frozen=True)
class Fault:
    """What happens at a time. Seconds since the load began.

    crash: the process dies. power: so do its unsynced bytes. power_all: of all nodes, which start again at once.
    restart: whoever is down starts. roll: node leaves in peace and starts again.
    cut: no way between node and other. cut_one_way: none from node to other.
    isolate: node is cut from all, mute: it is not heard, deafen: it hears nothing. heal: all ways are open.
    bad_disk: from now on no sync succeeds on node. bad_logs: none of a partition's log.
    full_disk: no room is left on node but for the metadata. room: there is room again, everywhere.
    slow: everything takes up to SLOW_S on its way, or no longer.
    breaks: connections begin, or cease, to break by chance; that is what loss of messages looks like over TCP.
    """

    at_s: float
    kind: str
    node: int = 1
    other: int = 2


def random_faults(cluster: SimCluster, seconds: float) -> list[Fault]:
    """A schedule drawn from the seed."""
    rng = cluster.stream("faults")
    faults = []
    at_s = rng.uniform(0.2, 1.0)
    ids = [node.node_id for node in cluster.nodes]
    while at_s < seconds:
        node = rng.choice(ids)
        other = rng.choice([each for each in ids if each != node] or ids)
        kind = rng.choice(KINDS)
        faults.append(Fault(at_s, kind, node, other))
        if kind in FATAL and rng.random() < 0.6:
            faults.append(Fault(at_s + rng.uniform(0.1, 1.0), "restart"))
        at_s += rng.expovariate(1.2)
    return faults


async def suffer(cluster: SimCluster, schedule: Iterable[Fault], seconds: float) -> None:
    """Let every fault of the schedule happen, then wait until `seconds` are over."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    for fault in sorted(schedule, key=lambda each: each.at_s):
        await asyncio.sleep(max(0.0, began_s + fault.at_s - loop.time()))
        cluster.network.note(f"fault {fault}")
        await strike(cluster, fault)
    await asyncio.sleep(max(0.0, began_s + seconds - loop.time()))


def _strike_disk(cluster: SimCluster, fault: Fault) -> None:
    disk = cluster.node(fault.node).disk
    match fault.kind:
        case "bad_disk":
            disk.failing = ""
        case "bad_logs":
            disk.failing = f"{TOPIC}-"
        case "full_disk":
            disk.capacity = disk.used_bytes() + RESERVE_BYTES - 1
        case "room":
            for each in cluster.nodes:
                each.disk.capacity = None


def _strike_network(cluster: SimCluster, fault: Fault) -> None:
    network = cluster.network
    match fault.kind:
        case "cut" | "cut_one_way":
            network.cut_way(fault.node, fault.other)
            if fault.kind == "cut":
                network.cut_way(fault.other, fault.node)
        case "isolate" | "mute" | "deafen":
            _cut_from_all(cluster, fault)
        case "heal":
            network.heal()
        case "slow":
            network.delay_s = SLOW_S if network.delay_s != SLOW_S else NORMAL_S
        case "breaks":
            network.break_chance = 0.0 if network.break_chance else BREAK_CHANCE
        case other:
            raise AssertionError(f"no such fault: {other}")


async def strike(cluster: SimCluster, fault: Fault) -> None:
    """One fault, now."""
    fault = replace(fault, node=_resolve(cluster, fault.node), other=_resolve(cluster, fault.other))
    node = cluster.node(fault.node)
    match fault.kind:
        case "crash" | "power":
            await node.crash(power_loss=fault.kind == "power")
        case "power_all":
            for each in cluster.nodes:
                await each.crash(power_loss=True)
            cluster.start()
        case "roll":
            await node.leave()
            cluster.start()
        case "restart":
            cluster.start()
        case "bad_disk" | "bad_logs" | "full_disk" | "room":
            _strike_disk(cluster, fault)
        case _:
            _strike_network(cluster, fault)


def _resolve(cluster: SimCluster, node: int) -> int:
    if node > 0:
        return node
    found = leader_id(cluster) if node == LEADER else controller_id(cluster)
    return found or 1


def leader_id(cluster: SimCluster, partition: int = 0) -> int | None:
    """Who leads a partition, by the newest image that a living node has."""
    images = [broker.image for broker in cluster.brokers()]
    newest = max(images, key=lambda image: image.offset, default=None)
    found = newest.partition(TOPIC, partition) if newest is not None else None
    return found.leader if found is not None and found.leader > 0 else None


def controller_id(cluster: SimCluster) -> int | None:
    """Who leads the metadata quorum, in the highest term that a living node knows."""
    nodes = [broker.driver.node for broker in cluster.brokers()]
    newest = max(nodes, key=lambda node: node.term, default=None)
    return newest.leader_id if newest is not None else None


def _cut_from_all(cluster: SimCluster, fault: Fault) -> None:
    for each in cluster.nodes:
        if each.node_id == fault.node:
            continue
        if fault.kind != "deafen":
            cluster.network.cut_way(fault.node, each.node_id)
        if fault.kind != "mute":
            cluster.network.cut_way(each.node_id, fault.node)

"""Fault schedules with a name: each is a way in which others lost, doubled or made up records."""

import asyncio

import pytest

from cluster.broker import Broker
from cluster.errors import NotLeaderError
from cluster.handlers.fetch import FetchFrom
from cluster.handlers.produce import ACKS_ALL, ACKS_LEADER, PartitionBatches, ProduceHandler
from cluster.replication.disk_guard import RESERVE_BYTES
from kraft.metadata.records import ConfigResource, ResourceType
from kraft.metadata.replies import ConfigsAltered
from kraft.metadata.requests import AlterConfigs, ConfigChange
from storage.errors import DiskFullError, OttlaError
from storage.records import BatchBuilder
from tests.simulation.cluster import TOPIC, SimCluster, SimNode, until
from tests.simulation.faults import CONTROLLER, LEADER, Fault, leader_id
from tests.simulation.loop import simulate
from tests.simulation.scenario import run_scenario
from tests.simulation.workload import create_topic

SEEDS = range(3)
# More than the quorum keeps behind a snapshot for those who lag (RaftConfig.trailing_entries).
CHANGES = 1100


def rolls(seconds: float) -> list[Fault]:
    return [
        Fault(at_s, "roll", 1 + index % 3) for index, at_s in enumerate(range(1, int(seconds), 2))
    ]


SCHEDULES = {
    "the leader is cut from the controller, not from its followers": [
        Fault(0.5, "cut", LEADER, CONTROLLER),
        Fault(3.5, "heal"),
    ],
    "the leader is not heard": [Fault(0.5, "mute", LEADER), Fault(3.5, "heal")],
    "the leader hears nothing": [Fault(0.5, "deafen", LEADER), Fault(3.5, "heal")],
    "the controller is not heard": [Fault(0.5, "mute", CONTROLLER), Fault(3.5, "heal")],
    "one way to the leader is cut, then it loses power": [
        Fault(0.5, "cut_one_way", 1, LEADER),
        Fault(1.5, "power", LEADER),
        Fault(3.0, "heal"),
        Fault(3.1, "restart"),
    ],
    "every node loses power, again and again": [
        Fault(0.4 + 0.7 * index, "power_all") for index in range(6)
    ],
    "the leader dies, the next leader dies (KIP-279)": [
        Fault(0.5, "crash", LEADER),
        Fault(1.0, "restart"),
        Fault(1.1, "power", LEADER),
        Fault(1.6, "restart"),
        Fault(1.7, "power", LEADER),
        Fault(2.4, "restart"),
    ],
    "the last one standing loses power (KIP-966)": [
        Fault(0.5, "power", 1),
        Fault(1.0, "power", 2),
        Fault(2.0, "power", 3),
        Fault(2.1, "restart"),
    ],
    "controller and leader die together": [
        Fault(0.5, "power", LEADER),
        Fault(0.5, "power", CONTROLLER),
        Fault(2.0, "restart"),
    ],
    "the leader's disk dies (S1)": [Fault(0.5, "bad_disk", LEADER)],
    "the leader's partition logs cannot be synced (S1, KAFKA-10778)": [
        Fault(0.5, "bad_logs", LEADER),
    ],
    "a follower's partition logs cannot be synced, then the leader dies": [
        Fault(0.5, "bad_logs", 1),
        Fault(1.5, "power", LEADER),
        Fault(2.5, "restart"),
    ],
    "the leader's disk is full, then there is room again (S7)": [
        Fault(0.5, "full_disk", LEADER),
        Fault(3.0, "room"),
    ],
    "a follower's disk is full, then the leader dies (S7)": [
        Fault(0.5, "full_disk", 1),
        Fault(0.6, "full_disk", 2),
        Fault(1.5, "power", LEADER),
        Fault(2.5, "restart"),
        Fault(3.0, "room"),
    ],
    "all disks are full (S7)": [
        *(Fault(0.5, "full_disk", node) for node in (1, 2, 3)),
        Fault(3.0, "room"),
    ],
    "rolling restarts": rolls(8),
    "everything is slow while leaders move": [
        Fault(0.1, "slow"),
        Fault(0.8, "power", LEADER),
        Fault(1.6, "restart"),
        Fault(2.6, "crash", LEADER),
        Fault(3.2, "restart"),
        Fault(4.2, "power", LEADER),
    ],
    "connections break while leaders move": [Fault(0.1, "breaks"), *rolls(6)],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str) -> None:
    for seed in SEEDS:
        outcome = simulate(run_scenario(seed, SCHEDULES[name], seconds=5.0))
        assert outcome.acked > 0, seed


def batch(value: bytes) -> bytes:
    builder = BatchBuilder()
    builder.append(1_700_000_000_000, None, value)
    return builder.build()


async def produce(broker: Broker, acks: int, timeout_s: float) -> None:
    results = broker.produce.begin([PartitionBatches(TOPIC, 0, batch(b"x"))], acks)
    await ProduceHandler.finish(results, timeout_s)
    if results[0].error is not None:
        raise results[0].error


def fill(node: SimNode) -> None:
    """Its disk has no room left but for the metadata."""
    node.disk.capacity = node.disk.used_bytes() + RESERVE_BYTES - 1


async def start(seed: int, nodes: int = 3, **settings: int) -> SimCluster:
    """A cluster with one partition, led by somebody, all in sync."""
    cluster = SimCluster(seed, nodes, **settings)
    cluster.start()
    await create_topic(cluster, cluster.stream("admin"), 1, min_isr=min(2, nodes))

    def in_sync() -> bool:
        replicas = [each for broker in cluster.brokers() for each in broker.replicas.led()]
        return any(len(each.leader().isr) == nodes for each in replicas)

    await until(in_sync, 10.0, "a full ISR")
    return cluster


def test_a_leader_cut_from_the_others_never_acknowledges_again() -> None:
    """I7: clients still reach it, and are told to look elsewhere once its lease is over."""

    async def run() -> None:
        cluster = await start(1)
        loop = asyncio.get_running_loop()
        old_id = leader_id(cluster)
        assert old_id is not None
        old = cluster.node(old_id).broker
        assert old is not None
        await produce(old, ACKS_ALL, 1.0)
        for other in (1, 2, 3):
            cluster.network.cut_way(old_id, other)
            cluster.network.cut_way(other, old_id)
        cut_s = loop.time()
        session_s = old.config.broker_session_timeout_ms / 1000
        while loop.time() < cut_s + 3 * session_s:
            with pytest.raises(Exception, match=r"confirm|lead") as refusal:
                await produce(old, ACKS_ALL, 0.1)
            if loop.time() > cut_s + session_s + 0.1:
                assert isinstance(refusal.value, NotLeaderError)
                with pytest.raises(NotLeaderError):
                    await produce(old, ACKS_LEADER, 0.1)
                assert isinstance(
                    old.fetch.read(FetchFrom(TOPIC, 0, 0, -1, 1 << 20), 1 << 20).error,
                    NotLeaderError,
                )
            await asyncio.sleep(0.05)
        new_id = leader_id(cluster)
        assert new_id not in (None, old_id)
        new = cluster.node(new_id or 0).broker
        assert new is not None
        await produce(new, ACKS_ALL, 1.0)
        await cluster.stop()

    simulate(run())


def test_a_leader_whose_log_cannot_be_synced_is_replaced_and_comes_back_after_a_restart() -> None:
    """S1, KAFKA-10778: it asks to be fenced, so that others lead; what it acknowledged is with them."""

    async def run() -> None:
        cluster = await start(2)
        old_id = leader_id(cluster)
        assert old_id is not None
        node = cluster.node(old_id)
        assert node.broker is not None
        await produce(node.broker, ACKS_ALL, 1.0)
        node.disk.failing = f"{TOPIC}-"
        with pytest.raises(NotLeaderError):
            await produce(node.broker, ACKS_ALL, 1.0)
        await until(lambda: leader_id(cluster) not in (None, old_id), 2.0, "another leader")
        await asyncio.sleep(0.1)
        new = cluster.node(leader_id(cluster) or 0).broker
        assert new is not None
        await produce(new, ACKS_ALL, 1.0)
        assert new.fetch.read(FetchFrom(TOPIC, 0, 0, -1, 1 << 20), 1 << 20).high_watermark >= 2
        assert new.image.brokers[old_id].fenced, "until the operator restarts it"
        await node.crash(power_loss=True)
        node.disk.failing = None
        node.start()
        await until(lambda: len(new_isr(cluster)) == 3, 10.0, "a full ISR")
        await cluster.stop()

    simulate(run())


def new_isr(cluster: SimCluster) -> tuple[int, ...]:
    found = cluster.brokers()[0].image.partition(TOPIC, 0)
    return found.isr if found is not None else ()


def test_a_leader_with_a_full_disk_refuses_reads_on_and_recovers() -> None:
    """S7: before anything is appended, with an error that clients try again on, without a restart."""

    async def run() -> None:
        cluster = await start(3)
        node = cluster.node(leader_id(cluster) or 0)
        broker = node.broker
        assert broker is not None
        await produce(broker, ACKS_ALL, 1.0)
        node.disk.capacity = node.disk.used_bytes() + RESERVE_BYTES // 2
        await asyncio.sleep(1.0)
        end = broker.partition(TOPIC, 0).log.log_end_offset
        with pytest.raises(DiskFullError) as raised:
            await produce(broker, ACKS_ALL, 1.0)
        assert raised.value.retriable
        assert broker.partition(TOPIC, 0).log.log_end_offset == end
        found = broker.fetch.read(FetchFrom(TOPIC, 0, 0, -1, 1 << 20), 1 << 20)
        assert found.next_offset == 1
        await _retain(cluster, 7_200_000)
        node.disk.capacity = None
        await asyncio.sleep(1.0)
        await produce(broker, ACKS_ALL, 1.0)
        await cluster.stop()

    simulate(run())


@pytest.mark.parametrize("seed", range(4))
def test_a_follower_with_a_full_disk_holds_nobody_up_and_comes_back(seed: int) -> None:
    """S7: it leaves the ISR at its own word, long before `replica.lag.time.max.ms`; not when it is needed for it."""

    async def run() -> None:
        cluster = await start(seed, lag_time_max_ms=60_000)
        leads = leader_id(cluster)
        assert leads is not None
        broker = cluster.node(leads).broker
        assert broker is not None
        (partition,) = broker.replicas.led()
        followers = [node for node in cluster.nodes if node.node_id != leads]
        fill(followers[0])
        await asyncio.sleep(1.0)
        await produce(broker, ACKS_ALL, 1.0)
        await until(lambda: len(partition.leader().isr) == 2, 1.0, "a smaller ISR")
        for _ in range(50):
            await produce(broker, ACKS_ALL, 0.5)
            await asyncio.sleep(0.1)
            assert followers[0].node_id not in partition.leader().isr, "back, and still full"

        fill(followers[1])
        await asyncio.sleep(1.0)
        with pytest.raises(OttlaError) as refusal:
            await produce(broker, ACKS_ALL, 3.0)
        assert refusal.value.retriable
        assert len(partition.leader().isr) == 2, "min.insync.replicas"
        for node in followers:
            node.disk.capacity = None
        await until(lambda: len(partition.leader().isr) == 3, 10.0, "a full ISR")
        await produce(broker, ACKS_ALL, 1.0)
        await cluster.stop()

    simulate(run())


def test_a_leader_that_dies_is_replaced_in_a_third_of_a_second() -> None:
    """Promise 2 of DESIGN.md, in virtual time: from the death of the process to the first new acknowledgement."""

    async def run(seed: int) -> float:
        cluster = await start(seed)
        loop = asyncio.get_running_loop()
        old_id = leader_id(cluster)
        assert old_id is not None
        died_s = loop.time()
        await cluster.node(old_id).crash(power_loss=False)
        while True:
            for broker in cluster.brokers():
                results = broker.produce.begin([PartitionBatches(TOPIC, 0, batch(b"y"))], ACKS_ALL)
                if results[0].error is None:
                    await ProduceHandler.finish(results, 5.0)
                    if results[0].error is None:
                        took_s = loop.time() - died_s
                        await cluster.stop()
                        return took_s
            await asyncio.sleep(0.005)
            assert loop.time() - died_s < 30

    took = [simulate(run(seed)) for seed in range(8)]
    assert sorted(took)[len(took) // 2] < 0.35, took


def test_a_node_that_was_away_for_long_comes_back_through_a_snapshot() -> None:
    """R10: and its replicas are in sync again."""

    async def run() -> None:
        cluster = SimCluster(5, 3, metadata_log_max_record_bytes_between_snapshots=1024)
        cluster.start()
        rng = cluster.stream("admin")
        await create_topic(cluster, rng, 2, min_isr=2)
        away = cluster.node(3)
        assert away.broker is not None
        knew = away.broker.driver.status().last_index
        await away.crash(power_loss=True)
        for number in range(CHANGES):
            await _retain(cluster, 3_600_000 + number)
        away.start()

        def equal() -> bool:
            images = [broker.image for broker in cluster.brokers()]
            return len(images) == 3 and all(
                image.configs == images[0].configs
                and all(len(each.isr) == 3 for _, _, each in image.partitions())
                for image in images
            )

        await until(equal, 30.0, "all changes on all nodes, all replicas in sync")
        assert away.broker is not None
        assert away.broker.driver.status().first_index > knew + 1
        await cluster.stop()

    simulate(run())


async def _retain(cluster: SimCluster, retention_ms: int) -> None:
    """One more entry in the metadata log."""
    change = ConfigChange(
        resource=ConfigResource(ResourceType.TOPIC, TOPIC), set={"retention.ms": str(retention_ms)}
    )
    while True:
        try:
            reply = await cluster.brokers()[0].admin.change(AlterConfigs(changes=(change,)), 1.0)
        except OttlaError:
            await asyncio.sleep(0.05)
        else:
            assert isinstance(reply, ConfigsAltered)
            return

"""Consumers that read from followers (KIP-392), under faults: nothing read is taken back there either."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.simulation.cluster import SimCluster, until
from tests.simulation.faults import Fault, random_faults, suffer
from tests.simulation.invariants import Watcher
from tests.simulation.loop import simulate
from tests.simulation.nearby import NearbyReader
from tests.simulation.scenario import check_end, peace
from tests.simulation.workload import History, create_topic, produce

PARTITIONS = 2
CHUNK = 5


async def scenario(
    seed: int, faults: Sequence[Fault] | None = None, seconds: float = 6.0
) -> list[NearbyReader]:
    """A reader in each rack for each partition. Returns them."""
    cluster = SimCluster(seed)
    history = History()
    cluster.start()
    await create_topic(cluster, cluster.stream("admin"), PARTITIONS, min_isr=2)
    stop = asyncio.Event()
    readers = [
        NearbyReader(cluster, history, partition, node.node_id)
        for partition in range(PARTITIONS)
        for node in cluster.nodes
    ]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Watcher(cluster).run(stop))
        for reader in readers:
            tasks.create_task(reader.run(stop))
        for partition in range(PARTITIONS):
            tasks.create_task(produce(cluster, history, partition, f"p{partition}", stop))
        await suffer(
            cluster, random_faults(cluster, seconds) if faults is None else faults, seconds
        )
        await peace(cluster, PARTITIONS)
        before = [reader.read for reader in readers]
        await until(
            lambda: all(
                reader.read > earlier for reader, earlier in zip(readers, before, strict=True)
            ),
            20.0,
            "all readers reading on after all faults",
        )
        stop.set()
    await check_end(cluster, history, PARTITIONS)
    await cluster.stop()
    return readers


def run(seed: int, faults: Sequence[Fault] | None = None) -> list[NearbyReader]:
    try:
        return simulate(scenario(seed, faults))
    except BaseException as error:
        error.add_note(f"seed {seed}")
        raise


@pytest.mark.parametrize("first", range(5000, 5040, CHUNK))
def test_nothing_read_from_a_follower_is_taken_back(first: int) -> None:
    for seed in range(first, first + CHUNK):
        assert sum(reader.from_followers for reader in run(seed)) > 0


def test_without_faults_every_reader_reads_in_its_rack() -> None:
    """Of three replicas two follow."""
    readers = run(4999, ())
    assert sum(bool(reader.from_followers) for reader in readers) == 2 * PARTITIONS

"""Power fails on a real file system: what was not fsynced is gone, and no acknowledged record is.

A killed process leaves its writes in the page cache; here they are lost too, as with a real power cut.
"""

import asyncio
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ottla import Admin, OffsetSpec, Producer
from ottla.local import processes
from ottla.local.cluster import LocalCluster
from ottla.local.errors import LocalClusterError
from ottla.local.ports import free_base_port
from tests.integration.load import Load, full_isr, leader
from tests.integration.power import LossyFileSystem, lossy_file_systems

pytestmark = pytest.mark.integration

# Acknowledgements between two cuts: with the cluster barely back, in full swing, and after segments were rolled.
MOMENTS = (300, 2000, 30)
# Metadata snapshots and new segments are under way at the time of some cut.
SETTINGS = {"metadata.log.max.record.bytes.between.snapshots": "2048"}
SEGMENT_BYTES = "65536"
# So many a second that at every moment some are written and not synced yet.
RATE = 2000
END_S = 30.0


class Powered:
    """A cluster, each of whose nodes has its data on a file system of its own."""

    def __init__(self, cluster: LocalCluster, disks: Sequence[LossyFileSystem]) -> None:
        self.cluster = cluster
        self._disks = dict(zip((node.node_id for node in cluster.nodes), disks, strict=True))

    def cut(self, *nodes: int) -> None:
        """The power of these nodes fails at the same moment, and their processes with it.

        The processes first, or one might acknowledge what is lost: an fdatasync that is under way when ext4 is shut
        down may return without an error, in one of fifteen cuts.
        """
        for node in nodes:
            self._signal_end(node)
        for node in nodes:
            self._disks[node].cut_power()
        for node in nodes:
            self.end(node)

    def cut_disk(self, node: int) -> None:
        """Only the disk fails: the process is left to find out. Of a sync that is under way it may not."""
        self._disks[node].cut_power()

    def end(self, node: int) -> None:
        """Nothing runs there."""
        self._signal_end(node)
        assert processes.wait_gone(self.cluster.node(node), END_S)

    def _signal_end(self, node: int) -> None:
        # A node whose disk is gone may end by itself at any moment.
        with suppress(LocalClusterError, ProcessLookupError):
            processes.send(self.cluster.node(node), signal.SIGKILL)

    async def back(self, *nodes: int) -> None:
        """Power is back on these nodes, and they serve."""
        for node in nodes:
            await asyncio.to_thread(self._disks[node].come_back)
            self.cluster.start(node)
        await self.cluster.wait_serving(nodes)


@contextmanager
def powered(folder: Path, nodes: int) -> Iterator[Powered]:
    """Nodes that serve; nothing of them is left afterwards but their files."""
    with lossy_file_systems(folder, [f"node{each}" for each in range(1, nodes + 1)]) as disks:
        port = free_base_port(nodes, random.Random())
        cluster = LocalCluster.init(folder, nodes=nodes, base_port=port, settings=SETTINGS)
        made = Powered(cluster, disks)
        try:
            asyncio.run(cluster.up())
            yield made
        finally:
            for node in cluster.nodes:
                made.end(node.node_id)


async def _load(admin: Admin, bootstrap: str, *, replicas: int, isr: int) -> Load:
    configs = {"min.insync.replicas": str(isr), "segment.bytes": SEGMENT_BYTES}
    await admin.create_topic("power", partitions=1, replication_factor=replicas, configs=configs)
    return Load(bootstrap, "power", rate=RATE)


async def _isr(admin: Admin, topic: str, wanted: set[int]) -> None:
    async with asyncio.timeout(60):
        while True:
            if set((await admin.topics([topic]))[0].partitions[0].isr) == wanted:
                return
            await asyncio.sleep(0.05)


def test_a_cut_does_lose_what_was_not_synced(tmp_path: Path) -> None:
    with lossy_file_systems(tmp_path, ["disk"]) as (disk,):
        path = disk.folder / "file"
        with path.open("wb", buffering=0) as file:
            file.write(b"synced")
            os.fsync(file.fileno())
            folder = os.open(disk.folder, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
            file.write(b" and not synced")
            (disk.folder / "new").touch()
            disk.cut_power()
            with pytest.raises(OSError, match="Input/output error"):
                os.fsync(file.fileno())
        disk.come_back()
        assert path.read_bytes() == b"synced"
        assert not (disk.folder / "new").exists()


def test_without_fsync_acknowledged_records_are_lost(tmp_path: Path) -> None:
    """What flush.policy=os gives away, and the proof that the tests below would see a missing fsync."""
    with powered(tmp_path, 1) as power:

        async def run() -> None:
            async with Admin(power.cluster.bootstrap) as admin:
                await admin.create_topic("cached", partitions=1, configs={"flush.policy": "os"})
                async with Producer(power.cluster.bootstrap) as producer:
                    sent = [await producer.send("cached", b"%d" % each) for each in range(500)]
                    acknowledged = max([(await each).offset for each in sent])
                    power.cut(1)
                await power.back(1)
                # Nobody leads by itself: the controller knows that this replica may have forgotten something.
                await admin.elect_leaders([("cached", 0)], unclean=True)
                assert await leader(admin, "cached") == 1
                found = await admin.offsets({("cached", 0): OffsetSpec.LATEST})
                assert found["cached", 0].offset <= acknowledged

        asyncio.run(run())


def test_all_nodes_lose_power_at_once_and_no_acknowledged_record(tmp_path: Path) -> None:
    with powered(tmp_path, 3) as power:

        async def run() -> None:
            async with Admin(power.cluster.bootstrap) as admin:
                load = await _load(admin, power.cluster.bootstrap, replicas=3, isr=2)
                async with load.running():
                    for acks in MOMENTS:
                        await load.more_acks(acks)
                        power.cut(1, 2, 3)
                        await power.back(1, 2, 3)
                    await load.more_acks()
                await load.check()

        asyncio.run(run())


@pytest.mark.parametrize("leads", [True, False])
def test_one_node_loses_its_disk_ends_and_comes_back(tmp_path: Path, leads: bool) -> None:
    """After a failed fsync nothing is acknowledged by it any more (bugs.md S1, ATC'20)."""
    with powered(tmp_path, 3) as power:

        async def run() -> None:
            async with Admin(power.cluster.bootstrap) as admin:
                load = await _load(admin, power.cluster.bootstrap, replicas=3, isr=2)
                async with load.running():
                    await load.more_acks()
                    leader_id = await leader(admin, load.topic)
                    node = leader_id if leads else next(n for n in (1, 2, 3) if n != leader_id)
                    power.cut_disk(node)
                    await load.more_acks()
                    await _isr(admin, load.topic, {1, 2, 3} - {node})
                    assert await leader(admin, load.topic) != node
                    await _ended(power.cluster, node)
                    await power.back(node)
                    await full_isr(admin, load.topic)
                    await load.more_acks()
                await load.check()

        asyncio.run(run())


async def _ended(cluster: LocalCluster, node: int) -> None:
    """The process ends by itself: its metadata log cannot be written."""
    assert await asyncio.to_thread(processes.wait_gone, cluster.node(node), END_S)


def test_a_node_alone_acknowledges_only_what_it_keeps(tmp_path: Path) -> None:
    """bugs.md R12: etcd acknowledged on a single node before the entry was durable."""
    with powered(tmp_path, 1) as power:

        async def run() -> None:
            async with Admin(power.cluster.bootstrap) as admin:
                load = await _load(admin, power.cluster.bootstrap, replicas=1, isr=1)
                topics = []
                async with load.running():
                    for acks in MOMENTS:
                        await load.more_acks(acks)
                        topics.append(f"made-{acks}")
                        await admin.create_topic(topics[-1], partitions=1)
                        power.cut(1)
                        await power.back(1)
                    await load.more_acks()
                await load.check()
                assert [each.name for each in await admin.topics(topics)] == topics

        asyncio.run(run())


@pytest.mark.parametrize("first", ["the last in the ISR", "the one that had left it"])
def test_the_last_member_of_an_isr_loses_power_too(tmp_path: Path, first: str) -> None:
    """bugs.md I4: one replica is gone, then the last one standing loses power; they come back in either order."""
    with powered(tmp_path, 3) as power:

        async def run() -> None:
            async with Admin(power.cluster.bootstrap) as admin:
                load = await _load(admin, power.cluster.bootstrap, replicas=2, isr=2)
                async with load.running():
                    await load.more_acks(100)
                    isr = set((await admin.topics([load.topic]))[0].partitions[0].isr)
                    last = await leader(admin, load.topic)
                    (gone,) = isr - {last}
                    power.cut(gone)
                    await _isr(admin, load.topic, {last})
                    power.cut(last)
                    order = [last, gone] if first.startswith("the last") else [gone, last]
                    await power.back(order[0])
                    await power.back(order[1])
                    await full_isr(admin, load.topic)
                    await load.more_acks()
                await load.check()

        asyncio.run(run())

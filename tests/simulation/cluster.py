"""Whole brokers on a simulated network and simulated disks: the same classes that run in production."""

import asyncio
import errno
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cluster.broker import Broker, Environment
from cluster.config import NodeConfig
from cluster.endpoints import Endpoint
from storage.disk import Buffer, Disk, DiskFile, DiskLock
from tests.simulation.disk import SimDisk
from tests.simulation.network import SimNetwork, SimPeerNetwork

T = TypeVar("T")

TOPIC = "t"
LEAVE_S = 15.0
# Disks of different speeds: on a slow one much is unsynced when the power goes.
SYNC_SECONDS = ((0.0002, 0.004), (0.001, 0.03), (0.01, 0.12))
# Leaders are patient, as by default, or take followers out of the ISR at every hiccup.
LAG_MAX_MS = ("200", "1000", "10000")


class MortalDisk:
    """A disk as one life of a process sees it: after `kill` every call fails, so that dead code writes nothing."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self._dead = False

    def kill(self) -> None:
        """The process is gone."""
        self._dead = True

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        return self._alive().open(path, create=create)

    def list(self, path: str) -> Sequence[str]:
        return self._alive().list(path)

    def exists(self, path: str) -> bool:
        return self._alive().exists(path)

    def make_folder(self, path: str) -> None:
        self._alive().make_folder(path)

    def read_file(self, path: str) -> bytes:
        return self._alive().read_file(path)

    def rename(self, source: str, target: str) -> None:
        self._alive().rename(source, target)

    async def sync(self, files: Sequence[DiskFile]) -> None:
        await self._alive().sync(files)

    async def sync_folder(self, path: str) -> None:
        await self._alive().sync_folder(path)

    async def write_atomic(self, path: str, data: Buffer) -> None:
        await self._alive().write_atomic(path, data)

    async def remove(self, path: str) -> None:
        await self._alive().remove(path)

    async def work(self, job: Callable[[], T]) -> T:
        return await self._alive().work(job)

    def lock(self, path: str) -> DiskLock:
        return _MortalLock(self, self._alive().lock(path))

    def free_bytes(self) -> int:
        return self._alive().free_bytes()

    def total_bytes(self) -> int:
        return self._alive().total_bytes()

    @property
    def dead(self) -> bool:
        """Whether the process is gone."""
        return self._dead

    def _alive(self) -> Disk:
        if self._dead:
            raise OSError(errno.EIO, "this process is dead")
        return self._disk


class _MortalLock:
    def __init__(self, disk: MortalDisk, lock: DiskLock) -> None:
        self._disk = disk
        self._lock = lock

    def close(self) -> None:
        if not self._disk.dead:
            self._lock.close()


class SimNode:
    """One node through all its lives."""

    def __init__(self, world: "SimCluster", node_id: int) -> None:
        self.node_id = node_id
        self.disk = SimDisk(world.stream(f"disk {node_id}"), sync_seconds=world.sync_seconds)
        self.broker: Broker | None = None
        self._world = world
        self._life: MortalDisk | None = None
        self._network: SimPeerNetwork | None = None
        self._task: asyncio.Task[None] | None = None
        self.lives = 0

    @property
    def alive(self) -> bool:
        """Whether a process runs."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin a life."""
        assert not self.alive, "it lives already"
        self.check_outcome()
        self.disk.kill()
        self.lives += 1
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._live(), name=f"node {self.node_id}")

    async def _live(self) -> None:
        world, config = self._world, self._world.config(self.node_id)
        life = self._life = MortalDisk(self.disk)
        address = world.address(self.node_id)
        network = self._network = SimPeerNetwork(
            world.network,
            self.node_id,
            address,
            lambda: self.broker.cluster_id if self.broker is not None else "",
        )
        self.broker = None
        rng = world.stream(f"node {self.node_id} life {self.lives}")
        host, port = address.split(":")
        told = {"PEER": Endpoint("PEER", host, int(port))}
        environment = Environment(life, network, rng, world.wall_ms)
        self.broker = await Broker.open(config, environment, told)
        await self.broker.run()

    async def leave(self) -> None:
        """A controlled shutdown, cut short when it takes too long."""
        if self.broker is not None:
            self.broker.stop()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=LEAVE_S)
        if self.alive:
            await self.crash(power_loss=False)

    async def crash(self, *, power_loss: bool) -> None:
        """The process dies; with `power_loss` so do the bytes that were not synced."""
        self.check_outcome()
        if self._life is not None:
            self._life.kill()
        if self._network is not None:
            self._network.kill()
        if power_loss:
            self.disk.crash()
        else:
            self.disk.kill()
        self.broker = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self.outcome()
            self._task = None

    def check_outcome(self) -> None:
        """Only a bad disk makes a node end its life by itself."""
        error = self.outcome()
        assert error is None or self.disk.failing is not None, (
            f"node {self.node_id} ended by itself: {error!r}"
        )

    def outcome(self) -> BaseException | None:
        """How the last life ended."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()


class SimCluster:
    """Nodes 1 to n. All chance comes from one seed, split into streams by name."""

    def __init__(
        self, seed: int, nodes: int = 3, *, lag_time_max_ms: int | None = None, **settings: Any
    ) -> None:
        self.seed = seed
        self._settings = settings
        self._size = nodes
        self.rng = self.stream("world")
        self.network = SimNetwork(self.stream("network"))
        self.sync_seconds = self.rng.choice(SYNC_SECONDS)
        drawn = int(self.rng.choice(LAG_MAX_MS))
        self._static = {"replica.lag.time.max.ms": str(lag_time_max_ms or drawn)}
        self.nodes = [SimNode(self, node_id) for node_id in range(1, nodes + 1)]

    def stream(self, name: str) -> random.Random:
        """A stream of chance of its own."""
        return random.Random(f"{self.seed} {name}")

    def address(self, node_id: int) -> str:
        """A node's peer address."""
        return f"node{node_id}:9190"

    def wall_ms(self) -> int:
        """A wall clock that goes with the virtual time."""
        return 1_700_000_000_000 + int(asyncio.get_running_loop().time() * 1000)

    def config(self, node_id: int) -> NodeConfig:
        """A node's settings."""
        voters = ",".join(f"{each}@{self.address(each)}" for each in range(1, self._size + 1))
        return NodeConfig(
            node_id=node_id,
            controller_quorum_voters=voters,
            static=self._static,
            **self._settings,
        )

    def node(self, node_id: int) -> SimNode:
        """By id."""
        return self.nodes[node_id - 1]

    def start(self) -> None:
        """Start all that are down."""
        for node in self.nodes:
            if not node.alive:
                node.start()

    def brokers(self) -> list[Broker]:
        """Brokers of living nodes that are through with opening their disks."""
        return [node.broker for node in self.nodes if node.alive and node.broker is not None]

    async def stop(self) -> None:
        """End all lives, without ceremony."""
        for node in self.nodes:
            await node.crash(power_loss=False)


async def until(condition: Any, timeout_s: float, what: str) -> None:
    """Wait in virtual time until `condition()` holds. Raises AssertionError naming `what`."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while not condition():
        assert loop.time() < deadline_s, (
            f"{what} did not come about within {timeout_s:g} virtual seconds"
        )
        await asyncio.sleep(0.01)

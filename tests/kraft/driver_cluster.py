"""Three drivers on a virtual-time loop, with simulated disks and a lossy transport between them."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Self

from kraft.driver import Listeners, RaftDriver, RaftStorageError
from kraft.raft.config import RaftConfig
from kraft.raft.membership import Member, Membership
from kraft.raft.messages import AnyMessage, Entry, EntryKind
from kraft.raft.ready import LeadershipFact, Role
from kraft.store import RaftStore
from tests.simulation.disk import SimDisk


class Register:
    """A state machine: the commands it has seen, in order."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.index = 0

    def apply(self, entries: Sequence[Entry]) -> None:
        assert entries[0].index == self.index + 1, f"{entries[0].index} follows {self.index}"
        self.index = entries[-1].index
        self.commands += [entry.data for entry in entries if entry.kind is EntryKind.COMMAND]

    def snapshot(self) -> bytes:
        return b" ".join(self.commands)

    def restore(self, data: bytes, index: int, term: int) -> None:
        assert index >= self.index
        self.commands = data.split()
        self.index = index


class Process:
    """One node: its disk stays, driver and state machine live until it is killed."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.driver: RaftDriver | None = None
        self.register = Register()
        self.task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        self.facts: list[LeadershipFact] = []
        self.members: list[Membership] = []


class Cluster:
    """Nodes 0.. of which the first `voters` vote. Use `async with`."""

    def __init__(
        self,
        seed: int = 1,
        *,
        voters: int = 3,
        spares: int = 0,
        sync_seconds: tuple[float, float] = (0.001, 0.004),
        snapshot_log_bytes: int = 1 << 20,
        **settings: int,
    ) -> None:
        self.rng = random.Random(seed)
        self.voters = voters
        self.loss = 0.0
        self.cut: set[int] = set()
        self.snapshot_log_bytes = snapshot_log_bytes
        self._settings = settings
        self.processes = [
            Process(SimDisk(random.Random(self.rng.random()), sync_seconds=sync_seconds))
            for _ in range(voters + spares)
        ]
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        for node_id in range(len(self.processes)):
            await self.start(node_id)
        return self

    async def __aexit__(self, *failure: object) -> None:
        for process in self.processes:
            if process.task is not None:
                process.task.cancel()
        await self._tasks.__aexit__(*failure)  # type: ignore[arg-type]

    async def start(self, node_id: int) -> None:
        """Start a node on its disk."""
        process = self.processes[node_id]
        store = await RaftStore.open(process.disk, segment_bytes=4096)
        process.register = Register()
        process.failure = None
        process.driver = RaftDriver(
            RaftConfig(node_id=node_id, **self._settings),
            store,
            _Transport(self, node_id),
            process.register,
            Membership.of(*(Member(n, f"node{n}:1") for n in range(self.voters))),
            rng=random.Random(self.rng.random()),
            listeners=Listeners(leadership=process.facts.append, membership=process.members.append),
            snapshot_log_bytes=self.snapshot_log_bytes,
        )
        process.task = self._tasks.create_task(self._run(process, process.driver))

    async def _run(self, process: Process, driver: RaftDriver) -> None:
        try:
            await driver.run()
        except RaftStorageError as error:
            process.failure = error

    async def power_off(self, *node_ids: int) -> None:
        """Power loss: unsynced bytes may be gone."""
        for node_id in node_ids:
            self.processes[node_id].disk.crash()
            await self._kill(node_id)

    async def _kill(self, node_id: int) -> None:
        process = self.processes[node_id]
        if process.task is not None:
            process.task.cancel()
            await asyncio.wait([process.task])
        process.driver = process.task = None

    def deliver(self, source: int, message: AnyMessage) -> None:
        """Send a message, if the network lets it through."""
        if source in self.cut or message.target in self.cut or self.rng.random() < self.loss:
            return
        loop = asyncio.get_running_loop()
        loop.call_later(self.rng.uniform(0.0005, 0.003), self._arrive, source, message)

    def _arrive(self, source: int, message: AnyMessage) -> None:
        driver = self.processes[message.target].driver
        if driver is not None and source not in self.cut and message.target not in self.cut:
            driver.receive(message)

    def driver(self, node_id: int) -> RaftDriver:
        """A running node."""
        driver = self.processes[node_id].driver
        assert driver is not None
        return driver

    def leaders(self) -> list[int]:
        """Who believes to lead."""
        return [
            node_id
            for node_id, process in enumerate(self.processes)
            if process.driver is not None and process.driver.node.role is Role.LEADER
        ]

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Let virtual time pass until something is so."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def leader(self) -> RaftDriver:
        """The leader, as soon as there is one that answers."""
        await self.until(lambda: any(n not in self.cut for n in self.leaders()))
        driver = self.driver(next(n for n in self.leaders() if n not in self.cut))
        await driver.read()
        return driver


class _Transport:
    def __init__(self, cluster: Cluster, node_id: int) -> None:
        self._cluster = cluster
        self._node_id = node_id

    def send(self, message: AnyMessage) -> None:
        self._cluster.deliver(self._node_id, message)

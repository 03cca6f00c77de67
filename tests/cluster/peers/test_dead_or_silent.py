"""Who is dead and who is only silent: the difference decides whether others are told at once."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from cluster.peers.network import Peer, PeerGoneError, PeerRefusedError, PeerStream, Probe
from cluster.peers.raft_links import RaftLinks
from tests.simulation.cluster import until
from tests.simulation.loop import simulate


class World:
    """Node 1's network: node 2 is found as `probe` says; its streams wait for ever, or refuse."""

    def __init__(self, probe: Probe) -> None:
        self.found = probe
        self.refusal = ""
        self.died: list[int] = []
        self.refused = 0
        self.probes = 0
        self.streams = 0
        self.links = RaftLinks(self, 1, random.Random(1), self.died.append, self._refused)  # type: ignore[arg-type]
        self.links.connect({1: "node1:9190", 2: "node2:9190"})

    async def probe(self, _peer: Peer, _timeout_s: float) -> Probe:
        """The seam's."""
        self.probes += 1
        await asyncio.sleep(0.001)
        return self.found

    @asynccontextmanager
    async def open_stream(self, _peer: Peer, _method: str) -> AsyncIterator[PeerStream]:
        """The seam's."""
        self.streams += 1
        if self.refusal:
            raise PeerRefusedError(self.refusal)
        yield _Silent()

    def _refused(self) -> None:
        self.refused += 1


class _Silent:
    peer_id = 2

    async def send(self, _frame: bytes) -> None:
        """Taken."""

    async def receive(self) -> bytes:
        """Never."""
        await asyncio.sleep(3600)
        raise PeerGoneError("at last")


def run(world: World, work: Callable[[World], Awaitable[None]]) -> None:
    async def running() -> None:
        task = asyncio.get_running_loop().create_task(world.links.run())
        await work(world)
        task.cancel()
        await asyncio.wait([task])

    simulate(running())


def test_nobody_at_the_address_means_dead() -> None:
    async def work(world: World) -> None:
        await until(lambda: world.died, 1.0, "the word")
        assert world.links.dead == {2}
        world.found = Probe.ALIVE
        await until(lambda: not world.links.dead, 1.0, "its return")

    run(World(Probe.DEAD), work)


def test_silence_proves_nothing() -> None:
    """A paused or cut off peer has its lease; to call it dead would fence brokers on every hiccup of the network."""

    async def work(world: World) -> None:
        await until(lambda: world.probes > 5, 10.0, "several probes")
        assert world.died == []
        assert world.links.dead == frozenset()

    run(World(Probe.SILENT), work)


def test_who_speaks_lives() -> None:
    """Whatever the last probe found: a restarted peer calls before it is probed again."""

    async def work(world: World) -> None:
        await until(lambda: world.links.dead, 1.0, "the word")
        world.links.heard_from(2)
        assert world.links.dead == frozenset()

    run(World(Probe.DEAD), work)


def test_a_refusal_is_kept_until_the_peer_takes_us() -> None:
    async def work(world: World) -> None:
        world.refusal = "another cluster"
        await until(lambda: world.refused > 0, 1.0, "the refusal")
        assert world.links.refusals == {2: "another cluster"}
        world.refusal = ""
        await until(lambda: world.links.refusals == {}, 2.0, "a stream")

    run(World(Probe.ALIVE), work)


def test_only_members_have_a_link() -> None:
    async def work(world: World) -> None:
        await until(lambda: world.streams, 1.0, "a stream")
        world.links.connect({1: "node1:9190"})
        await asyncio.sleep(0.01)
        assert world.links.dead == frozenset()
        assert world.links._links == {}

    run(World(Probe.ALIVE), work)

"""How a link finds out that its peer's process is gone."""

import asyncio
import random
from contextlib import AbstractAsyncContextManager

from cluster.peers.network import Peer, PeerService, PeerStream, Probe
from cluster.peers.raft_links import RaftLinks
from tests.simulation.loop import simulate

OPEN_LIMIT_S = 1.0


class _NeverOpened(AbstractAsyncContextManager[PeerStream]):
    async def __aenter__(self) -> PeerStream:
        await asyncio.sleep(OPEN_LIMIT_S)
        raise AssertionError("waited for the stream to the end")

    async def __aexit__(self, *_: object) -> None:
        raise NotImplementedError


class _Dying:
    """A process in the middle of its death: it takes one more connection, on which nothing is ever said."""

    def __init__(self) -> None:
        self.probes = 0

    async def serve(self, service: PeerService) -> None:
        raise NotImplementedError

    async def call(self, peer: Peer, method: str, request: bytes, timeout_s: float) -> bytes:
        raise NotImplementedError

    def open_stream(self, peer: Peer, method: str) -> AbstractAsyncContextManager[PeerStream]:
        return _NeverOpened()

    async def probe(self, peer: Peer, timeout_s: float) -> Probe:
        self.probes += 1
        return Probe.ALIVE if self.probes == 1 else Probe.DEAD

    async def close(self) -> None:
        raise NotImplementedError


def test_a_peer_that_dies_while_a_stream_is_opened_is_told_at_once() -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        told: list[int] = []
        died = asyncio.Event()

        def hear(node_id: int) -> None:
            told.append(node_id)
            died.set()

        links = RaftLinks(_Dying(), 1, random.Random(1), hear, _never)
        links.connect({2: "b:1"})
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(links.run())
            await died.wait()
            running.cancel()
        assert set(told) == {2}
        return loop.time() - began_s

    assert simulate(run()) < OPEN_LIMIT_S / 4


def _never() -> None:
    raise AssertionError("nobody refused")

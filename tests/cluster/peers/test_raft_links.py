"""How a link finds out that its peer's process is gone."""

import asyncio
import random
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from cluster.peers.network import Peer, PeerGoneError, PeerService, PeerStream, Probe
from cluster.peers.raft_links import DOUBT_S, RaftLinks
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


class _Silent(AbstractAsyncContextManager[PeerStream]):
    """A stream that stands, and on which nothing comes."""

    peer_id = 2

    async def __aenter__(self) -> PeerStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def send(self, frame: bytes) -> None:
        return None

    async def receive(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


class _Asked(_Dying):
    """A peer with an open stream. answers_s: how long an answer takes; None: the connection breaks."""

    def __init__(self, answers_s: float | None) -> None:
        super().__init__()
        self.answers_s = answers_s
        self.listens = Probe.ALIVE

    async def call(self, peer: Peer, method: str, request: bytes, timeout_s: float) -> bytes:
        if self.answers_s is None:
            raise PeerGoneError("connection reset")
        await asyncio.sleep(min(self.answers_s, timeout_s))
        if self.answers_s >= timeout_s:
            raise PeerGoneError("no answer in time")
        return b""

    def open_stream(self, peer: Peer, method: str) -> AbstractAsyncContextManager[PeerStream]:
        return _Silent()

    async def probe(self, peer: Peer, timeout_s: float) -> Probe:
        return self.listens


@asynccontextmanager
async def _linked(network: _Asked) -> AsyncIterator[RaftLinks]:
    """Links to one peer, over which a stream stands."""
    links = RaftLinks(network, 1, random.Random(1), lambda _: None, _never)
    links.connect({2: "b:1"})
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(links.run())
        await asyncio.sleep(0.1)
        assert not links.broken
        yield links
        running.cancel()


def _broken_after_asking(network: _Asked, listens: Probe) -> tuple[frozenset[int], frozenset[int]]:
    """Right after the peer was asked, and when a doubt is over."""

    async def run() -> tuple[frozenset[int], frozenset[int]]:
        async with _linked(network) as links:
            network.listens = listens
            await links.verify([2, 7])
            at_once = links.broken
            await asyncio.sleep(DOUBT_S + 0.1)
            later = links.broken
        return at_once, later

    return simulate(run())


@pytest.mark.parametrize(
    ("answers_s", "listens", "at_once", "later"),
    [
        (0.01, Probe.ALIVE, set(), set()),
        (None, Probe.ALIVE, {2}, set()),
        (None, Probe.DEAD, {2}, {2}),
        (9.0, Probe.ALIVE, set(), set()),
        (9.0, Probe.DEAD, {2}, {2}),
    ],
)
def test_a_peer_that_says_nothing_when_it_is_asked_is_doubted(
    answers_s: float | None, listens: Probe, at_once: AbstractSet[int], later: AbstractSet[int]
) -> None:
    """A dying process may still be connected to, and a busy one may be slow: only a break is a reason for doubt."""
    found = _broken_after_asking(_Asked(answers_s), listens)
    assert found == (frozenset(at_once), frozenset(later))


class _Breaking(_Asked):
    """Its connection breaks a moment after it was asked."""

    def __init__(self) -> None:
        super().__init__(None)
        self.calls = 0

    async def call(self, peer: Peer, method: str, request: bytes, timeout_s: float) -> bytes:
        self.calls += 1
        await asyncio.sleep(0.005)
        raise PeerGoneError("connection reset")


def test_two_who_ask_for_a_sign_of_life_at_once_wait_for_the_same_one() -> None:
    """A producer and a consumer see their leader die at the same moment: the second was told that it leads."""

    async def run() -> None:
        network = _Breaking()
        async with _linked(network) as links, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(links.verify([2]))
            await asyncio.sleep(0.001)
            await links.verify([2])
            assert links.broken == {2}
            await first
        assert network.calls == 1

    simulate(run())


def test_what_a_peer_said_before_is_no_sign_of_life() -> None:
    """It was asked for somebody else, and died a moment later: a librdkafka client was told that it leads."""

    async def run() -> None:
        network = _Asked(0.001)
        async with _linked(network) as links:
            await links.verify([2])
            assert not links.broken
            network.answers_s = None
            await links.verify([2])
            assert links.broken == {2}

    simulate(run())


def test_many_who_ask_a_slow_peer_wait_for_one_answer() -> None:
    async def run() -> float:
        async with _linked(_Asked(0.04)) as links:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            await asyncio.gather(*(links.verify([2]) for _ in range(100)))
            return loop.time() - began_s

    assert simulate(run()) < 0.05


def test_who_gives_up_asking_leaves_it_to_the_next() -> None:
    async def run() -> None:
        network = _Breaking()
        async with _linked(network) as links, asyncio.TaskGroup() as tasks:
            first = tasks.create_task(links.verify([2]))
            await asyncio.sleep(0.001)
            second = tasks.create_task(links.verify([2]))
            await asyncio.sleep(0.001)
            first.cancel()
            await second
            assert links.broken == {2}
        assert network.calls == 2

    simulate(run())


def _never() -> None:
    raise AssertionError("nobody refused")

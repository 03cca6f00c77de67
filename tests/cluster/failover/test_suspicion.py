"""Answers that name a leader wait a moment while it may be dead."""

import asyncio
from collections.abc import Iterable

from cluster.failover.suspicion import PATIENCE_S, Suspicion
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage
from tests.simulation.loop import simulate


class World:
    def __init__(self, broken: Iterable[int] = ()) -> None:
        self.broken = frozenset(broken)
        self.leader = 2
        self.found: frozenset[int] = frozenset()
        self.suspicion = Suspicion(lambda: EMPTY_IMAGE, lambda: self.broken, self.verify)

    async def verify(self, node_ids: Iterable[int]) -> None:
        assert list(node_ids) == [self.leader]
        self.broken |= self.found

    def leaders(self, _image: MetadataImage) -> tuple[int, ...]:
        return (self.leader,)

    async def waits_s(self) -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await self.suspicion.settled(self.leaders)
        return loop.time() - began_s


def test_nobody_waits_while_all_connections_stand_or_others_broke() -> None:
    assert simulate(World().waits_s()) == 0
    assert simulate(World([1, 3]).waits_s()) == 0


def test_a_leader_that_is_vouched_for_is_asked_first() -> None:
    async def run() -> float:
        world = World()
        world.found = frozenset([2])
        return await world.waits_s()

    assert abs(simulate(run()) - PATIENCE_S) < 0.01


def test_the_answer_comes_with_the_new_leader() -> None:
    async def run() -> float:
        world = World([2])

        def elected() -> None:
            world.leader = 3
            world.suspicion.news()

        asyncio.get_running_loop().call_later(0.04, elected)
        return await world.waits_s()

    assert 0.03 < simulate(run()) < 0.05


def test_a_connection_that_is_back_ends_the_wait() -> None:
    async def run() -> float:
        world = World([2])

        def back() -> None:
            world.broken = frozenset()
            world.suspicion.news()

        asyncio.get_running_loop().call_later(0.04, back)
        return await world.waits_s()

    assert 0.03 < simulate(run()) < 0.05


def test_news_that_change_nothing_do_not_end_it_and_patience_does() -> None:
    async def run() -> float:
        world = World([2])
        asyncio.get_running_loop().call_later(0.04, world.suspicion.news)
        return await world.waits_s()

    waited_s = simulate(run())
    assert abs(waited_s - PATIENCE_S) < 0.01

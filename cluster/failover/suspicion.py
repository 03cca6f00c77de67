"""Whose word on leaders is about to change: a broker whose connection has just broken may be dead.

A client that asks in the tens of milliseconds between a leader's death and its replacement would be told the dead one
again, and some clients then do not ask again for a second or two (librdkafka's leader query ends with any answer that
names a leader). So the answer waits a moment.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from kraft.metadata.image import MetadataImage

PATIENCE_S = 0.3
"""A dead process is replaced well within it; with a silent one nobody gains by waiting longer."""


class Suspicion:
    """`image`: this node's newest metadata. `broken`: the nodes to which no connection stands at the moment. `verify`
    finds out which of some nodes are.
    """

    def __init__(
        self,
        image: Callable[[], MetadataImage],
        broken: Callable[[], frozenset[int]],
        verify: Callable[[Iterable[int]], Awaitable[None]],
    ) -> None:
        self._image = image
        self._broken = broken
        self._verify = verify
        self._waiting: dict[asyncio.Event, None] = {}

    def news(self) -> None:
        """There is a newer image, or a connection came or went."""
        for event in self._waiting:
            event.set()

    async def settled(
        self, leaders: Callable[[MetadataImage], Iterable[int]], limit_s: float = PATIENCE_S
    ) -> None:
        """Wait while one of the `leaders` of the newest image is a broker that may be dead."""
        wanted = set(leaders(self._image()))
        if self._broken().isdisjoint(wanted):
            await self._verify(sorted(wanted))
            if self._broken().isdisjoint(leaders(self._image())):
                return
        news = asyncio.Event()
        self._waiting[news] = None
        try:
            async with asyncio.timeout(limit_s):
                while not self._broken().isdisjoint(leaders(self._image())):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            pass
        finally:
            del self._waiting[news]

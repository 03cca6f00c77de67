"""Raft's messages over peer streams, and the first to notice that a peer's process is gone.

A link is a stream kept open to every other member. When it breaks, the peer is probed at once: a refused connection
means a dead process, and that is told (`died`) long before any lease runs out. A link that cannot be opened is probed
again after a short pause.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping

import structlog

from cluster.peers.network import (
    Peer,
    PeerGoneError,
    PeerNetwork,
    PeerRefusedError,
    PeerStream,
    Probe,
)
from cluster.together import until_first_ends
from kraft.raft.messages import AnyMessage, encode

log = structlog.get_logger("peers")

# Raft repeats what matters, so an overflowing outbox loses its oldest messages.
OUTBOX_MESSAGES = 1024
PROBE_TIMEOUT_S = 0.5
VERIFY_TIMEOUT_S = 0.05
# A peer whose connection breaks while it is asked for a sign of life is doubted for so long, or until it is found dead.
DOUBT_S = 0.3
PING = "Ping"
PAUSE_MIN_S = 0.02
PAUSE_MAX_S = 0.3


class RaftLinks:
    """The way to all other members.

    `changed` is called when a connection came or broke, `died` with a node id whenever a probe finds nobody there,
    `refused` when a peer wants nothing to do with us: it belongs to another cluster, or is another node than its
    address promised.
    """

    def __init__(
        self,
        network: PeerNetwork,
        node_id: int,
        rng: random.Random,
        died: Callable[[int], None],
        refused: Callable[[], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._network = network
        self._node_id = node_id
        self._changed = changed
        self._rng = rng
        self._died = died
        self._refused = refused
        self._links: dict[int, _Link] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Keep the links until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for link in self._links.values():
                link.task = tasks.create_task(link.run())
            await asyncio.get_running_loop().create_future()

    def connect(self, addresses: Mapping[int, str]) -> None:
        """Have links to exactly these members (this node aside)."""
        wanted = {
            node_id: Peer(node_id, address)
            for node_id, address in addresses.items()
            if node_id != self._node_id
        }
        for node_id in set(self._links) - set(wanted):
            self._links.pop(node_id).stop()
        for node_id, peer in wanted.items():
            known = self._links.get(node_id)
            if known is not None and known.peer == peer:
                continue
            if known is not None:
                known.stop()
            link = _Link(peer, self._network, self._rng, self._died, self._refused, self._changed)
            self._links[node_id] = link
            if self._tasks is not None:
                link.task = self._tasks.create_task(link.run())

    def send(self, message: AnyMessage) -> None:
        """Send when possible; drop when not."""
        link = self._links.get(message.target)
        if link is not None:
            link.post(encode(message))

    def heard_from(self, node_id: int) -> None:
        """A peer has called us, so a process lives there (again)."""
        link = self._links.get(node_id)
        if link is not None and link.dead:
            link.revive()

    @property
    def refusals(self) -> dict[int, str]:
        """The peers that refused the last attempt to speak to them, and why."""
        return {
            node_id: link.refusal
            for node_id, link in self._links.items()
            if link.refusal is not None
        }

    @property
    def broken(self) -> frozenset[int]:
        """The peers to which no connection stands."""
        return frozenset(node_id for node_id, link in self._links.items() if link.broken)

    async def verify(self, node_ids: Iterable[int]) -> None:
        """Ask these peers for a sign of life, as soon as a client needs to know: a client may see a death before this
        node does. Who is being asked is not asked again.
        """
        links = [link for node_id in node_ids if (link := self._links.get(node_id)) is not None]
        async with asyncio.TaskGroup() as tasks:
            for link in links:
                tasks.create_task(link.verify())

    @property
    def dead(self) -> frozenset[int]:
        """The peers that the last probe found gone."""
        return frozenset(node_id for node_id, link in self._links.items() if link.dead)


class _Link:
    def __init__(
        self,
        peer: Peer,
        network: PeerNetwork,
        rng: random.Random,
        died: Callable[[int], None],
        refused: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.dead = False
        self.open = False
        self._verified_s = -1.0
        self._doubted_s = -DOUBT_S
        self._asked: asyncio.Event | None = None
        self._changed = changed
        self.refusal: str | None = None
        self.task: asyncio.Task[None] | None = None
        self._network = network
        self._rng = rng
        self._died = died
        self._refused = refused
        self._outbox: deque[bytes] = deque(maxlen=OUTBOX_MESSAGES)
        self._wake = asyncio.Event()
        self._revived = asyncio.Event()

    @property
    def broken(self) -> bool:
        """Whether no connection stands, as far as is known."""
        doubted = asyncio.get_running_loop().time() - self._doubted_s < DOUBT_S
        return self.dead or not self.open or doubted

    def post(self, frame: bytes) -> None:
        self._outbox.append(frame)
        self._wake.set()

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def revive(self) -> None:
        self.dead = False
        self._revived.set()

    async def run(self) -> None:
        pause_s = PAUSE_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            probe = await self._network.probe(self.peer, PROBE_TIMEOUT_S)
            log.debug("probed", peer=self.peer.node_id, found=probe.value)
            if probe is Probe.ALIVE:
                self.dead = False
                began = loop.time()
                found_gone = await self._talk()
                if found_gone or loop.time() - began > 1.0:
                    pause_s = PAUSE_MIN_S
                    continue
            elif probe is Probe.DEAD:
                self._found_dead()
            if await self._rest(pause_s * (0.5 + self._rng.random())):
                pause_s = PAUSE_MIN_S
            pause_s = min(pause_s * 1.5, PAUSE_MAX_S)

    async def verify(self) -> None:
        """Ask a peer that is taken for alive.

        A process that is being killed has its sockets closed one after the other: it may still be connected to, but it
        says nothing any more, and the connection that stood breaks in a moment.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while self._asked is not None:
            # Clients see a death at the same moment: the second must not be told before the first is.
            await self._asked.wait()
        if self.broken or self._verified_s > began_s:
            # What it said before it was asked for is believed by nobody: it may have died since.
            return
        asked = self._asked = asyncio.Event()
        try:
            await self._ask()
            self._verified_s = loop.time()
        finally:
            self._asked = None
            asked.set()

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            await self._network.call(self.peer, PING, b"", VERIFY_TIMEOUT_S)
        except PeerRefusedError:
            return
        except PeerGoneError:
            broke = loop.time() - began_s < 0.9 * VERIFY_TIMEOUT_S
            if await self._network.probe(self.peer, VERIFY_TIMEOUT_S) is Probe.DEAD:
                self._found_dead()
            elif broke:
                self._doubted_s = loop.time()
            self._changed()

    def _found_dead(self) -> None:
        if not self.dead:
            log.warning("peer is gone", peer=self.peer.node_id, address=self.peer.address)
        self.dead = True
        self._outbox.clear()
        self._died(self.peer.node_id)

    async def _rest(self, seconds: float) -> bool:
        """Wait, but no longer than until the peer speaks by itself. Returns whether it did."""
        self._revived.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._revived.wait()
        except TimeoutError:
            return False
        return True

    async def _talk(self) -> bool:
        """Open a stream and send on it until it breaks. Returns whether the peer was found gone before it opened."""
        opened = asyncio.Event()
        try:
            await until_first_ends(self._speak(opened), self._until_gone(opened))
        except PeerGoneError as error:
            log.debug("link broke", peer=self.peer.node_id, reason=str(error))
        except PeerRefusedError as error:
            if self.refusal is None:
                log.error("peer refuses us", peer=self.peer.node_id, reason=str(error))
            self.refusal = str(error)
            self._refused()
        else:
            return True
        return False

    async def _speak(self, opened: asyncio.Event) -> None:
        """Nothing comes back on the stream but its end."""
        async with self._network.open_stream(self.peer, "Raft") as stream:
            opened.set()
            self.refusal = None
            self._opened(True)
            try:
                await until_first_ends(self._send(stream), _await_end(stream))
            finally:
                self._opened(False)

    def _opened(self, is_open: bool) -> None:
        self.open = is_open
        self._changed()

    async def _until_gone(self, opened: asyncio.Event) -> None:
        """A process that is being killed still takes a connection, and then says nothing: ask again."""
        pause_s = PAUSE_MIN_S
        while True:
            try:
                async with asyncio.timeout(pause_s):
                    await opened.wait()
            except TimeoutError:
                pause_s = min(pause_s * 1.5, PAUSE_MAX_S)
                if await self._network.probe(self.peer, PROBE_TIMEOUT_S) is Probe.DEAD:
                    return
            else:
                await asyncio.get_running_loop().create_future()

    async def _send(self, stream: PeerStream) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                await stream.send(self._outbox.popleft())


async def _await_end(stream: PeerStream) -> None:
    while True:
        await stream.receive()

"""A network in memory between simulated nodes: delay, cut directions, breaking connections.

Frames of one stream arrive in order. A cut direction holds frames back; a stream that is held for `PATIENCE_S` breaks,
as TCP does in the end. A dead process breaks its streams at once, unless the way to tell is cut.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cluster.peers.network import (
    ClusterIdSource,
    Greeting,
    Peer,
    PeerGoneError,
    PeerRefusedError,
    PeerService,
    PeerStream,
    Probe,
    check_greeting,
)

PATIENCE_S = 5.0
QUEUE_FRAMES = 64


class SimNetwork:
    """All links. `trace` is a digest of everything that arrived: equal seeds, equal traces."""

    def __init__(
        self,
        rng: random.Random,
        *,
        delay_s: tuple[float, float] = (0.0002, 0.002),
        break_chance: float = 0.0,
    ) -> None:
        self._rng = rng
        self.delay_s = delay_s
        self.break_chance = break_chance
        self.cut: set[tuple[int, int]] = set()
        self.listeners: dict[str, SimPeerNetwork] = {}
        self.frames = 0
        self._trace = hashlib.sha256()
        self._healed = asyncio.Event()

    @property
    def trace(self) -> str:
        """The digest so far."""
        return self._trace.hexdigest()

    def note(self, what: str) -> None:
        """Add something to the trace."""
        self._trace.update(f"{asyncio.get_running_loop().time():.9f} {what}\n".encode())

    def cut_way(self, source: int, target: int) -> None:
        """Nothing gets from source to target any more."""
        self.cut.add((source, target))

    def heal(self) -> None:
        """All ways are open."""
        self.cut.clear()
        self._healed.set()
        self._healed = asyncio.Event()

    async def travel(self, source: int, target: int, size: int) -> None:
        """Take the time a frame takes. Raises PeerGoneError when it is lost, and the connection with it."""
        await asyncio.sleep(self._rng.uniform(*self.delay_s))
        if (source, target) in self.cut:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while (source, target) in self.cut:
                        await self._healed.wait()
            except TimeoutError:
                raise PeerGoneError(f"the way from {source} to {target} is cut") from None
        if self._rng.random() < self.break_chance:
            raise PeerGoneError(f"the connection from {source} to {target} broke")
        self.frames += 1
        self.note(f"{source}>{target} {size}")


class _Pipe:
    """One direction of a stream."""

    def __init__(self, network: SimNetwork, source: int, target: int) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._sent: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_FRAMES)
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_FRAMES)
        self.broken = False

    async def carry(self) -> None:
        """Move frames until the connection breaks."""
        while True:
            frame = await self._sent.get()
            await self._network.travel(self._source, self._target, len(frame))
            await self._arrived.put(frame)

    async def send(self, frame: bytes) -> None:
        if self.broken:
            raise PeerGoneError(f"the stream to node {self._target} has ended")
        await self._sent.put(frame)

    async def receive(self) -> bytes:
        frame = None if self.broken and self._arrived.empty() else await self._arrived.get()
        if frame is None:
            raise PeerGoneError(f"node {self._source} ended the stream")
        return frame

    def end(self) -> None:
        """Whoever waits here is told."""
        if self.broken:
            return
        self.broken = True
        if self._arrived.full():
            self._arrived.get_nowait()
        self._arrived.put_nowait(None)
        while not self._sent.empty():
            self._sent.get_nowait()


class _Side:
    def __init__(self, peer_id: int, out: _Pipe, into: _Pipe) -> None:
        self._peer_id = peer_id
        self._out = out
        self._into = into

    @property
    def peer_id(self) -> int:
        return self._peer_id

    async def send(self, frame: bytes) -> None:
        await self._out.send(frame)

    async def receive(self) -> bytes:
        return await self._into.receive()


class SimPeerNetwork:
    """One node's PeerNetwork, for one life of its process."""

    def __init__(
        self, network: SimNetwork, node_id: int, address: str, cluster_id: ClusterIdSource
    ) -> None:
        self._network = network
        self.node_id = node_id
        self._address = address
        self._cluster_id = cluster_id
        self._service: PeerService | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}
        self.dead = False

    async def serve(self, service: PeerService) -> None:
        """Listen."""
        self._service = service
        self._network.listeners[self._address] = self

    async def call(self, peer: Peer, method: str, request: bytes, timeout_s: float) -> bytes:
        """One request, one reply; either may be lost."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._network.travel(self.node_id, peer.node_id, len(request))
                other = self._find(peer)
                reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
                other.spawn(other.answer(self.node_id, method, request, reply))
                answer = await reply
                await self._network.travel(peer.node_id, self.node_id, len(answer))
                return answer
        except TimeoutError:
            raise PeerGoneError(f"node {peer.node_id} did not answer in {timeout_s:g} s") from None

    @asynccontextmanager
    async def open_stream(self, peer: Peer, method: str) -> AsyncIterator[PeerStream]:
        """A stream; it breaks as a whole."""
        await self._network.travel(self.node_id, peer.node_id, 0)
        other = self._find(peer)
        there = _Pipe(self._network, self.node_id, peer.node_id)
        back = _Pipe(self._network, peer.node_id, self.node_id)
        connection = asyncio.get_running_loop().create_task(_carry_both(there, back))
        self._keep(connection)
        serving = other.spawn(
            other.serve_stream(method, _Side(self.node_id, back, there), connection)
        )
        try:
            yield _Side(peer.node_id, there, back)
        finally:
            connection.cancel()
            there.end()
            back.end()
            if serving is not None and serving.done() and not serving.cancelled():
                serving.exception()

    async def probe(self, peer: Peer, timeout_s: float) -> Probe:
        """Refused at once when nobody listens, silent when the way is cut."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._network.travel(self.node_id, peer.node_id, 0)
                await self._network.travel(peer.node_id, self.node_id, 0)
        except (TimeoutError, PeerGoneError):
            return Probe.SILENT
        listener = self._network.listeners.get(peer.address)
        return Probe.ALIVE if listener is not None and not listener.dead else Probe.DEAD

    async def close(self) -> None:
        """Stop listening, break all streams."""
        self.kill()

    def kill(self) -> None:
        """The process is gone."""
        self.dead = True
        for task in list(self._tasks):
            task.cancel()

    def spawn(self, work: "asyncio.Future[None] | object") -> asyncio.Task[None] | None:
        """Something that this node's process does for a peer."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._keep(task)
        return task

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        del self._tasks[task]

    async def answer(
        self, source: int, method: str, request: bytes, reply: "asyncio.Future[bytes]"
    ) -> None:
        """Serve one call."""
        assert self._service is not None
        try:
            result = await self._service.call(source, method, request)
        except asyncio.CancelledError:
            if not reply.done():
                reply.set_exception(PeerGoneError(f"node {self.node_id} died"))
            raise
        if not reply.done():
            reply.set_result(result)

    async def serve_stream(
        self, method: str, side: PeerStream, connection: "asyncio.Task[None]"
    ) -> None:
        """Serve one stream."""
        assert self._service is not None
        try:
            await self._service.stream(method, side)
        finally:
            connection.cancel()

    def _find(self, peer: Peer) -> "SimPeerNetwork":
        listener = self._network.listeners.get(peer.address)
        if listener is None or listener.dead:
            raise PeerGoneError(f"nobody listens at {peer.address}")
        greeting = Greeting(self.node_id, peer.node_id, self._cluster_id())
        refusal = check_greeting(greeting, listener.node_id, listener._cluster_id())
        if refusal is not None:
            raise PeerRefusedError(refusal)
        return listener


async def _carry_both(there: _Pipe, back: _Pipe) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(there.carry())
            tasks.create_task(back.carry())
    except* PeerGoneError:
        pass
    finally:
        there.end()
        back.end()

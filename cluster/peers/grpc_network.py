"""PeerNetwork over gRPC: generic byte handlers, a TCP connect as the probe.

To each peer there is one connection for all calls and one for each kind of stream: a heartbeat must not wait behind
megabytes of records.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import grpc
import grpc.aio

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
from cluster.ports import bind_grpc
from cluster.together import cancelled_by_us

SERVICE = "ottla.peer.v1.PeerService"
MAX_FRAME_BYTES = 16 << 20
CONNECT_S = 1.0
CALLS = ""

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1000),
    # A restarted container may be back under its name long before the default of 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 100),
    ("grpc.enable_retries", 0),
    ("grpc.http2.write_buffer_size", 1 << 20),
    # Without it a stream has 64 KiB on its way at most, and a batch several round trips.
    ("grpc.http2.lookahead_bytes", 4 << 20),
]
SERVER_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.lookahead_bytes", 4 << 20),
]


class _Way(NamedTuple):
    """A connection to a peer. kind: CALLS, or the streams' method."""

    address: str
    kind: str


class GrpcPeerNetwork:
    """One node's peer listener and its channels to the others."""

    def __init__(self, node_id: int, listen: str, cluster_id: ClusterIdSource) -> None:
        self._node_id = node_id
        self._listen = listen
        self._cluster_id = cluster_id
        self._channels: dict[_Way, grpc.aio.Channel] = {}
        self._server: grpc.aio.Server | None = None

    async def serve(self, service: PeerService) -> None:
        """Listen on the peer address. Raises PortInUseError."""
        server = grpc.aio.server(options=SERVER_OPTIONS)
        server.add_generic_rpc_handlers((_Handlers(self, service),))
        bind_grpc(server, self._listen, "the peer listener")
        await server.start()
        self._server = server

    async def call(self, peer: Peer, method: str, request: bytes, timeout_s: float) -> bytes:
        """One request, one reply. Raises PeerGoneError, PeerRefusedError."""
        way = _Way(peer.address, CALLS)
        channel = self._channel(way)
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{SERVICE}/{method}"
        )
        try:
            reply = await call(request, timeout=timeout_s, metadata=self._metadata(peer))
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                await self._discard(way, channel)
            raise _translate(peer, error) from None
        except asyncio.CancelledError:
            if cancelled_by_us():
                raise
            raise _closed(peer) from None
        assert isinstance(reply, bytes)
        return reply

    @asynccontextmanager
    async def open_stream(self, peer: Peer, method: str) -> AsyncIterator[PeerStream]:
        """A stream that lives as long as the context. Raises PeerGoneError, PeerRefusedError."""
        way = _Way(peer.address, method)
        channel = self._channel(way)
        method_call: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            f"/{SERVICE}/Stream{method}"
        )
        call = method_call(metadata=self._metadata(peer))
        try:
            await _connected(peer, call)
            yield _ClientStream(peer, call)
        except PeerGoneError:
            await self._discard(way, channel)
            raise
        finally:
            call.cancel()

    async def probe(self, peer: Peer, timeout_s: float) -> Probe:
        """A TCP connect tells at once whether a process listens. A name that no longer resolves is a dead host."""
        host, _, port = peer.address.rpartition(":")
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(host, int(port))
        except TimeoutError:
            return Probe.SILENT
        except (ConnectionError, socket.gaierror, OSError):
            return Probe.DEAD
        writer.close()
        return Probe.ALIVE

    async def close(self) -> None:
        """Stop listening and break everything that is open."""
        if self._server is not None:
            await self._server.stop(grace=0)
        for channel in self._channels.values():
            await channel.close(grace=0)
        self._channels.clear()

    def refusal(self, greeting: Greeting) -> str | None:
        """Why this caller is not served, or None."""
        return check_greeting(greeting, self._node_id, self._cluster_id())

    def _channel(self, way: "_Way") -> grpc.aio.Channel:
        channel = self._channels.get(way)
        if channel is None:
            channel = grpc.aio.insecure_channel(way.address, options=CHANNEL_OPTIONS)
            self._channels[way] = channel
        return channel

    async def _discard(self, way: "_Way", failed: grpc.aio.Channel) -> None:
        """After a failure the next attempt gets a channel of its own: an old one may go on waiting for a name that did
        not resolve while the peer's host was away. A newer channel that somebody else has opened since stays.
        """
        if self._channels.get(way) is failed:
            del self._channels[way]
        await failed.close()

    def _metadata(self, peer: Peer) -> tuple[tuple[str, str], ...]:
        return (
            ("ottla-source", str(self._node_id)),
            ("ottla-target", str(peer.node_id)),
            ("ottla-cluster", self._cluster_id()),
        )


async def _connected(peer: Peer, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
    """Wait for the peer's first sign. Raises PeerGoneError, PeerRefusedError."""
    try:
        async with asyncio.timeout(CONNECT_S):
            await call.wait_for_connection()
    except TimeoutError:
        raise PeerGoneError(
            f"node {peer.node_id} at {peer.address} did not take the stream in time"
        ) from None
    except grpc.aio.AioRpcError as error:
        raise _translate(peer, error) from None
    except asyncio.CancelledError:
        if cancelled_by_us():
            raise
        raise _closed(peer) from None


class _ClientStream:
    def __init__(self, peer: Peer, call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> None:
        self._peer = peer
        self._call = call

    @property
    def peer_id(self) -> int:
        return self._peer.node_id

    async def send(self, frame: bytes) -> None:
        try:
            await self._call.write(frame)
        except grpc.aio.AioRpcError as error:
            raise _translate(self._peer, error) from None
        except asyncio.InvalidStateError:
            raise PeerGoneError(f"the stream to node {self._peer.node_id} has ended") from None
        except asyncio.CancelledError:
            if cancelled_by_us():
                raise
            raise _closed(self._peer) from None

    async def receive(self) -> bytes:
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _translate(self._peer, error) from None
        except asyncio.CancelledError:
            if cancelled_by_us():
                raise
            raise _closed(self._peer) from None
        if not isinstance(frame, bytes):
            raise PeerGoneError(f"node {self._peer.node_id} ended the stream")
        return frame


class _ServerStream:
    def __init__(self, source: int, context: "grpc.aio.ServicerContext[bytes, bytes]") -> None:
        self._source = source
        self._context = context

    @property
    def peer_id(self) -> int:
        return self._source

    async def send(self, frame: bytes) -> None:
        try:
            await self._context.write(frame)
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise PeerGoneError(f"node {self._source} left the stream: {error}") from None

    async def receive(self) -> bytes:
        try:
            frame = await self._context.read()
        except (grpc.RpcError, asyncio.InvalidStateError) as error:
            raise PeerGoneError(f"node {self._source} left the stream: {error}") from None
        if not isinstance(frame, bytes):
            raise PeerGoneError(f"node {self._source} ended the stream")
        return frame


Context = grpc.aio.ServicerContext[bytes, bytes]


class _Handlers(grpc.GenericRpcHandler):
    """Maps /SERVICE/Method to a call and /SERVICE/StreamMethod to a stream."""

    def __init__(self, network: GrpcPeerNetwork, service: PeerService) -> None:
        self._network = network
        self._service = service

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        prefix, _, method = details.method.rpartition("/")
        if prefix != f"/{SERVICE}":
            return None
        if method.startswith("Stream"):
            return grpc.stream_stream_rpc_method_handler(self._stream(method[len("Stream") :]))
        return grpc.unary_unary_rpc_method_handler(self._call(method))

    def _call(self, method: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def handle(request: bytes, context: Context) -> bytes:
            greeting = await self._greeted(context)
            return await self._service.call(greeting.source, method, request)

        return handle

    def _stream(self, method: str) -> Callable[[object, Context], Awaitable[None]]:
        async def handle(_requests: object, context: Context) -> None:
            greeting = await self._greeted(context)
            await context.send_initial_metadata(())
            await self._service.stream(method, _ServerStream(greeting.source, context))

        return handle

    async def _greeted(self, context: Context) -> Greeting:
        values = dict(context.invocation_metadata() or ())
        try:
            greeting = Greeting(
                source=int(values["ottla-source"]),
                target=int(values["ottla-target"]),
                cluster_id=str(values.get("ottla-cluster", "")),
            )
        except (KeyError, ValueError):
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "this is a peer listener; clients use another port",
            )
        refusal = self._network.refusal(greeting)
        if refusal is not None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, refusal)
        return greeting


def _translate(peer: Peer, error: grpc.aio.AioRpcError) -> PeerGoneError | PeerRefusedError:
    if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
        return PeerRefusedError(error.details() or "refused")
    return PeerGoneError(
        f"node {peer.node_id} at {peer.address}: {error.code().name} {error.details()}"
    )


def _closed(peer: Peer) -> PeerGoneError:
    """A failure of one call closes the channel, and with it every other call to that peer."""
    return PeerGoneError(f"the connection to node {peer.node_id} at {peer.address} was closed")

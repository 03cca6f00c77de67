"""Streams and calls between two nodes over real gRPC."""

import asyncio
import random

import pytest

from cluster.peers.grpc_network import GrpcPeerNetwork
from cluster.peers.network import Peer, PeerGoneError, PeerStream
from ottla.local.ports import free_base_port

LIMIT_S = 20.0


class _Silent:
    """Takes streams and says nothing; fails every call."""

    async def call(self, source: int, method: str, request: bytes) -> bytes:
        raise PeerGoneError(f"{method} from {source}: {len(request)} bytes")

    async def stream(self, method: str, stream: PeerStream) -> None:
        try:
            while True:
                await stream.receive()
        except PeerGoneError:
            return


def test_a_stream_whose_channel_is_closed_by_somebody_else_is_a_peer_that_is_gone() -> None:
    """grpc.aio cancels what is open on a channel that is closed; the reader's task must hear of it, not end."""

    async def run() -> None:
        port = free_base_port(1, random.Random())
        peer = Peer(2, f"127.0.0.1:{port}")
        there = GrpcPeerNetwork(2, peer.address, lambda: "c")
        here = GrpcPeerNetwork(1, f"127.0.0.1:{port + 1}", lambda: "c")
        await there.serve(_Silent())
        reached: list[str] = []

        async def read() -> None:
            try:
                async with here.open_stream(peer, "Replicate") as stream:
                    opened.set()
                    await stream.receive()
            except PeerGoneError as error:
                reached.append(str(error))

        opened = asyncio.Event()
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read())
            await opened.wait()
            other = here.open_stream(peer, "Replicate")
            with pytest.raises(PeerGoneError, match="our own"):
                async with other:
                    raise PeerGoneError("our own")
            await asyncio.wait([reading])
        assert not reading.cancelled()
        assert reached
        await here.close()
        await there.close()

    asyncio.run(run())

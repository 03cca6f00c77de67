"""The seam between nodes: calls, streams and probes, all of them frames of bytes.

Production puts gRPC behind it (`grpc_network`), the simulator a network of its own. A node promises little: a call may
fail without telling whether it was carried out, a stream breaks as a whole, frames of one stream arrive in order.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from storage.errors import ErrorCode, OttlaError


class PeerGoneError(OttlaError):
    """The peer did not answer, or the stream to it broke. Whether it acted on what it got is unknown."""

    code = ErrorCode.BROKER_NOT_AVAILABLE
    retriable = True


class PeerRefusedError(OttlaError):
    """The peer is not who we took it for: another node id or another cluster."""

    code = ErrorCode.INCONSISTENT_CLUSTER_ID


class Probe(Enum):
    """What a connection attempt to a peer's listener tells."""

    ALIVE = "alive"
    # Nobody listens there: the process is gone, or its host is.
    DEAD = "dead"
    # No answer in time: slow, paused, or cut off.
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to talk to: the id guards against an address that meanwhile belongs to another node."""

    node_id: int
    address: str


class PeerStream(Protocol):
    """One side of a bidirectional stream of frames."""

    @property
    def peer_id(self) -> int:
        """The node at the other end."""
        ...

    async def send(self, frame: bytes) -> None:
        """Hand over one frame; waits while the peer cannot take more. Raises PeerGoneError."""
        ...

    async def receive(self) -> bytes:
        """The next frame. Raises PeerGoneError at the end of the stream."""
        ...


class PeerService(Protocol):
    """What a node offers to its peers."""

    async def call(self, source: int, method: str, request: bytes) -> bytes:
        """Answer one call."""
        ...

    async def stream(self, method: str, stream: PeerStream) -> None:
        """Serve one stream until it ends."""
        ...


class PeerNetwork(Protocol):
    """One node's way to all others."""

    async def serve(self, service: PeerService) -> None:
        """Listen and hand everything to `service`. Raises OttlaError naming the address when it cannot be bound."""
        ...

    async def call(self, peer: Peer, method: str, request: bytes, timeout_s: float) -> bytes:
        """One request, one reply. Raises PeerGoneError, PeerRefusedError."""
        ...

    def open_stream(self, peer: Peer, method: str) -> AbstractAsyncContextManager[PeerStream]:
        """A stream that the peer has taken. Raises PeerGoneError, PeerRefusedError."""
        ...

    async def probe(self, peer: Peer, timeout_s: float) -> Probe:
        """Is anybody there? Never raises."""
        ...

    async def close(self) -> None:
        """Stop listening, break all streams."""
        ...


@dataclass(frozen=True, slots=True)
class Greeting:
    """Who calls whom, sent with every call and stream. An unknown cluster id (before the first election) is empty."""

    source: int
    target: int
    cluster_id: str


def check_greeting(greeting: Greeting, node_id: int, cluster_id: str) -> str | None:
    """Why a caller must be refused, or None. Empty cluster ids match everything."""
    if greeting.target != node_id:
        return (
            f"this is node {node_id}, but node {greeting.source} took it for node {greeting.target}: "
            f"compare controller.quorum.voters on both nodes"
        )
    if greeting.cluster_id and cluster_id and greeting.cluster_id != cluster_id:
        return (
            f"node {greeting.source} belongs to cluster {greeting.cluster_id}, node {node_id} to {cluster_id}: "
            f"one of them has the wrong address or another cluster's data folder"
        )
    return None


ClusterIdSource = Callable[[], str]

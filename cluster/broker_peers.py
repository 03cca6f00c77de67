"""What a broker answers to its peers."""

from typing import TYPE_CHECKING

import msgspec
import structlog

from cluster.failover import controller_client
from cluster.handlers import quorum
from cluster.peers.network import PeerGoneError, PeerStream
from cluster.peers.raft_links import PING
from kraft.metadata import requests
from kraft.metadata.errors import InvalidRequestError, NotControllerError, Refusal
from kraft.metadata.replies import Refused
from kraft.quorum_controller import Answer
from kraft.raft import messages

if TYPE_CHECKING:
    from cluster.broker import Broker

log = structlog.get_logger("peers")


class BrokerPeers:
    """The PeerService of a broker. Garbage from a peer ends its stream or call, and nothing else."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    async def call(self, source: int, method: str, request: bytes) -> bytes:
        """Controller and quorum requests, and a sign of life."""
        self._broker.links.heard_from(source)
        if method == controller_client.METHOD:
            return controller_client.encode_answer(await self._controller(request))
        if method == quorum.METHOD:
            return await self._broker.quorum.serve(request)
        if method == PING:
            return b""
        raise InvalidRequestError(
            f"node {source} called {method}, which this release does not know"
        )

    async def stream(self, method: str, stream: PeerStream) -> None:
        """Raft messages, and the partitions that a follower reads."""
        self._broker.links.heard_from(stream.peer_id)
        try:
            if method == "Raft":
                await self._raft(stream)
            elif method == "Replicate":
                await self._broker.replicas.serve_follower(stream)
            else:
                raise InvalidRequestError(
                    f"node {stream.peer_id} opened {method}, which this release does not know"
                )
        except PeerGoneError as error:
            log.debug("peer left", peer=stream.peer_id, stream=method, reason=str(error))
        except msgspec.MsgspecError as error:
            log.warning("peer sent garbage", peer=stream.peer_id, stream=method, error=str(error))

    async def _raft(self, stream: PeerStream) -> None:
        while True:
            self._broker.driver.receive(messages.decode(await stream.receive()))

    async def _controller(self, data: bytes) -> Answer:
        try:
            return await self._broker.controller.submit(requests.decode(data))
        except (NotControllerError, InvalidRequestError) as error:
            return Answer(-1, Refused(refusal=Refusal.of(error)))

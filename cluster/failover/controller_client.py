"""How any node asks the active controller, wherever that is at the moment."""

import asyncio
from collections.abc import Awaitable, Callable

from cluster.peers.network import Peer, PeerGoneError, PeerNetwork
from kraft.metadata import replies, requests
from kraft.metadata.errors import NotControllerError
from kraft.metadata.replies import Refused, Reply
from kraft.metadata.requests import ControllerRequest
from kraft.quorum_controller import Answer
from storage.errors import ErrorCode, OttlaError

RETRY_S = 0.03
ATTEMPT_S = 2.0
"""How long one sending is waited for: a controller that has fallen silent may have a successor since."""

METHOD = "Controller"


class ControllerUnavailableError(OttlaError):
    """No active controller answered in time."""

    code = ErrorCode.REQUEST_TIMED_OUT
    retriable = True


class ControllerClient:
    """`leader` names the node that leads the quorum as far as is known here (None: nobody); `local` answers requests
    when that is this node; `peer` finds a node's peer address; `applied` waits until this node's image has reached an
    offset; `no_leader` says to people why there is nobody to ask.
    """

    def __init__(
        self,
        network: PeerNetwork,
        node_id: int,
        leader: Callable[[], int | None],
        peer: Callable[[int], Peer | None],
        local: Callable[[ControllerRequest], Awaitable[Answer]],
        applied: Callable[[int], Awaitable[None]],
        no_leader: Callable[[], str],
    ) -> None:
        self._network = network
        self._node_id = node_id
        self._leader = leader
        self._peer = peer
        self._local = local
        self._applied = applied
        self._no_leader = no_leader

    async def ask(self, request: ControllerRequest, timeout_s: float) -> Reply:
        """The reply, once committed and visible in this node's image.

        Raises what the controller refuses with, or ControllerUnavailableError.
        A request whose answer was lost is sent again: a change may then find itself done already.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        reason = "it did not answer in time"
        while True:
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                if self._leader() is None:
                    reason = self._no_leader()
                raise ControllerUnavailableError(
                    f"no active controller answered within {timeout_s:.3g} s: {reason}"
                )
            try:
                reply = await self._attempt(request, min(left_s, ATTEMPT_S))
            except (PeerGoneError, NotControllerError, TimeoutError) as error:
                reason = str(error) or "it did not answer in time"
            else:
                if reply is not None:
                    return reply
            await asyncio.sleep(RETRY_S)

    async def ask_once(self, request: ControllerRequest, timeout_s: float) -> Reply:
        """`ask` with one sending only. Raises ControllerUnavailableError when its fate is unknown."""
        try:
            reply = await self._attempt(request, timeout_s)
        except (PeerGoneError, NotControllerError, TimeoutError) as error:
            raise ControllerUnavailableError(str(error) or "no answer in time") from error
        if reply is None:
            raise ControllerUnavailableError(self._no_leader())
        return reply

    async def _attempt(self, request: ControllerRequest, timeout_s: float) -> Reply | None:
        leader = self._leader()
        if leader is None:
            return None
        if leader == self._node_id:
            async with asyncio.timeout(timeout_s):
                answer = await self._local(request)
        else:
            peer = self._peer(leader)
            if peer is None:
                return None
            data = await self._network.call(peer, METHOD, requests.encode(request), timeout_s)
            answer = decode_answer(data)
        if isinstance(answer.reply, Refused):
            raise answer.reply.refusal.to_error()
        async with asyncio.timeout(timeout_s):
            await self._applied(answer.offset)
        return answer.reply


def encode_answer(answer: Answer) -> bytes:
    """An answer as bytes: the offset, then the reply."""
    return answer.offset.to_bytes(8, "big", signed=True) + replies.encode(answer.reply)


def decode_answer(data: bytes) -> Answer:
    """The reverse of `encode_answer`. Raises InvalidRequestError."""
    return Answer(int.from_bytes(data[:8], "big", signed=True), replies.decode(data[8:]))

"""The way to a group's coordinator, which moves when its node fails."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

import grpc
import grpc.aio

from cluster.together import until_first_ends
from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError, ClientError, NoBrokerError, plain_reason
from ottla.v1 import common_pb2, groups_pb2_grpc
from ottla.v1 import groups_pb2 as pb
from storage.errors import ErrorCode

FIND_TIMEOUT_S = 2.0
ATTEMPT_TIMEOUT_S = 2.0
PATIENCE_S = 30.0
WATCH_S = 1.0
PAUSE_S = 0.03
PAUSE_MAX_S = 0.3

_MOVED = (
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
)
_UNREACHABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)


class _Answer(Protocol):
    @property
    def error(self) -> common_pb2.Error: ...


Reply = TypeVar("Reply")
Attempt = Callable[["groups_pb2_grpc.GroupServiceAsyncStub", float], Awaitable[Reply]]


class _Attending(NamedTuple):
    """An open call: to which address, for which member."""

    wanted: tuple[str | None, str]
    call: "grpc.aio.UnaryUnaryCall[pb.AttendRequest, pb.AttendResponse]"


class CoordinatorLink:
    """Asks the coordinator of one group, wherever it is."""

    def __init__(self, view: ClusterView, group_id: str, rng: random.Random) -> None:
        self._view = view
        self._group_id = group_id
        self._rng = rng
        self._address: str | None = None
        self._attending: _Attending | None = None
        self.last_error: Exception | None = None

    async def ask(
        self,
        attempt: Attempt[Reply],
        refusal: Callable[[Reply], BrokerError | None],
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        patience_s: float = PATIENCE_S,
    ) -> Reply:
        """One call, and again where the coordinator went while it is moving.

        timeout_s: of one attempt; a long one ends early when the coordinator has moved. Raises BrokerError for what
        the coordinator refuses, NoBrokerError when there is none for `patience_s`.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + patience_s
        pause_s = PAUSE_S
        while True:
            try:
                return await self._once(attempt, refusal, timeout_s)
            except ClientError as error:
                moved = isinstance(error, NoBrokerError) or error.code in _MOVED
                if not moved or loop.time() > deadline_s:
                    raise
                self.last_error = error
            await asyncio.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(pause_s * 1.5, PAUSE_MAX_S)

    async def _once(
        self,
        attempt: Attempt[Reply],
        refusal: Callable[[Reply], BrokerError | None],
        timeout_s: float,
    ) -> Reply:
        address = self._address or await self.find()
        self._address = address
        stub: groups_pb2_grpc.GroupServiceAsyncStub = groups_pb2_grpc.GroupServiceStub(
            self._view.channel(address)
        )
        try:
            if timeout_s > ATTEMPT_TIMEOUT_S:
                reply = await self._watched(address, attempt(stub, timeout_s))
            else:
                reply = await attempt(stub, timeout_s)
        except grpc.aio.AioRpcError as error:
            self._forget(address)
            if error.code() in _UNREACHABLE:
                raise NoBrokerError(
                    f"the coordinator of group {self._group_id} at {address}: {plain_reason(error)}"
                ) from None
            raise BrokerError.of_call(error) from error
        refused = refusal(reply)
        if refused is not None:
            if refused.code in _MOVED:
                self._forget(address)
            raise refused
        return reply

    async def _watched(self, address: str, call: Awaitable[Reply]) -> Reply:
        """Waits as long as the coordinator is where it was: a paused one neither answers nor breaks off."""
        answers: list[Reply] = []

        async def answered() -> None:
            answers.append(await call)

        await until_first_ends(answered(), self._until_moved(address))
        return answers[0]

    async def _until_moved(self, address: str) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                found = await self.find()
            except ClientError:
                continue
            if found != address:
                self._forget(address)
                raise NoBrokerError(
                    f"the coordinator of group {self._group_id} has moved to {found}"
                )

    def attend(self, request: pb.AttendRequest) -> None:
        """Keep a call open to the coordinator that was last asked, which breaks with this process."""
        wanted = (self._address, request.member_id)
        attending = self._attending
        if attending is not None and wanted == attending.wanted and not attending.call.done():
            return
        self.end_attendance()
        if self._address is not None:
            stub: groups_pb2_grpc.GroupServiceAsyncStub = groups_pb2_grpc.GroupServiceStub(
                self._view.channel(self._address)
            )
            self._attending = _Attending(wanted, stub.Attend(request))

    def end_attendance(self) -> None:
        """End that call, if there is one."""
        attending, self._attending = self._attending, None
        if attending is not None:
            attending.call.cancel()

    async def find(self) -> str:
        """The coordinator's address. Raises BrokerError, NoBrokerError."""
        request = pb.FindCoordinatorRequest(group_ids=[self._group_id])
        try:
            reply = await self._view.ask_groups(
                lambda stub, timeout: stub.FindCoordinator(request, timeout=timeout),
                timeout_s=FIND_TIMEOUT_S,
            )
        except grpc.aio.AioRpcError as error:
            raise BrokerError.of_call(error) from error
        found = reply.coordinators[0]
        if found.HasField("error"):
            raise BrokerError(found.error)
        return f"{found.host}:{found.port}"

    def _forget(self, address: str) -> None:
        if self._address == address:
            self._address = None


def refused(reply: _Answer) -> BrokerError | None:
    """The error of an answer that has one."""
    error = reply.error
    return BrokerError(error) if error.code or error.message else None

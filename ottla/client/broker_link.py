"""One StreamProduce stream to one broker."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import grpc
import grpc.aio

from cluster.together import cancelled_by_us, until_first_ends
from ottla.client.batches import Batch, PartitionQueue
from ottla.client.errors import NoBrokerError, plain_reason
from ottla.v1 import log_pb2 as pb
from ottla.v1 import log_pb2_grpc


class Sent(NamedTuple):
    """A batch in flight."""

    queue: PartitionQueue
    batch: Batch


class Request(NamedTuple):
    """What one message carried, and when it was handed to the stream (the loop's seconds)."""

    parts: Sequence[Sent]
    sent_s: float


Answered = Callable[[Request, pb.ProduceResponse], None]
Broken = Callable[["BrokerLink", Sequence[Request], Exception], None]


class BrokerLink:
    """Requests go out in order, answers come back by number. What is unanswered when the stream breaks is returned."""

    def __init__(
        self,
        node_id: int,
        channel: grpc.aio.Channel,
        acks: "pb.Acks.ValueType",
        timeout_s: float,
        answered: Answered,
        broken: Broken,
    ) -> None:
        self.node_id = node_id
        self._stub: log_pb2_grpc.LogServiceAsyncStub = log_pb2_grpc.LogServiceStub(channel)
        self._acks = acks
        self._timeout_ms = int(timeout_s * 1000)
        self._answered = answered
        self._broken = broken
        self._outstanding: dict[int, Request] = {}
        self._outbox: deque[pb.StreamProduceRequest] = deque()
        self._wake = asyncio.Event()
        self._numbers = 0
        self._call: (
            grpc.aio.StreamStreamCall[pb.StreamProduceRequest, pb.StreamProduceResponse] | None
        ) = None
        self._reason: Exception | None = None

    @property
    def oldest(self) -> Request | None:
        """The request that has waited longest for its answer."""
        return next(iter(self._outstanding.values()), None)

    @property
    def outstanding(self) -> Sequence[Request]:
        """All requests without an answer."""
        return list(self._outstanding.values())

    def send(self, parts: Sequence[Sent]) -> None:
        """Queue one request."""
        self._numbers += 1
        request = pb.ProduceRequest(acks=self._acks, timeout_ms=self._timeout_ms)
        for queue, batch in parts:
            request.partitions.add(topic=queue.topic, partition=queue.partition, batches=batch.data)
        self._outstanding[self._numbers] = Request(parts, asyncio.get_running_loop().time())
        self._outbox.append(pb.StreamProduceRequest(correlation_id=self._numbers, request=request))
        self._wake.set()

    def break_off(self, reason: Exception) -> None:
        """Give the stream up."""
        self._reason = reason
        if self._call is not None:
            self._call.cancel()

    async def run(self) -> None:
        """Speak until the stream breaks, then report what is unanswered."""
        error: Exception = NoBrokerError(f"node {self.node_id} ended the stream")
        try:
            self._call = self._stub.StreamProduce()
            await until_first_ends(self._write(self._call), self._read(self._call))
        except grpc.aio.AioRpcError as cause:
            error = NoBrokerError(
                f"the connection to node {self.node_id} broke: {plain_reason(cause)}"
            )
        except (NoBrokerError, asyncio.InvalidStateError) as cause:
            error = NoBrokerError(f"the connection to node {self.node_id} broke: {cause}")
        finally:
            if self._call is not None:
                self._call.cancel()
        self._broken(self, self.outstanding, self._reason or error)

    async def _write(
        self, call: "grpc.aio.StreamStreamCall[pb.StreamProduceRequest, pb.StreamProduceResponse]"
    ) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outbox:
                await call.write(self._outbox.popleft())

    async def _read(
        self, call: "grpc.aio.StreamStreamCall[pb.StreamProduceRequest, pb.StreamProduceResponse]"
    ) -> None:
        while True:
            try:
                message = await call.read()
            except asyncio.CancelledError:
                if cancelled_by_us():
                    raise
                raise NoBrokerError("the call was cancelled") from None
            if not isinstance(message, pb.StreamProduceResponse):
                raise NoBrokerError(f"node {self.node_id} ended the stream")
            request = self._outstanding.pop(message.correlation_id, None)
            if request is not None:
                self._answered(request, message.response)

"""Produce over gRPC: one request, or many on a stream answered as they complete."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import grpc.aio

from cluster.errors import InvalidRequestError
from cluster.handlers.produce import (
    ACKS_ALL,
    ACKS_LEADER,
    ACKS_NONE,
    PartitionBatches,
    Produced,
    ProduceHandler,
)
from cluster.listeners.grpc_errors import HintOf, to_proto
from ottla.v1 import log_pb2 as pb
from storage.disk import Buffer
from storage.errors import InvalidTimestampError, OttlaError
from storage.records import BatchBuilder

DEFAULT_TIMEOUT_S = 30.0
# Requests of one stream that may wait for replicas at once, and their bytes: then the stream is read no further.
MAX_IN_FLIGHT = 256
MAX_IN_FLIGHT_BYTES = 32 << 20

_ACKS = {
    pb.ACKS_UNSPECIFIED: ACKS_ALL,
    pb.ACKS_NONE: ACKS_NONE,
    pb.ACKS_LEADER: ACKS_LEADER,
    pb.ACKS_ALL: ACKS_ALL,
}


class GrpcProduce:
    """`hint` finds the address of the leader named in an error, as this listener advertises it."""

    def __init__(
        self, handler: ProduceHandler, hint: HintOf, now_wall_ms: Callable[[], int]
    ) -> None:
        self._handler = handler
        self._hint = hint
        self._now_wall_ms = now_wall_ms

    async def one(
        self, request: pb.ProduceRequest, time_left_s: float | None
    ) -> pb.ProduceResponse:
        """Append and wait; the call's deadline shortens the wait."""
        results = self.begin(request)
        await self._handler.finish(results, _timeout_s(request, time_left_s))
        return self.respond(results)

    async def stream(
        self,
        context: "grpc.aio.ServicerContext[pb.StreamProduceRequest, pb.StreamProduceResponse]",
    ) -> None:
        """Append in the order of arrival, answer in the order of completion, until the client ends the stream."""
        async with asyncio.TaskGroup() as tasks:
            session = _StreamSession(self, context)
            answers = tasks.create_task(session.answer())
            await session.read(tasks)
            await session.drained()
            answers.cancel()

    def begin(self, request: pb.ProduceRequest) -> list[Produced]:
        """Append, without waiting. What cannot be understood is refused, each partition by itself."""
        parts = []
        refused = {}
        for index, each in enumerate(request.partitions):
            batches: Buffer = each.batches
            if each.records or each.HasField("sequence"):
                try:
                    batches = self._pack(each)
                except OttlaError as error:
                    refused[index] = Produced(each.topic, each.partition, error)
                    continue
            parts.append(PartitionBatches(each.topic, each.partition, batches))
        results = self._handler.begin(parts, _ACKS.get(request.acks, int(request.acks)))
        for index, result in refused.items():
            results.insert(index, result)
        return results

    def _pack(self, partition: pb.PartitionProduce) -> bytes:
        """Plain records as one batch. Raises InvalidRequestError, InvalidTimestampError."""
        if partition.batches or not partition.records:
            raise InvalidRequestError(
                f"{partition.topic}-{partition.partition}: give either batches or records, and a sequence with records "
                f"only"
            )
        builder = BatchBuilder()
        now = self._now_wall_ms()
        for record in partition.records:
            if record.timestamp_ms < 0:
                raise InvalidTimestampError(
                    f"record timestamp {record.timestamp_ms} is negative; leave it out for now"
                )
            builder.append(
                record.timestamp_ms or now,
                record.key if record.HasField("key") else None,
                record.value if record.HasField("value") else None,
                [
                    (header.key, header.value if header.HasField("value") else None)
                    for header in record.headers
                ],
            )
        if not partition.HasField("sequence"):
            return builder.build()
        sequence = partition.sequence
        return builder.build(
            producer_id=sequence.producer_id,
            producer_epoch=sequence.producer_epoch,
            base_sequence=sequence.base_sequence,
        )

    def respond(self, results: Sequence[Produced]) -> pb.ProduceResponse:
        """The results as a message."""
        return pb.ProduceResponse(partitions=[self._produced(each) for each in results])

    def _produced(self, result: Produced) -> pb.PartitionProduced:
        return pb.PartitionProduced(
            topic=result.topic,
            partition=result.partition,
            error=None
            if result.error is None
            else to_proto(result.error, self._hint(result.error)),
            base_offset=result.base_offset,
            log_append_time_ms=result.append_time_ms,
            log_start_offset=result.log_start_offset,
        )


class _StreamSession:
    """One client's stream: bounded requests in flight, one writer."""

    def __init__(
        self,
        produce: GrpcProduce,
        context: "grpc.aio.ServicerContext[pb.StreamProduceRequest, pb.StreamProduceResponse]",
    ) -> None:
        self._produce = produce
        self._context = context
        self._answers: deque[pb.StreamProduceResponse] = deque()
        self._answered = asyncio.Event()
        self._idle = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._in_flight = 0
        self._bytes_in_flight = 0

    async def read(self, tasks: asyncio.TaskGroup) -> None:
        """Take requests until the client has no more."""
        while True:
            await self._room.wait()
            message: object = await self._context.read()
            if not isinstance(message, pb.StreamProduceRequest):
                return
            size = message.ByteSize()
            self._in_flight += 1
            self._bytes_in_flight += size
            if self._in_flight >= MAX_IN_FLIGHT or self._bytes_in_flight >= MAX_IN_FLIGHT_BYTES:
                self._room.clear()
            results = self._produce.begin(message.request)
            if any(each.done is not None for each in results):
                tasks.create_task(self._finish(message, results, size))
            else:
                self._complete(message, results, size)

    async def _finish(
        self, message: pb.StreamProduceRequest, results: list[Produced], size: int
    ) -> None:
        await ProduceHandler.finish(results, _timeout_s(message.request, None))
        self._complete(message, results, size)

    def _complete(
        self, message: pb.StreamProduceRequest, results: list[Produced], size: int
    ) -> None:
        response = self._produce.respond(results)
        self._answers.append(
            pb.StreamProduceResponse(correlation_id=message.correlation_id, response=response)
        )
        self._answered.set()
        self._in_flight -= 1
        self._bytes_in_flight -= size
        if self._in_flight < MAX_IN_FLIGHT and self._bytes_in_flight < MAX_IN_FLIGHT_BYTES:
            self._room.set()

    async def answer(self) -> None:
        """Write answers as they come."""
        while True:
            await self._answered.wait()
            while self._answers:
                await self._context.write(self._answers[0])
                self._answers.popleft()
            self._answered.clear()
            self._idle.set()

    async def drained(self) -> None:
        """Wait until every request has been answered."""
        while self._in_flight or self._answers:
            self._idle.clear()
            await self._idle.wait()


def _timeout_s(request: pb.ProduceRequest, time_left_s: float | None) -> float:
    wanted = request.timeout_ms / 1000 if request.timeout_ms > 0 else DEFAULT_TIMEOUT_S
    return wanted if time_left_s is None else min(wanted, time_left_s)

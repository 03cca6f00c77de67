"""LogService: the hot path's door."""

from typing import Any

import grpc.aio

from cluster.handlers.admin import ProducerIds
from cluster.handlers.offsets import OffsetsHandler, OffsetSpec
from cluster.listeners.grpc_errors import HintOf, abort, to_proto
from cluster.listeners.grpc_fetch import GrpcFetch
from cluster.listeners.grpc_produce import GrpcProduce
from ottla.v1 import log_pb2 as pb
from ottla.v1 import log_pb2_grpc
from storage.errors import OttlaError

_SPECS = {
    pb.OFFSET_SPEC_UNSPECIFIED: OffsetSpec.TIMESTAMP,
    pb.OFFSET_SPEC_EARLIEST: OffsetSpec.EARLIEST,
    pb.OFFSET_SPEC_LATEST: OffsetSpec.LATEST,
    pb.OFFSET_SPEC_MAX_TIMESTAMP: OffsetSpec.MAX_TIMESTAMP,
}

Context = grpc.aio.ServicerContext[Any, Any]


class GrpcLog(log_pb2_grpc.LogServiceServicer):
    """One listener's log service."""

    def __init__(
        self,
        produce: GrpcProduce,
        fetch: GrpcFetch,
        offsets: OffsetsHandler,
        producer_ids: ProducerIds,
        hint: HintOf,
    ) -> None:
        self._produce = produce
        self._fetch = fetch
        self._offsets = offsets
        self._producer_ids = producer_ids
        self._hint = hint

    async def Produce(self, request: pb.ProduceRequest, context: Context) -> pb.ProduceResponse:
        """One request."""
        return await self._produce.one(request, context.time_remaining())

    # The read/write form of a stream, which the stubs do not know.
    async def StreamProduce(self, _requests: object, context: Context) -> None:  # type: ignore[override]
        """Many requests."""
        await self._produce.stream(context)

    async def Fetch(self, request: pb.FetchRequest, context: Context) -> pb.FetchResponse:
        """One long poll."""
        return await self._fetch.one(request, context.time_remaining())

    async def StreamFetch(self, _requests: object, context: Context) -> None:  # type: ignore[override]
        """Subscriptions."""
        await self._fetch.stream(context)

    async def ListOffsets(
        self, request: pb.ListOffsetsRequest, _context: Context
    ) -> pb.ListOffsetsResponse:
        """For partitions led by this node."""
        response = pb.ListOffsetsResponse()
        for query in request.queries:
            found = await self._offsets.find(
                query.topic, query.partition, _SPECS.get(query.spec), query.timestamp_ms
            )
            response.offsets.add(
                topic=query.topic,
                partition=query.partition,
                error=None
                if found.error is None
                else to_proto(found.error, self._hint(found.error)),
                offset=found.offset,
                timestamp_ms=found.timestamp_ms,
                leader_epoch=found.leader_epoch,
            )
        return response

    async def InitProducerId(
        self, _request: pb.InitProducerIdRequest, context: Context
    ) -> pb.InitProducerIdResponse:
        """An id that nobody else gets."""
        try:
            producer_id = await self._producer_ids.next(context.time_remaining())
        except OttlaError as error:
            await abort(context, error)
        return pb.InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)

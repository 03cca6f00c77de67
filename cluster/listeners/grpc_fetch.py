"""Fetch over gRPC: long polls, and subscriptions that spend the client's credit."""

import asyncio
from collections.abc import Callable

import grpc.aio

from cluster.errors import InvalidRequestError
from cluster.handlers.fetch import Fetched, FetchFrom, FetchHandler
from cluster.listeners.grpc_errors import HintOf, abort, to_proto
from cluster.replication.partition import Partition
from ottla.v1 import log_pb2 as pb
from storage.errors import OttlaError
from storage.record_stream import decode_batches

DEFAULT_PARTITION_BYTES = 1 << 20
DEFAULT_FETCH_BYTES = 4 << 20
# The longest response and the most credit that are honoured, whatever the client says.
MAX_RESPONSE_BYTES = 8 << 20
MAX_CREDIT_BYTES = 64 << 20
MAX_WAIT_S = 30.0
NO_CREDIT = (
    "the first message of StreamFetch gives no credit_bytes, so nothing may be sent: give as many bytes as the client "
    "can take, and what it has read again later"
)

Context = grpc.aio.ServicerContext[pb.StreamFetchRequest, pb.StreamFetchResponse]


class GrpcFetch:
    """`hint` finds the address of the leader named in an error, as this listener advertises it."""

    def __init__(self, handler: FetchHandler, hint: HintOf) -> None:
        self.handler = handler
        self._hint = hint

    async def one(self, request: pb.FetchRequest, time_left_s: float | None) -> pb.FetchResponse:
        """One read, waiting for `min_bytes` up to `max_wait_ms` and the call's deadline."""
        wait_s = min(request.max_wait_ms / 1000, MAX_WAIT_S)
        if time_left_s is not None:
            wait_s = min(wait_s, time_left_s * 0.9)
        results = await self.handler.fetch(
            [fetch_from(each) for each in request.partitions],
            max_wait_s=wait_s,
            min_bytes=max(request.min_bytes, 1),
            max_bytes=min(request.max_bytes or DEFAULT_FETCH_BYTES, MAX_RESPONSE_BYTES),
        )
        asked = {(each.topic, each.partition): each.offset for each in request.partitions}
        return pb.FetchResponse(
            partitions=[
                self.fetched(each, request.form, asked[each.topic, each.partition])
                for each in results
            ]
        )

    async def stream(self, context: Context) -> None:
        """Serve subscriptions until the client leaves, or has used up its credit and gives no more."""
        session = _FetchSession(self, context)
        first: object = await context.read()
        if not isinstance(first, pb.StreamFetchRequest):
            return
        if first.credit_bytes <= 0:
            await abort(context, InvalidRequestError(NO_CREDIT))
        session.begin(first)
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(session.send())
            try:
                await session.read()
                await session.used_up.wait()
            finally:
                session.close()
                sending.cancel()

    def fetched(
        self, result: Fetched, form: "pb.RecordForm.ValueType", asked: int
    ) -> pb.PartitionFetched:
        """One partition's result; plain records are those at or after the offset asked for."""
        message = pb.PartitionFetched(
            topic=result.topic,
            partition=result.partition,
            error=None
            if result.error is None
            else to_proto(result.error, self._hint(result.error)),
            high_watermark=result.high_watermark,
            log_start_offset=result.log_start_offset,
            next_offset=result.next_offset,
        )
        if form == pb.RECORD_FORM_PLAIN:
            message.records.extend(_plain(result.batches, asked))
        else:
            message.batches = bytes(result.batches)
        return message


class _Cursor:
    """One subscribed partition of a stream."""

    def __init__(
        self, request: FetchFrom, partition: Partition | None, wake: Callable[[], None]
    ) -> None:
        self.request = request
        self.partition = partition
        self._wake = wake
        self.told_high_watermark = -1
        if partition is not None:
            partition.on_commit.add(wake)

    def detach(self) -> None:
        """Stop listening to the partition."""
        if self.partition is not None:
            self.partition.on_commit.discard(self._wake)


class _FetchSession:
    """One client's subscriptions. What is sent is paid from its credit, so a slow client holds back itself only."""

    def __init__(self, fetch: GrpcFetch, context: Context) -> None:
        self._fetch = fetch
        self._context = context
        self._cursors: dict[tuple[str, int], _Cursor] = {}
        self._ready: dict[tuple[str, int], None] = {}
        self._credit = 0
        self._form: pb.RecordForm.ValueType = pb.RECORD_FORM_UNSPECIFIED
        self._max_bytes = DEFAULT_PARTITION_BYTES
        self._wake = asyncio.Event()
        self.used_up = asyncio.Event()
        """Set while there is no credit."""

    async def read(self) -> None:
        """Take subscriptions and credit until the client ends its side."""
        while True:
            message: object = await self._context.read()
            if not isinstance(message, pb.StreamFetchRequest):
                return
            self._take(message)

    def begin(self, first: pb.StreamFetchRequest) -> None:
        """The first message says how the records are to come."""
        self._form = first.form
        self._max_bytes = min(first.max_bytes or self._max_bytes, MAX_RESPONSE_BYTES)
        self._take(first)

    def _take(self, message: pb.StreamFetchRequest) -> None:
        self._credit = min(self._credit + max(message.credit_bytes, 0), MAX_CREDIT_BYTES)
        if self._credit > 0:
            self.used_up.clear()
        for gone in message.unsubscribe:
            self._drop((gone.topic, gone.partition))
        for wanted in message.subscribe:
            self._add(fetch_from(wanted))
        self._wake.set()

    async def send(self) -> None:
        """Send what is ready, as long as there is credit."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ready and self._credit > 0:
                response = self._next_response()
                if response is not None:
                    await self._context.write(response)

    def close(self) -> None:
        """Forget all subscriptions."""
        for key in tuple(self._cursors):
            self._drop(key)

    def _next_response(self) -> pb.StreamFetchResponse | None:
        """Every partition at most once: what is left of the room would hold a part of a batch, and get a whole one."""
        spent = 0
        news = []
        for key in tuple(self._ready):
            if spent >= min(self._max_bytes, self._credit):
                break
            del self._ready[key]
            message, size = self._news_of(key, self._max_bytes - spent)
            spent += size
            if message is not None:
                news.append(message)
        self._credit -= spent
        if self._credit <= 0:
            self.used_up.set()
        return pb.StreamFetchResponse(partitions=news, credit_spent_bytes=spent) if news else None

    def _news_of(self, key: tuple[str, int], room: int) -> tuple[pb.PartitionFetched | None, int]:
        """The next records of one partition; an error ends its subscription."""
        cursor = self._cursors[key]
        request = cursor.request
        result = self._fetch.handler.read(request, room)
        size = len(result.batches)
        if result.error is not None:
            self._drop(key)
        elif size:
            cursor.request = request._replace(offset=result.next_offset)
            self._ready[key] = None
        elif result.high_watermark == cursor.told_high_watermark:
            return None, 0
        cursor.told_high_watermark = result.high_watermark
        return self._fetch.fetched(result, self._form, request.offset), size

    def _add(self, request: FetchFrom) -> None:
        key = (request.topic, request.partition)
        self._drop(key)

        def wake() -> None:
            self._ready[key] = None
            self._wake.set()

        try:
            partition = self._fetch.handler.lookup(request.topic, request.partition)
        except OttlaError:
            # The first read says what is wrong.
            partition = None
        self._cursors[key] = _Cursor(request, partition, wake)
        self._ready[key] = None

    def _drop(self, key: tuple[str, int]) -> None:
        self._ready.pop(key, None)
        cursor = self._cursors.pop(key, None)
        if cursor is not None:
            cursor.detach()


def fetch_from(message: pb.FetchPartition) -> FetchFrom:
    """The handler's form of a request."""
    return FetchFrom(
        message.topic,
        message.partition,
        message.offset,
        message.leader_epoch if message.HasField("leader_epoch") else -1,
        message.max_bytes or DEFAULT_PARTITION_BYTES,
    )


def _plain(batches: memoryview, from_offset: int) -> list[pb.Record]:
    records = []
    for record in decode_batches(batches):
        if record.offset < from_offset:
            continue
        records.append(
            pb.Record(
                offset=record.offset,
                timestamp_ms=record.timestamp_ms,
                key=record.key,
                value=record.value,
                headers=[pb.Header(key=key, value=value) for key, value in record.headers],
            )
        )
    return records

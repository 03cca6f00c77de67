"""The producer: records in, futures out; batched, keyed as in Kafka, idempotent unless told otherwise."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self

from ottla.client.background import Background
from ottla.client.batches import Batch, Delivery, RecordMetadata
from ottla.client.cluster_view import ClusterView
from ottla.client.errors import (
    BrokerError,
    BufferFullError,
    ClientError,
    ClosedError,
    NoBrokerError,
)
from ottla.client.partitioner import StickyPartitioner, partition_for_key
from ottla.client.sender import Sender, SenderSettings
from ottla.v1 import log_pb2 as pb
from storage.compression import Compression
from storage.records import Header

CompressionName = Literal["none", "gzip", "snappy", "lz4", "zstd"]
METADATA_PAUSE_S = 0.05

_ACKS = {"all": pb.ACKS_ALL, "leader": pb.ACKS_LEADER, "none": pb.ACKS_NONE}
_CODECS = {each.name.lower(): each for each in Compression}
_BYTES = (bytes, bytearray, memoryview)


class Producer:
    """Sends records, with acks from all in-sync replicas by default.

    Use it as `async with Producer("host:port") as producer`, or `start` and `stop` it.
    """

    def __init__(
        self,
        bootstrap: str | Sequence[str],
        *,
        acks: Literal["all", "leader", "none"] = "all",
        idempotent: bool | None = None,
        compression: CompressionName = "none",
        linger_ms: float = 2,
        batch_size: int = 128 * 1024,
        buffer_memory: int = 64 * 1024 * 1024,
        max_block_s: float = 60,
        delivery_timeout_s: float = 120,
        request_timeout_s: float = 30,
        partitioner: Callable[[bytes, int], int] = partition_for_key,
        rng: random.Random | None = None,
    ) -> None:
        """`idempotent`: by default with acks "all". `linger_ms`: how long a batch waits for company. `batch_size`,
        `buffer_memory`: bytes. `partitioner`: (key, number of partitions) -> partition. Raises ClientError for
        settings that cannot be.
        """
        if acks not in _ACKS:
            raise ClientError(f"there is no acks={acks!r}; there are {', '.join(_ACKS)}")
        if compression not in _CODECS:
            raise ClientError(
                f"there is no compression={compression!r}; there are {', '.join(_CODECS)}"
            )
        if idempotent and acks != "all":
            raise ClientError(f"an idempotent producer needs acks='all', not {acks!r}")
        rng = rng or random.Random()
        self._view = ClusterView(bootstrap)
        self._background = Background("ottla producer", self._died)
        self._batch_size = batch_size
        self._partitioner = partitioner
        self._sticky = StickyPartitioner(rng)
        self._buffer_memory = buffer_memory
        self._max_block_s = max_block_s
        self._used = 0
        self._room = asyncio.Event()
        self._settled = asyncio.Event()
        self._closed = False
        settings = SenderSettings(
            linger_s=linger_ms / 1000,
            batch_size=batch_size,
            max_request_size=1024 * 1024,
            delivery_timeout_s=delivery_timeout_s,
            request_timeout_s=min(request_timeout_s, delivery_timeout_s),
            compression=_CODECS[compression],
            acks=_ACKS[acks],
            idempotent=acks == "all" if idempotent is None else idempotent,
        )
        self._sender = Sender(self._view, settings, self._background, self._finished, rng)

    async def start(self) -> Self:
        """Find the cluster. Raises NoBrokerError when none of the bootstrap addresses answers in `max_block_s`."""
        await self._background.start()
        try:
            await self._until_answered(lambda: self._view.refresh([]))
            await self._until_answered(self._sender.start)
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self) -> None:
        """Deliver what was sent, within the delivery timeout, and close."""
        if not self._closed:
            await self.flush()
        self._closed = True
        await self._background.stop()
        await self._view.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
    ) -> Delivery:
        """Hand a record over and get its future; waits only for the topic's metadata and for room in the buffer.

        Raises BrokerError (unknown topic), BufferFullError, ClientError (no such partition), ClosedError, and
        TypeError for what is not bytes: then nothing was handed over, and others are not held up.
        """
        if not (value is None or isinstance(value, _BYTES)):
            raise _no_bytes("value", value)
        if not (key is None or isinstance(key, _BYTES)):
            raise _no_bytes("key", key)
        if headers:
            _check_headers(headers)
        if self._closed:
            raise ClosedError("this producer was stopped")
        self._background.check()
        view = self._view.topics.get(topic)
        if view is None:
            await self._await_topic(topic)
            view = self._view.topics[topic]
        if partition is None:
            if key is None:
                partition = self._sticky.partition(topic, view.available)
            else:
                partition = self._partitioner(key, len(view.leaders))
        elif not 0 <= partition < len(view.leaders):
            raise ClientError(
                f"{topic} has partitions 0 to {len(view.leaders) - 1}; there is no partition {partition}"
            )
        if self._used >= self._buffer_memory:
            await self._await_room()
        queue = self._sender.queue(topic, partition)
        stamp = timestamp_ms if timestamp_ms is not None else time.time_ns() // 1_000_000
        was_empty = not queue.waiting
        delivery, size, full = queue.append(
            asyncio.get_running_loop().time(), self._batch_size, stamp, key, value, headers
        )
        self._used += size
        delivery.batch.memory += size
        if full:
            self._sticky.batch_full(topic)
        if full or was_empty:
            self._sender.notify(queue)
        return delivery

    async def send_and_wait(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
    ) -> RecordMetadata:
        """Send a record and wait for its acknowledgement."""
        delivery = await self.send(
            topic, value, key=key, partition=partition, headers=headers, timestamp_ms=timestamp_ms
        )
        return await delivery

    async def flush(self) -> None:
        """Wait until every record sent so far is delivered or has failed."""
        while not self._sender.idle:
            self._background.check()
            self._settled.clear()
            await self._settled.wait()

    @property
    def trouble(self) -> Exception | None:
        """Why records are not acknowledged at the moment; None when nothing stands in the way."""
        return self._sender.trouble

    async def partitions_for(self, topic: str) -> int:
        """How many partitions a topic has. Raises BrokerError when there is no such topic."""
        if topic not in self._view.topics:
            await self._await_topic(topic)
        return len(self._view.topics[topic].leaders)

    async def _await_topic(self, topic: str) -> None:
        async def refresh() -> None:
            await self._view.refresh([topic])
            if topic not in self._view.topics:
                raise self._view.errors.get(topic) or NoBrokerError(
                    f"nothing is known of topic {topic} yet"
                )

        await self._until_answered(refresh)

    async def _until_answered(self, attempt: Callable[[], "asyncio.Future[None] | object"]) -> None:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._max_block_s
        while True:
            try:
                await attempt()  # type: ignore[misc]
            except (NoBrokerError, BrokerError) as error:
                lasting = isinstance(error, BrokerError) and not error.retriable
                if lasting or loop.time() > deadline_s:
                    raise
                await asyncio.sleep(METADATA_PAUSE_S)
            else:
                return

    async def _await_room(self) -> None:
        try:
            async with asyncio.timeout(self._max_block_s):
                while self._used >= self._buffer_memory:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            raise BufferFullError(
                f"{self._used} bytes wait for acknowledgements and buffer_memory is {self._buffer_memory}: records "
                f"come faster than the cluster takes them"
            ) from None

    def _finished(self, batch: Batch) -> None:
        self._used -= batch.memory
        batch.memory = 0
        self._room.set()
        self._settled.set()

    def _died(self, error: BaseException) -> None:
        self._sender.abandon(ClientError(f"the producer stopped working: {error!r}"))
        self._settled.set()
        self._room.set()


def _no_bytes(what: str, found: object) -> TypeError:
    hint = "; encode() makes bytes of a str" if isinstance(found, str) else ""
    return TypeError(f"the {what} {found!r:.60} is {type(found).__name__}, not bytes or None{hint}")


def _check_headers(headers: Sequence[Header]) -> None:
    for each in headers:
        if not (isinstance(each, tuple | list) and len(each) == 2 and isinstance(each[0], str)):
            raise TypeError(
                f"the header {each!r:.60} is no pair of a name (str) and a value (bytes or None)"
            )
        if not (each[1] is None or isinstance(each[1], _BYTES)):
            raise _no_bytes(f"value of the header {each[0]}:", each[1])

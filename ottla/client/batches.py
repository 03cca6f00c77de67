"""Records on their way: batches per partition, their order, and the futures of their records."""

import asyncio
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from storage.compression import Compression
from storage.records import BatchBuilder, Header

# In flight per partition: what a broker's duplicate check remembers (KIP-98).
MAX_IN_FLIGHT = 5
SEQUENCE_WRAP = 2**31


class RecordMetadata(NamedTuple):
    """Where a record went. offset is -1 with acks=0; timestamp_ms is the broker's if the topic stamps records."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Batch:
    """Records of one partition that travel together. Times are the loop's, in seconds."""

    __slots__ = (
        "attempts", "base_offset", "builder", "cause", "created_s", "data", "done", "identity",
        "log_append_time_ms", "memory", "partition", "refused", "sequence", "topic",
    )  # fmt: skip

    def __init__(self, topic: str, partition: int, created_s: float) -> None:
        self.topic = topic
        self.partition = partition
        self.created_s = created_s
        self.builder = BatchBuilder()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Bytes of the producer's buffer that this batch holds.
        self.memory = 0
        self.base_offset = -1
        self.log_append_time_ms = -1
        self.data = b""
        # (producer id, epoch) and first sequence, given when the batch is first sent.
        self.identity: tuple[int, int] | None = None
        self.sequence = -1
        self.attempts = 0
        # Why the last attempt failed; `refused` while it is in flight no more, but others of its queue still are.
        self.cause: Exception | None = None
        self.refused = False

    @property
    def size(self) -> int:
        """Bytes before compression."""
        return self.builder.size

    @property
    def count(self) -> int:
        """Records."""
        return self.builder.count

    def seal(self, compression: Compression) -> None:
        """Make the batch's bytes, with its identity if it has one."""
        if self.identity is None:
            self.data = self.builder.build(compression=compression)
            return
        producer_id, epoch = self.identity
        self.data = self.builder.build(
            producer_id=producer_id,
            producer_epoch=epoch,
            base_sequence=self.sequence,
            compression=compression,
        )

    def acknowledged(self, base_offset: int, log_append_time_ms: int) -> None:
        """The broker took it."""
        self.base_offset = base_offset
        self.log_append_time_ms = log_append_time_ms
        if not self.done.done():
            self.done.set_result(None)

    def failed(self, error: Exception) -> None:
        """It will not be sent again."""
        if not self.done.done():
            self.done.set_exception(error)
            # Whoever never looks at a delivery has chosen not to know.
            self.done.exception()


class Delivery:
    """The future of one record: `await` it for its RecordMetadata, or for the reason why it was not delivered."""

    __slots__ = ("_index", "_timestamp_ms", "batch")

    def __init__(self, batch: Batch, index: int, timestamp_ms: int) -> None:
        self.batch = batch
        self._index = index
        self._timestamp_ms = timestamp_ms

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        """Wait for the acknowledgement. Raises DeliveryTimeoutError or the broker's refusal."""
        if not self.batch.done.done():
            yield from asyncio.shield(self.batch.done).__await__()
        return self.result()

    def done(self) -> bool:
        """Whether the outcome is known."""
        return self.batch.done.done()

    def result(self) -> RecordMetadata:
        """The outcome, once `done`."""
        self.batch.done.result()
        batch = self.batch
        offset = batch.base_offset + self._index if batch.base_offset >= 0 else -1
        stamped = batch.log_append_time_ms
        return RecordMetadata(
            batch.topic, batch.partition, offset, stamped if stamped >= 0 else self._timestamp_ms
        )

    def exception(self) -> BaseException | None:
        """What went wrong, once `done`; None when it was delivered."""
        return self.batch.done.exception()


class PartitionQueue:
    """One partition's batches in order: `in_flight` were sent and are not answered, `waiting` come after them."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.waiting: deque[Batch] = deque()
        self.in_flight: deque[Batch] = deque()
        self.identity: tuple[int, int] | None = None
        self.next_sequence = 0
        # After a failure nothing is sent before this time, unless a newer leader epoch than sent_epoch is heard of.
        self.not_before_s = 0.0
        self.sent_epoch = -1
        self.failures = 0
        # A new identity is being fetched.
        self.on_hold = False

    def append(
        self,
        now_s: float,
        batch_size: int,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
    ) -> tuple[Delivery, int, bool]:
        """Add a record. Returns its future, the bytes it takes, and whether a batch became full."""
        batch = self.waiting[-1] if self.waiting else None
        full = False
        if batch is None or batch.identity is not None or batch.size >= batch_size:
            batch = Batch(self.topic, self.partition, now_s)
        before = batch.size if batch.count else 0
        index = batch.builder.append(timestamp_ms, key, value, headers)
        if before == 0:
            # Not earlier: what cannot be encoded leaves no empty batch behind, for which nobody wakes the sender.
            self.waiting.append(batch)
        full = batch.size >= batch_size
        return Delivery(batch, index, timestamp_ms), batch.size - before, full

    def ready_at_s(self, linger_s: float, batch_size: int) -> float | None:
        """When the first waiting batch may be sent; None when nothing may be sent before an answer comes."""
        if not self.waiting or self.on_hold or len(self.in_flight) >= MAX_IN_FLIGHT:
            return None
        if any(batch.refused for batch in self.in_flight):
            return None
        first = self.waiting[0]
        lingers = first.identity is None and len(self.waiting) == 1 and first.size < batch_size
        return max(first.created_s + linger_s if lingers else 0.0, self.not_before_s)

    def take(self) -> Batch:
        """The next batch to send, now in flight, with its sequence if the producer is idempotent."""
        batch = self.waiting.popleft()
        if batch.identity is None and self.identity is not None:
            batch.identity = self.identity
            batch.sequence = self.next_sequence
            self.next_sequence = (self.next_sequence + batch.count) % SEQUENCE_WRAP
        batch.attempts += 1
        batch.refused = False
        self.in_flight.append(batch)
        return batch

    @property
    def all_refused(self) -> bool:
        """Whether nothing in flight waits for an answer any more, and something was refused."""
        return bool(self.in_flight) and all(batch.refused for batch in self.in_flight)

    def rewind(self) -> None:
        """Put everything in flight back in front, in order, to be sent again."""
        self.waiting.extendleft(reversed(self.in_flight))
        self.in_flight.clear()

    def finished(self, batch: Batch) -> None:
        """A batch needs no further sending."""
        if batch in self.in_flight:
            self.in_flight.remove(batch)
        elif batch in self.waiting:
            self.waiting.remove(batch)

    def start_over(self, identity: tuple[int, int]) -> None:
        """Go on as a new producer: what waits is stamped anew, sequences begin at 0."""
        assert not self.in_flight, "batches with the old identity are in flight"
        for batch in self.waiting:
            batch.identity = None
        self.identity = identity
        self.next_sequence = 0

"""Ottla without asyncio: the same clients, blocking.

    with ottla.sync.Producer("localhost:9090") as producer:
        print(producer.send_and_wait("orders", b"one apple", key=b"apple"))

All of a process's blocking clients share one event loop in one background thread, because gRPC's asyncio face wants no
more than one loop (grpc/grpc#25364). Their methods may be called from any thread.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from ottla.client.admin import Admin as AsyncAdmin
from ottla.client.batches import RecordMetadata
from ottla.client.consumer import Consumer as AsyncConsumer
from ottla.client.offsets import OffsetAndTime, OffsetSpec
from ottla.client.partition_reader import Start
from ottla.client.producer import Producer as AsyncProducer
from ottla.client.records import ConsumerRecord, OffsetAndMetadata, TopicPartition
from storage.records import Header

T = TypeVar("T")


class _Loop:
    """The background loop, started when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run in the background and wait for the result; who is interrupted does not want it any more."""
        future = self.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def call(self, what: Callable[[], None]) -> None:
        """Call in the background, and at once from within it, as a listener does."""
        if threading.current_thread() is self._thread:
            what()
        else:
            self.run(_made(what))

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run in the background."""
        return asyncio.run_coroutine_threadsafe(work, self._started())

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="ottla", daemon=True
                )
                self._thread.start()
            return self._loop


_background = _Loop()


async def _made(make: Callable[[], T]) -> T:
    return make()


class Producer:
    """`ottla.Producer`, blocking; takes the same settings."""

    def __init__(self, bootstrap: str | Sequence[str], **settings: Any) -> None:
        async def start() -> AsyncProducer:
            return await AsyncProducer(bootstrap, **settings).start()

        self._producer = _background.run(start())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
    ) -> "Future[RecordMetadata]":
        """Hand a record over; its future carries partition and offset."""

        async def deliver() -> RecordMetadata:
            return await self._producer.send_and_wait(
                topic,
                value,
                key=key,
                partition=partition,
                headers=headers,
                timestamp_ms=timestamp_ms,
            )

        return _background.submit(deliver())

    def send_and_wait(self, topic: str, value: bytes | None, **details: Any) -> RecordMetadata:
        """Send a record and wait for its acknowledgement."""
        return self.send(topic, value, **details).result()

    def flush(self) -> None:
        """Wait until every record sent so far is delivered or has failed."""
        _background.run(self._producer.flush())

    def close(self) -> None:
        """Deliver what was sent, and close."""
        _background.run(self._producer.stop())


class Consumer:
    """`ottla.Consumer`, blocking; takes the same settings."""

    def __init__(self, bootstrap: str | Sequence[str], **settings: Any) -> None:
        async def start() -> AsyncConsumer:
            return await AsyncConsumer(bootstrap, **settings).start()

        self._consumer = _background.run(start())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _background.run(self._consumer.__aexit__(kind, error, traceback))

    def partitions_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic."""
        return _background.run(self._consumer.partitions_of(topic))

    def assign(self, partitions: Iterable[tuple[str, int]], *, start: Start | None = None) -> None:
        """Read these partitions and no others."""
        _background.run(_made(lambda: self._consumer.assign(partitions, start=start)))

    def subscribe(
        self,
        topics: Sequence[str] | str | re.Pattern[str],
        *,
        listener: object | None = None,
    ) -> None:
        """Read a share of these topics with the group. `listener` is called in the background's thread, while `poll`
        waits; it may call this consumer's methods that do not wait, and return coroutines of its own.
        """
        _background.run(self._consumer.subscribe(topics, listener=listener))

    def unsubscribe(self) -> None:
        """Leave the group."""
        _background.run(self._consumer.unsubscribe())

    @property
    def subscription(self) -> list[str]:
        """The topics that are subscribed to."""
        return self._consumer.subscription

    @property
    def assignment(self) -> list[TopicPartition]:
        """What is assigned."""
        return self._consumer.assignment

    @property
    def paused(self) -> list[TopicPartition]:
        """What is paused."""
        return self._consumer.paused

    @property
    def member_id(self) -> str:
        """What the coordinator calls this member."""
        return self._consumer.member_id

    @property
    def last_error(self) -> Exception | None:
        """What to look at when nothing comes."""
        return self._consumer.last_error

    def commit(
        self, offsets: Mapping[tuple[str, int], int | OffsetAndMetadata] | None = None
    ) -> None:
        """Keep positions for the group: those given, or of all that was handed out."""
        _background.run(self._consumer.commit(offsets))

    def committed(
        self, partitions: Iterable[tuple[str, int]]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """What the group has committed, None where it has not."""
        return _background.run(self._consumer.committed(partitions))

    def seek(self, where: tuple[str, int], offset: Start) -> None:
        """Go on elsewhere with one partition."""
        _background.call(lambda: self._consumer.seek(where, offset))

    def pause(self, where: tuple[str, int]) -> None:
        """Hand out nothing of a partition until `resume`."""
        _background.call(lambda: self._consumer.pause(where))

    def resume(self, where: tuple[str, int]) -> None:
        """Go on with a paused partition where it was."""
        _background.call(lambda: self._consumer.resume(where))

    def position(self, where: tuple[str, int]) -> int | None:
        """The offset of the next record."""
        return self._consumer.position(where)

    def lag(self, where: tuple[str, int]) -> int | None:
        """Records between the position and the end, as last heard of."""
        return self._consumer.lag(where)

    def offsets(
        self, queries: Mapping[tuple[str, int], OffsetSpec | int]
    ) -> dict[TopicPartition, OffsetAndTime]:
        """Offsets by name, or by a timestamp in milliseconds."""
        return _background.run(self._consumer.offsets(queries))

    def poll(self, timeout_s: float = 1.0, max_records: int = 500) -> list[ConsumerRecord]:
        """Up to `max_records`, as soon as there are any; empty after `timeout_s`. Rebalances happen here."""
        return _background.run(self._consumer.poll(timeout_s, max_records))

    def __iter__(self) -> Iterator[ConsumerRecord]:
        """Records for ever. With a group each counts as read when the next one is asked for."""
        batch = 500 if not self._consumer.in_group else 1
        while True:
            yield from self.poll(timeout_s=3600, max_records=batch)

    def close(self, *, commit: bool = True) -> None:
        """Leave the group, and close."""
        _background.run(self._consumer.stop(commit=commit))


class Admin:
    """`ottla.Admin`, blocking: every method of it is here, and returns its result."""

    def __init__(self, bootstrap: str | Sequence[str]) -> None:
        self._admin = _background.run(_made(lambda: AsyncAdmin(bootstrap)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._admin, name)

        def call(*positional: Any, **named: Any) -> Any:
            return _background.run(method(*positional, **named))

        return call

    def offsets(
        self, queries: Mapping[tuple[str, int], OffsetSpec | int]
    ) -> dict[tuple[str, int], OffsetAndTime]:
        """Offsets by name, or by a timestamp in milliseconds."""
        return _background.run(self._admin.offsets(queries))

    def close(self) -> None:
        """Close the connections."""
        _background.run(self._admin.close())

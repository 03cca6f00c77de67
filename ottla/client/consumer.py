"""The consumer: reads assigned partitions in order, from wherever it is told, and follows their leaders."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, Self

import grpc.aio

from ottla.client.background import Background
from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError, ClientError, ClosedError, NoBrokerError
from ottla.client.fetch_link import FetchLink
from ottla.client.offsets import OffsetAndTime, OffsetSpec, find_offsets
from ottla.v1 import log_pb2 as pb
from storage.errors import ErrorCode
from storage.record_stream import decode_batches
from storage.records import Header, Record

REFRESH_PAUSE_S = 0.03
REFRESH_PAUSE_MAX_S = 0.3


class TopicPartition(NamedTuple):
    """A partition by name."""

    topic: str
    partition: int


class ConsumerRecord(NamedTuple):
    """One record. value None is a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


@dataclass(slots=True)
class _Position:
    """A partition being read. next_offset is the next record to hand out, -1 while it must be looked up."""

    next_offset: int
    spec: OffsetSpec | None = None
    link: FetchLink | None = None
    fetch_offset: int = -1
    failed_epoch: int = -1
    high_watermark: int = -1
    paused: bool = False


class _Chunk(NamedTuple):
    """Batches that came and are not handed out yet."""

    where: TopicPartition
    link: FetchLink
    size: int
    records: Iterator[Record]


class Consumer:
    """Reads the partitions given to `assign`.

    Use it as `async with Consumer("host:port") as consumer`, then `async for record in consumer`, or `poll`.
    """

    def __init__(
        self,
        bootstrap: str | Sequence[str],
        *,
        auto_offset_reset: Literal["earliest", "latest", "error"] = "earliest",
        max_buffer_bytes: int = 8 * 1024 * 1024,
        max_block_s: float = 60,
        rng: random.Random | None = None,
    ) -> None:
        """`auto_offset_reset`: where to go on when the position is no longer in the log. `max_buffer_bytes`: what may
        lie here per broker unread; a slow consumer holds back nobody but itself.
        """
        self._view = ClusterView(bootstrap)
        self._background = Background("ottla consumer", self._died)
        self._reset = auto_offset_reset
        self._max_buffer_bytes = max_buffer_bytes
        self._max_block_s = max_block_s
        self._rng = rng or random.Random()
        self._positions: dict[TopicPartition, _Position] = {}
        self._links: dict[int, FetchLink] = {}
        self._chunks: deque[_Chunk] = deque()
        self._error: Exception | None = None
        self.last_error: Exception | None = None
        """Why the last connection to a broker broke: what to look at when nothing comes."""
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._closed = False

    async def start(self) -> Self:
        """Begin. Raises NoBrokerError when none of the bootstrap addresses answers in `max_block_s`."""
        await self._background.start()
        self._background.spawn(self._keep_links())
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._max_block_s
        while True:
            try:
                await self._view.refresh([])
            except NoBrokerError:
                if loop.time() > deadline_s:
                    await self.stop()
                    raise
                await asyncio.sleep(REFRESH_PAUSE_S)
            else:
                return self

    async def stop(self) -> None:
        """Close; what was not handed out is forgotten."""
        self._closed = True
        self._arrived.set()
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

    async def partitions_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic. Raises BrokerError when there is none of that name."""
        await self._view.refresh([topic])
        view = self._view.topics.get(topic)
        if view is None:
            raise self._view.errors.get(topic) or NoBrokerError(
                f"nothing is known of topic {topic} yet"
            )
        return [TopicPartition(topic, index) for index in range(len(view.leaders))]

    def assign(
        self,
        partitions: Iterable[tuple[str, int]],
        *,
        start: Literal["earliest", "latest"] | int = "earliest",
    ) -> None:
        """Read these partitions and no others, from `start` where they are new: a name or an offset."""
        wanted = [TopicPartition(*each) for each in partitions]
        for gone in set(self._positions) - set(wanted):
            self._unsubscribe(gone, self._positions.pop(gone))
        for where in wanted:
            if where not in self._positions:
                self._positions[where] = _at(start)
        self._lost.set()

    def seek(self, where: tuple[str, int], offset: int | Literal["earliest", "latest"]) -> None:
        """Go on elsewhere with one assigned partition."""
        where = TopicPartition(*where)
        position = self._assigned(where)
        self._unsubscribe(where, position)
        paused = position.paused
        self._positions[where] = _at(offset)
        self._positions[where].paused = paused
        self._lost.set()

    def pause(self, where: tuple[str, int]) -> None:
        """Hand out nothing of a partition until `resume`."""
        where = TopicPartition(*where)
        position = self._assigned(where)
        position.paused = True
        self._unsubscribe(where, position)

    def resume(self, where: tuple[str, int]) -> None:
        """Go on with a paused partition where it was."""
        self._assigned(TopicPartition(*where)).paused = False
        self._lost.set()

    @property
    def assignment(self) -> list[TopicPartition]:
        """What is assigned."""
        return list(self._positions)

    def position(self, where: tuple[str, int]) -> int | None:
        """The offset of the next record of a partition; None while it is not known yet."""
        offset = self._assigned(TopicPartition(*where)).next_offset
        return offset if offset >= 0 else None

    def lag(self, where: tuple[str, int]) -> int | None:
        """Records between the position and the end, as last heard of; None while that is not known yet."""
        position = self._assigned(TopicPartition(*where))
        if position.next_offset < 0 or position.high_watermark < 0:
            return None
        return max(position.high_watermark - position.next_offset, 0)

    async def poll(self, timeout_s: float = 1.0, max_records: int = 500) -> list[ConsumerRecord]:
        """Up to `max_records`, as soon as there are any; empty after `timeout_s`. Raises BrokerError, ClosedError."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            self._check()
            records = self._take(max_records)
            if records:
                return records
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                return []
            self._arrived.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._arrived.wait()
            except TimeoutError:
                return []

    async def __aiter__(self) -> AsyncIterator[ConsumerRecord]:
        """Records for ever."""
        while True:
            for record in await self.poll(timeout_s=3600):
                yield record

    async def offsets(
        self, queries: Mapping[tuple[str, int], OffsetSpec | int]
    ) -> dict[TopicPartition, OffsetAndTime]:
        """Offsets by name, or by a timestamp in milliseconds. Raises BrokerError."""
        if any(self._view.leader(*where).node_id < 0 for where in queries):
            await self._view.refresh(sorted({topic for topic, _ in queries}))
        return {
            TopicPartition(*where): found
            for where, found in (await find_offsets(self._view, queries)).items()
        }

    def _check(self) -> None:
        self._background.check()
        if self._closed:
            raise ClosedError("this consumer was stopped")

    def _assigned(self, where: TopicPartition) -> _Position:
        position = self._positions.get(where)
        if position is None:
            raise ClientError(
                f"{where.topic}-{where.partition} is not assigned to this consumer; call assign first"
            )
        return position

    def _take(self, max_records: int) -> list[ConsumerRecord]:
        taken: list[ConsumerRecord] = []
        while self._chunks and len(taken) < max_records:
            chunk = self._chunks[0]
            position = self._positions.get(chunk.where)
            if position is None or position.link is not chunk.link:
                self._consumed(self._chunks.popleft())
                continue
            topic, partition = chunk.where
            for record in chunk.records:
                if record.offset >= position.next_offset:
                    position.next_offset = record.offset + 1
                    taken.append(ConsumerRecord(topic, partition, *record))
                    if len(taken) == max_records:
                        break
            else:
                self._consumed(self._chunks.popleft())
        return taken

    def _consumed(self, chunk: _Chunk) -> None:
        chunk.link.give_back(chunk.size)

    def _fetched(self, link: FetchLink, news: pb.PartitionFetched, size: int) -> None:
        where = TopicPartition(news.topic, news.partition)
        position = self._positions.get(where)
        if position is None or position.link is not link:
            link.give_back(size)
            return
        if news.HasField("error"):
            self._failed(where, position, BrokerError(news.error))
            return
        position.high_watermark = news.high_watermark
        if size:
            records = decode_batches(news.batches)
            self._chunks.append(_Chunk(where, link, size, records))
            self._arrived.set()

    def _failed(self, where: TopicPartition, position: _Position, error: BrokerError) -> None:
        position.failed_epoch = self._view.leader(*where).epoch
        position.link = None
        if error.code == ErrorCode.OFFSET_OUT_OF_RANGE:
            if self._reset == "error":
                self._error = error
                self._arrived.set()
                return
            position.next_offset, position.spec = -1, OffsetSpec(self._reset)
        elif not error.retriable:
            self._error = error
            self._arrived.set()
        self._view.learn(*where, error)
        self._lost.set()

    def _broken(self, link: FetchLink, error: Exception) -> None:
        self.last_error = error
        if self._links.get(link.node_id) is link:
            del self._links[link.node_id]
        for where, position in self._positions.items():
            if position.link is link:
                position.link = None
                position.failed_epoch = self._view.leader(*where).epoch
        self._lost.set()

    def _unsubscribe(self, where: TopicPartition, position: _Position) -> None:
        if position.link is not None:
            position.link.unsubscribe(*where)
            position.link = None

    async def _keep_links(self) -> None:
        """Give every partition without a stream one again, asking who leads it now."""
        pause_s = REFRESH_PAUSE_S
        while True:
            await self._lost.wait()
            self._lost.clear()
            lost = [
                where
                for where, position in self._positions.items()
                if position.link is None and not position.paused
            ]
            if not lost:
                pause_s = REFRESH_PAUSE_S
                continue
            try:
                await self._view.refresh(sorted({where.topic for where in lost}))
                await self._look_up(lost)
            except NoBrokerError:
                self._lost.set()
            for where in lost:
                self._subscribe(where)
            await asyncio.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(pause_s * 1.5, REFRESH_PAUSE_MAX_S)

    async def _look_up(self, lost: Sequence[TopicPartition]) -> None:
        queries: dict[tuple[str, int], OffsetSpec | int] = {}
        for where in lost:
            position = self._positions.get(where)
            if position is not None and position.next_offset < 0 and position.spec is not None:
                queries[where] = position.spec
        if not queries:
            return
        try:
            found = await find_offsets(self._view, queries)
        except (BrokerError, grpc.aio.AioRpcError) as error:
            if isinstance(error, BrokerError) and not error.retriable:
                self._error = error
                self._arrived.set()
            self._lost.set()
            return
        for key, offset in found.items():
            position = self._positions.get(TopicPartition(*key))
            if position is not None and position.next_offset < 0:
                position.next_offset = offset.offset

    def _subscribe(self, where: TopicPartition) -> None:
        position = self._positions.get(where)
        if position is None or position.link is not None or position.paused:
            return
        leader = self._view.leader(*where)
        if (
            leader.node_id < 0
            or position.next_offset < 0
            or leader.node_id not in self._view.addresses
        ):
            self._lost.set()
            return
        link = self._links.get(leader.node_id)
        if link is None:
            link = FetchLink(
                leader.node_id,
                self._view.channel_to(leader.node_id),
                self._max_buffer_bytes,
                self._fetched,
                self._broken,
            )
            self._links[leader.node_id] = link
            self._background.spawn(link.run())
        link.subscribe(*where, position.next_offset, leader.epoch)
        position.link = link

    def _died(self, error: BaseException) -> None:
        self._error = ClientError(f"the consumer stopped working: {error!r}")
        self._arrived.set()


def _at(start: Literal["earliest", "latest"] | int) -> _Position:
    if isinstance(start, int):
        return _Position(start)
    return _Position(-1, OffsetSpec(start))

"""Reads partitions from their leaders, wherever these are, and holds what came until it is taken."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import grpc.aio

from ottla.client.background import Background
from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError, ClientError, NoBrokerError, NoOffsetError
from ottla.client.fetch_link import FetchLink
from ottla.client.offsets import OffsetSpec, find_offsets
from ottla.client.records import ConsumerRecord, OffsetAndMetadata, TopicPartition
from ottla.v1 import log_pb2 as pb
from storage.errors import ErrorCode
from storage.record_stream import decode_batches
from storage.records import Record

REFRESH_PAUSE_S = 0.03
REFRESH_PAUSE_MAX_S = 0.3

Reset = Literal["earliest", "latest", "error"]
Start = Literal["earliest", "latest", "committed"] | int
Committed = Callable[
    [Collection[TopicPartition]], Awaitable[Mapping[TopicPartition, OffsetAndMetadata | None]]
]


@dataclass(slots=True)
class Position:
    """A partition being read. next_offset is the next record to hand out, -1 while it must be looked up: by `spec`, or
    when `committed` is set where the group has left off."""

    next_offset: int
    spec: OffsetSpec | None = None
    committed: bool = False
    link: FetchLink | None = None
    high_watermark: int = -1
    paused: bool = False


class _Chunk(NamedTuple):
    """Batches that came and are not handed out yet."""

    where: TopicPartition
    link: FetchLink
    size: int
    records: Iterator[Record]


class PartitionReader:
    """`arrived` is set when there is something to take or to raise. `committed` finds a group's positions."""

    def __init__(
        self,
        view: ClusterView,
        background: Background,
        *,
        reset: Reset,
        max_buffer_bytes: int,
        rng: random.Random,
        committed: Committed,
    ) -> None:
        self._view = view
        self._background = background
        self._reset = reset
        self._max_buffer_bytes = max_buffer_bytes
        self._rng = rng
        self._committed = committed
        self._links: dict[int, FetchLink] = {}
        self._chunks: deque[_Chunk] = deque()
        self._lost = asyncio.Event()
        self.positions: dict[TopicPartition, Position] = {}
        self.arrived = asyncio.Event()
        self.error: Exception | None = None
        self.last_error: Exception | None = None

    def assign(self, wanted: Sequence[TopicPartition], start: Start) -> None:
        """Read these partitions and no others, from `start` where they are new."""
        for gone in set(self.positions) - set(wanted):
            self._unsubscribe(gone, self.positions.pop(gone))
        for where in wanted:
            if where not in self.positions:
                self.positions[where] = self._at(start)
        self._lost.set()

    def seek(self, where: TopicPartition, start: Start) -> None:
        """Go on elsewhere."""
        position = self.assigned(where)
        self._unsubscribe(where, position)
        paused = position.paused
        self.positions[where] = self._at(start)
        self.positions[where].paused = paused
        self._lost.set()

    def pause(self, where: TopicPartition) -> None:
        """Hand out nothing of a partition."""
        position = self.assigned(where)
        position.paused = True
        self._unsubscribe(where, position)

    def resume(self, where: TopicPartition) -> None:
        """Go on."""
        self.assigned(where).paused = False
        self._lost.set()

    def assigned(self, where: TopicPartition) -> Position:
        """Raises ClientError when it is not."""
        position = self.positions.get(where)
        if position is None:
            raise ClientError(
                f"{where.topic}-{where.partition} is not assigned to this consumer; call assign or subscribe first"
            )
        return position

    def take(self, max_records: int) -> list[ConsumerRecord]:
        """What has come, in the order of each partition."""
        taken: list[ConsumerRecord] = []
        while self._chunks and len(taken) < max_records:
            chunk = self._chunks[0]
            position = self.positions.get(chunk.where)
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

    def raise_error(self) -> None:
        """Raise what went wrong, once."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def fail(self, error: Exception) -> None:
        """The next poll raises this."""
        self.error = error
        self.arrived.set()

    async def run(self) -> None:
        """Give every partition without a stream one again, asking who leads it now."""
        pause_s = REFRESH_PAUSE_S
        while True:
            await self._lost.wait()
            self._lost.clear()
            lost = [
                where
                for where, position in self.positions.items()
                if position.link is None and not position.paused
            ]
            if not lost:
                pause_s = REFRESH_PAUSE_S
                continue
            try:
                await self._view.refresh(sorted({where.topic for where in lost}))
                await self._look_up(lost)
            except NoBrokerError as error:
                self.last_error = error
                self._lost.set()
            for where in lost:
                self._subscribe(where)
            await asyncio.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(pause_s * 1.5, REFRESH_PAUSE_MAX_S)

    @staticmethod
    def _at(start: Start) -> Position:
        if isinstance(start, int):
            return Position(start)
        if start == "committed":
            return Position(-1, committed=True)
        return Position(-1, OffsetSpec(start))

    def _consumed(self, chunk: _Chunk) -> None:
        chunk.link.give_back(chunk.size)

    def _fetched(self, link: FetchLink, news: pb.PartitionFetched, size: int) -> None:
        where = TopicPartition(news.topic, news.partition)
        position = self.positions.get(where)
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
            self.arrived.set()

    def _failed(self, where: TopicPartition, position: Position, error: BrokerError) -> None:
        position.link = None
        if error.code == ErrorCode.OFFSET_OUT_OF_RANGE:
            if self._reset == "error":
                self.fail(error)
                return
            position.next_offset, position.spec = -1, OffsetSpec(self._reset)
        elif not error.retriable:
            self.fail(error)
        self._view.learn(*where, error)
        self._lost.set()

    def _broken(self, link: FetchLink, error: Exception) -> None:
        self.last_error = error
        if self._links.get(link.node_id) is link:
            del self._links[link.node_id]
        for position in self.positions.values():
            if position.link is link:
                position.link = None
        self._lost.set()

    def _unsubscribe(self, where: TopicPartition, position: Position) -> None:
        if position.link is not None:
            position.link.unsubscribe(*where)
            position.link = None

    async def _look_up(self, lost: Iterable[TopicPartition]) -> None:
        unknown = {
            where: position
            for where in lost
            if (position := self.positions.get(where)) is not None and position.next_offset < 0
        }
        try:
            await self._look_up_committed(
                {where: position for where, position in unknown.items() if position.committed}
            )
            queries: dict[tuple[str, int], OffsetSpec | int] = {
                where: position.spec
                for where, position in unknown.items()
                if position.next_offset < 0 and position.spec is not None
            }
            found = await find_offsets(self._view, queries) if queries else {}
        except (BrokerError, grpc.aio.AioRpcError) as error:
            if isinstance(error, BrokerError) and not error.retriable:
                self.fail(error)
            self.last_error = error
            self._lost.set()
            return
        for key, offset in found.items():
            position = unknown[TopicPartition(*key)]
            if position.next_offset < 0:
                position.next_offset = offset.offset

    async def _look_up_committed(self, unknown: Mapping[TopicPartition, Position]) -> None:
        if not unknown:
            return
        for where, found in (await self._committed(unknown)).items():
            position = unknown[where]
            position.committed = False
            if found is not None:
                position.next_offset = found.offset
            elif self._reset != "error":
                position.spec = OffsetSpec(self._reset)
            else:
                self.fail(
                    NoOffsetError(
                        f"the group has no position in {where.topic}-{where.partition}, and auto_offset_reset is "
                        f"'error': seek, commit one, or choose 'earliest' or 'latest'"
                    )
                )

    def _subscribe(self, where: TopicPartition) -> None:
        position = self.positions.get(where)
        if position is None or position.link is not None or position.paused:
            return
        if position.next_offset < 0 and position.spec is None and not position.committed:
            # Nothing says where to begin; the next poll tells.
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

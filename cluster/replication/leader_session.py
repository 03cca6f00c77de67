"""The leader's side of a replication stream: one session per follower broker."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from cluster.errors import FencedLeaderEpochError, NotLeaderError, UnknownLeaderEpochError
from cluster.peers.network import PeerStream
from cluster.replication.frames import (
    FRAME_BYTES,
    PARTITION_BYTES,
    WINDOW_BYTES,
    LeaderFrame,
    PartitionData,
    Subscribe,
    decode_follower_frame,
    encode,
)
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from cluster.together import until_first_ends
from storage.errors import ErrorCode, OttlaError

# A high watermark alone is no news in a hurry: it waits this long for data to travel with.
WATERMARK_DELAY_S = 0.05

log = structlog.get_logger("replication")


@dataclass(slots=True, eq=False)
class _Subscription:
    """One partition followed over this stream. next_offset is the first offset not sent yet."""

    number: int
    partition: Partition
    leader_epoch: int
    next_offset: int
    sent_high_watermark: int = -1
    sent_log_start_offset: int = -1
    wake_data: Callable[[], None] = lambda: None
    wake_watermark: Callable[[], None] = lambda: None

    def knows(self, high_watermark: int, log_start_offset: int) -> bool:
        """Whether the follower was told both already."""
        return (self.sent_high_watermark, self.sent_log_start_offset) == (
            high_watermark,
            log_start_offset,
        )

    def detach(self) -> None:
        """Stop listening to the partition."""
        self.partition.on_append.discard(self.wake_data)
        self.partition.on_commit.discard(self.wake_watermark)


class LeaderSession:
    """Sends what the follower lacks, within the window, and turns its acknowledgements into progress.

    `lookup` finds a partition of this broker; `progressed` is told when a follower may have become fit to join the ISR,
    `stuck` when one has said that its disk is full.
    """

    def __init__(
        self,
        stream: PeerStream,
        lookup: Callable[[TopicIdPartition], Partition | None],
        progressed: Callable[[Partition], None],
        stuck: Callable[[Partition], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._stream = stream
        self._lookup = lookup
        self._progressed = progressed
        self._stuck = stuck
        self._now_ms = now_ms
        self._follower = stream.peer_id
        self._broker_epoch = -1
        self._subscriptions: dict[int, _Subscription] = {}
        self._by_partition: dict[TopicIdPartition, int] = {}
        self._ready: dict[int, None] = {}
        self._late: dict[int, None] = {}
        self._late_timer: asyncio.TimerHandle | None = None
        self._refusals: list[PartitionData] = []
        self._wake = asyncio.Event()
        self._bytes_in_flight = 0
        self._bytes_sent = 0

    async def run(self) -> None:
        """Serve until the stream breaks: raises PeerGoneError, or msgspec's error for garbage."""
        try:
            await until_first_ends(self._receive(), self._send())
        finally:
            for subscription in self._subscriptions.values():
                subscription.detach()
            if self._late_timer is not None:
                self._late_timer.cancel()

    async def _receive(self) -> None:
        while True:
            frame = decode_follower_frame(await self._stream.receive())
            if frame.broker_epoch >= 0:
                self._broker_epoch = frame.broker_epoch
            for number in frame.no_room:
                self._no_room(number)
            for number in frame.unsubscribe:
                self._drop(number)
            for request in frame.subscribe:
                self._subscribe(request)
            for ack in frame.acks:
                subscription = self._subscriptions.get(ack.subscription)
                if subscription is not None:
                    self._acked(subscription, ack.flushed_offset)
            if frame.appended_bytes:
                self._bytes_in_flight = self._bytes_sent - frame.appended_bytes
                self._wake.set()

    def _subscribe(self, request: Subscribe) -> None:
        identity = TopicIdPartition(request.topic_id, request.partition)
        if identity in self._by_partition:
            self._drop(self._by_partition[identity])
        partition = self._lookup(identity)
        if partition is None:
            self._refuse(request, ErrorCode.UNKNOWN_TOPIC_ID)
            return
        try:
            partition.leader()
            partition.check_epoch(request.leader_epoch)
            diverged_at = _divergence(partition, request)
        except (NotLeaderError, FencedLeaderEpochError, UnknownLeaderEpochError) as error:
            self._refuse(request, error.code)
            return
        if diverged_at is not None:
            self._answer(request, partition, diverged_at=diverged_at)
            return
        log_ = partition.log
        beyond = request.last_epoch < 0 and request.offset > log_.log_end_offset
        if request.offset < log_.log_start_offset or beyond:
            self._answer(request, partition, error=ErrorCode.OFFSET_OUT_OF_RANGE)
            return
        self._begin(request, partition, identity)

    def _begin(self, request: Subscribe, partition: Partition, identity: TopicIdPartition) -> None:
        number = request.subscription
        subscription = _Subscription(number, partition, request.leader_epoch, request.offset)
        subscription.wake_data = lambda: self._mark_ready(number)
        subscription.wake_watermark = lambda: self._mark_late(number)
        partition.on_append.add(subscription.wake_data)
        partition.on_commit.add(subscription.wake_watermark)
        self._subscriptions[number] = subscription
        self._by_partition[identity] = number
        partition.leader().follower_has_room(self._follower, room=True)
        self._acked(subscription, request.flushed_offset)
        self._mark_ready(number)

    def _no_room(self, number: int) -> None:
        subscription = self._subscriptions.get(number)
        if subscription is None:
            return
        partition, state = subscription.partition, subscription.partition.role
        if isinstance(state, LeaderState) and state.leader_epoch == subscription.leader_epoch:
            state.follower_has_room(self._follower, room=False)
            self._stuck(partition)

    def _acked(self, subscription: _Subscription, flushed_offset: int) -> None:
        partition = subscription.partition
        state = partition.role
        if not isinstance(state, LeaderState) or state.leader_epoch != subscription.leader_epoch:
            return
        moved = state.follower_acked(
            self._follower,
            flushed_offset,
            log_end_offset=partition.log.log_end_offset,
            broker_epoch=self._broker_epoch,
            now_ms=self._now_ms(),
        )
        if moved:
            partition.commit()
        self._progressed(partition)

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._refusals or (self._ready and self._bytes_in_flight < WINDOW_BYTES):
                frame = self._next_frame()
                if frame is not None:
                    await self._stream.send(frame)

    def _next_frame(self) -> bytes | None:
        news, self._refusals = self._refusals, []
        room = FRAME_BYTES
        while self._ready and room > 0 and self._bytes_in_flight < WINDOW_BYTES:
            number = next(iter(self._ready))
            del self._ready[number]
            self._late.pop(number, None)
            data = self._news_of(self._subscriptions[number], room)
            if data is not None:
                news.append(data)
                room -= len(data.batches)
                self._bytes_sent += len(data.batches)
                self._bytes_in_flight += len(data.batches)
        return encode(LeaderFrame(news)) if news else None

    def _news_of(self, subscription: _Subscription, room: int) -> PartitionData | None:
        """What is new on one partition, at most `room` bytes of it; comes again at once if there is more."""
        partition = subscription.partition
        number = subscription.number
        state = partition.role
        if not isinstance(state, LeaderState) or state.leader_epoch != subscription.leader_epoch:
            self._drop(number)
            return PartitionData(number, 0, 0, error=ErrorCode.NOT_LEADER_OR_FOLLOWER)
        batches: bytes | memoryview = b""
        end = partition.log.log_end_offset
        if subscription.next_offset < end:
            try:
                read = partition.read(
                    subscription.next_offset, min(room, PARTITION_BYTES), end_offset=end
                )
            except OttlaError as error:
                log.error("replica read failed", partition=partition.name, error=str(error))
                self._drop(number)
                return PartitionData(number, 0, 0, error=error.code)
            batches, subscription.next_offset = read.batches, read.next_offset
            if subscription.next_offset < end:
                self._ready[number] = None
        elif subscription.knows(state.high_watermark, partition.log.log_start_offset):
            return None
        subscription.sent_high_watermark = state.high_watermark
        subscription.sent_log_start_offset = partition.log.log_start_offset
        return PartitionData(number, state.high_watermark, partition.log.log_start_offset, batches)

    def _mark_ready(self, number: int) -> None:
        self._ready[number] = None
        self._wake.set()

    def _mark_late(self, number: int) -> None:
        subscription = self._subscriptions[number]
        if not isinstance(subscription.partition.role, LeaderState):
            self._mark_ready(number)
            return
        self._late[number] = None
        if self._late_timer is None:
            loop = asyncio.get_running_loop()
            self._late_timer = loop.call_later(WATERMARK_DELAY_S, self._late_due)

    def _late_due(self) -> None:
        self._late_timer = None
        self._ready.update(self._late)
        self._late.clear()
        self._wake.set()

    def _refuse(self, request: Subscribe, code: ErrorCode) -> None:
        self._refusals.append(PartitionData(request.subscription, 0, 0, error=code))
        self._wake.set()

    def _answer(
        self,
        request: Subscribe,
        partition: Partition,
        *,
        error: ErrorCode = ErrorCode.NONE,
        diverged_at: tuple[int, int] | None = None,
    ) -> None:
        self._refusals.append(
            PartitionData(
                request.subscription,
                partition.high_watermark,
                partition.log.log_start_offset,
                error=error,
                diverged_at=diverged_at,
            )
        )
        self._wake.set()

    def _drop(self, number: int) -> None:
        subscription = self._subscriptions.pop(number, None)
        self._ready.pop(number, None)
        self._late.pop(number, None)
        if subscription is not None:
            subscription.detach()
            self._by_partition.pop(subscription.partition.identity, None)


def _divergence(partition: Partition, request: Subscribe) -> tuple[int, int] | None:
    """Where the follower's log leaves ours: (epoch, end offset), or None when it is a prefix (KIP-279, KIP-320)."""
    if request.last_epoch < 0:
        return None
    end = partition.log.end_offset_for_epoch(request.last_epoch)
    if end.epoch == request.last_epoch and request.offset <= end.end_offset:
        return None
    if request.offset <= partition.log.log_start_offset and end.epoch < request.last_epoch:
        return None
    return end.epoch, end.end_offset

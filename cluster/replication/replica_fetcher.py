"""The follower's side of replication: one fetcher per leader broker, many partitions on its stream."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import structlog

from cluster.peers.network import Peer, PeerGoneError, PeerNetwork, PeerRefusedError, PeerStream
from cluster.replication.frames import (
    WINDOW_BYTES,
    Ack,
    FollowerFrame,
    PartitionDataIn,
    Subscribe,
    decode_leader_frame,
    encode,
)
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.together import until_first_ends
from storage.errors import DiskFullError, ErrorCode, LogOfflineError, OttlaError
from storage.log_replay import CutFacts, before_cut

log = structlog.get_logger("replication")

# Pauses before trying again, in seconds; jittered by half.
RECONNECT_MIN_S = 0.02
RECONNECT_MAX_S = 0.5
RESUBSCRIBE_S = 0.03
DISK_FULL_PAUSE_S = 1.0
TELL_APPENDED_BYTES = WINDOW_BYTES // 8


@dataclass(slots=True, eq=False)
class _Following:
    """A partition followed at a leader epoch. number is its current subscription, 0 while there is none."""

    partition: Partition
    leader_epoch: int
    number: int = 0
    acked: tuple[int, int] = (-1, -1)
    again: asyncio.TimerHandle | None = None


class ReplicaFetcher:
    """Follows partitions led by one broker. `request_flush` asks for a group commit of a partition's log."""

    def __init__(
        self,
        network: PeerNetwork,
        peer: Peer,
        broker_epoch: Callable[[], int],
        request_flush: Callable[[Partition], None],
        now_wall_ms: Callable[[], int],
        rng: random.Random,
    ) -> None:
        self._network = network
        self._peer = peer
        self._broker_epoch = broker_epoch
        self._request_flush = request_flush
        self._now_wall_ms = now_wall_ms
        self._rng = rng
        self._following: dict[TopicIdPartition, _Following] = {}
        self._by_number: dict[int, _Following] = {}
        self._numbers = 0
        self._to_subscribe: dict[TopicIdPartition, None] = {}
        self._to_unsubscribe: list[int] = []
        self._to_ack: dict[TopicIdPartition, None] = {}
        self._no_room: list[int] = []
        self._introduce = False
        self._appended_bytes = 0
        self._told_appended_bytes = 0
        self._wake = asyncio.Event()
        self._wanted = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether nothing is followed here any more."""
        return not self._following

    def follow(self, partition: Partition, leader_epoch: int) -> None:
        """Begin to follow, or go on in a new leader epoch."""
        self.unfollow(partition.identity)
        self._following[partition.identity] = _Following(partition, leader_epoch)
        self._subscribe_soon(partition.identity)
        self._wanted.set()

    def unfollow(self, identity: TopicIdPartition) -> None:
        """Stop following."""
        following = self._following.pop(identity, None)
        self._to_subscribe.pop(identity, None)
        self._to_ack.pop(identity, None)
        if following is not None and following.again is not None:
            following.again.cancel()
        if following is not None and following.number:
            del self._by_number[following.number]
            self._to_unsubscribe.append(following.number)
            self._wake.set()
        if not self._following:
            self._wanted.clear()

    def flushed(self, identity: TopicIdPartition) -> None:
        """The durable end of a followed log has moved: the leader wants to know."""
        following = self._following.get(identity)
        if following is not None and following.number:
            self._to_ack[identity] = None
            self._wake.set()

    def introduce_again(self) -> None:
        """This broker has registered anew: the leader must know the new epoch, or would never let it join (KIP-903)."""
        self._introduce = True
        for identity in self._following:
            self._subscribe_soon(identity)

    async def run(self) -> None:
        """Keep a stream to the leader for ever, with growing pauses while it cannot be had."""
        pause_s = RECONNECT_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            began = loop.time()
            try:
                async with self._network.open_stream(self._peer, "Replicate") as stream:
                    await self._session(stream)
                reason = "the session ended"
            except (PeerGoneError, PeerRefusedError) as error:
                reason = str(error)
            except msgspec.DecodeError as error:
                reason = f"it sent garbage: {error}"
            self._forget_session()
            if loop.time() - began > 1.0:
                pause_s = RECONNECT_MIN_S
            # The first failure is news, the attempts that follow it are not.
            tell = log.info if pause_s == RECONNECT_MIN_S else log.debug
            tell("replication stream ended", leader=self._peer.node_id, reason=reason)
            await asyncio.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(pause_s * 2, RECONNECT_MAX_S)

    async def _session(self, stream: PeerStream) -> None:
        for identity in self._following:
            self._to_subscribe[identity] = None
        self._wake.set()
        await until_first_ends(self._receive(stream), self._send(stream))

    def _forget_session(self) -> None:
        self._by_number.clear()
        for following in self._following.values():
            following.number = 0
        self._to_subscribe.clear()
        self._to_unsubscribe.clear()
        self._to_ack.clear()
        self._no_room.clear()
        self._appended_bytes = self._told_appended_bytes = 0

    async def _send(self, stream: PeerStream) -> None:
        await stream.send(encode(FollowerFrame(broker_epoch=self._broker_epoch())))
        while True:
            await self._wake.wait()
            self._wake.clear()
            frame = self._next_frame()
            if frame is not None:
                await stream.send(encode(frame))

    def _next_frame(self) -> FollowerFrame | None:
        subscribe = [self._subscription(identity) for identity in self._to_subscribe]
        unsubscribe, no_room, self._no_room = self._to_unsubscribe, self._no_room, []
        acks = [ack for identity in self._to_ack if (ack := self._ack(identity)) is not None]
        self._to_subscribe, self._to_unsubscribe, self._to_ack = {}, [], {}
        appended = 0
        if self._appended_bytes > self._told_appended_bytes:
            appended = self._told_appended_bytes = self._appended_bytes
        if not (subscribe or unsubscribe or acks or appended):
            return None
        epoch, self._introduce = self._broker_epoch() if self._introduce else -1, False
        return FollowerFrame(subscribe, unsubscribe, acks, appended, epoch, no_room)

    def _subscription(self, identity: TopicIdPartition) -> Subscribe:
        following = self._following[identity]
        if following.number:
            self._by_number.pop(following.number, None)
        self._numbers += 1
        following.number = self._numbers
        self._by_number[following.number] = following
        log_ = following.partition.log
        following.acked = (log_.log_end_offset, log_.flushed_offset)
        return Subscribe(
            subscription=following.number,
            topic_id=identity.topic_id,
            partition=identity.partition,
            leader_epoch=following.leader_epoch,
            offset=log_.log_end_offset,
            last_epoch=log_.latest_epoch,
            flushed_offset=log_.flushed_offset,
        )

    def _ack(self, identity: TopicIdPartition) -> Ack | None:
        following = self._following[identity]
        position = (following.partition.log.log_end_offset, following.partition.log.flushed_offset)
        if not following.number or position == following.acked:
            return None
        following.acked = position
        return Ack(following.number, *position)

    async def _receive(self, stream: PeerStream) -> None:
        while True:
            frame = await stream.receive()
            for data in decode_leader_frame(frame):
                self._appended_bytes += len(data.batches)
                following = self._by_number.get(data.subscription)
                if following is None:
                    continue
                if data.diverged_at is None:
                    self._take(following, data)
                else:
                    await self._part_ways(following, data.diverged_at)
            # Less than that travels with the next ack: a frame of its own for every record would double what the leader
            # has to read.
            if self._appended_bytes - self._told_appended_bytes >= TELL_APPENDED_BYTES:
                self._wake.set()

    def _take(self, following: _Following, data: PartitionDataIn) -> None:
        """Append or begin again, as the leader's news demand."""
        partition = following.partition
        with self._bearing(following):
            if data.error == ErrorCode.OFFSET_OUT_OF_RANGE:
                partition.restart_at(data.log_start_offset)
                self._subscribe_soon(partition.identity)
            elif data.error:
                self._subscribe_later(partition.identity, following.leader_epoch, RESUBSCRIBE_S)
            else:
                self._append(partition, data)

    async def _part_ways(self, following: _Following, diverged_at: tuple[int, int]) -> None:
        """Cut what the leader does not have, unless this is over by the time it is known what to cut."""
        partition, number = following.partition, following.number
        with self._bearing(following):
            target = _common_end(partition, *diverged_at)
            known = await before_cut(partition.log, target)
            if self._by_number.get(number) is following:
                self._truncate(partition, target, known)
                self._subscribe_soon(partition.identity)

    @contextmanager
    def _bearing(self, following: _Following) -> Iterator[None]:
        """What may go wrong with one partition ends neither the stream nor what goes on with the others."""
        partition = following.partition
        try:
            yield
        except DiskFullError as error:
            log.warning("replica waits for room", partition=partition.name, reason=str(error))
            if following.number:
                self._no_room.append(following.number)
            self._begin_again_later(following, DISK_FULL_PAUSE_S)
        except LogOfflineError as error:
            self.unfollow(partition.identity)
            partition.went_offline(error)
        except OttlaError as error:
            log.error(
                "replica could not take the leader's data",
                partition=partition.name,
                error=str(error),
            )
            self._begin_again_later(following, RESUBSCRIBE_S)

    def _begin_again_later(self, following: _Following, pause_s: float) -> None:
        """Something sent was not taken: what comes after it on this subscription would leave a hole in the log."""
        if following.number:
            del self._by_number[following.number]
            self._to_unsubscribe.append(following.number)
            following.number = 0
            self._wake.set()
        self._subscribe_later(following.partition.identity, following.leader_epoch, pause_s)

    def _append(self, partition: Partition, data: PartitionDataIn) -> None:
        if len(data.batches):
            partition.append_as_follower(data.batches, self._now_wall_ms())
            self._request_flush(partition)
        if data.log_start_offset > partition.log.log_start_offset:
            partition.log.advance_log_start(
                min(data.log_start_offset, partition.log.log_end_offset)
            )
        partition.follower_saw(data.high_watermark)

    def _truncate(self, partition: Partition, target: int, known: CutFacts | None) -> None:
        if target < partition.log.log_end_offset:
            log.info(
                "truncating a replica to where it agrees with its leader",
                partition=partition.name,
                from_offset=partition.log.log_end_offset,
                to_offset=target,
                leader=self._peer.node_id,
            )
        partition.truncate(target, known)

    def _subscribe_soon(self, identity: TopicIdPartition) -> None:
        self._to_subscribe[identity] = None
        self._wake.set()

    def _subscribe_later(
        self, identity: TopicIdPartition, leader_epoch: int, pause_s: float
    ) -> None:
        def due() -> None:
            following = self._following.get(identity)
            if following is None or following.leader_epoch != leader_epoch:
                return
            if following.partition.has_room:
                self._subscribe_soon(identity)
            else:
                # Not sooner: it would join the ISR again only to hold everybody up with the next record.
                self._subscribe_later(identity, leader_epoch, DISK_FULL_PAUSE_S)

        following = self._following[identity]
        if following.again is not None:
            following.again.cancel()
        delay_s = pause_s * (0.5 + self._rng.random())
        following.again = asyncio.get_running_loop().call_later(delay_s, due)


def _common_end(partition: Partition, epoch: int, end_offset: int) -> int:
    """Up to where the logs agree: the end of the largest epoch both know (KIP-279)."""
    ours = partition.log.end_offset_for_epoch(epoch)
    target = min(ours.end_offset, end_offset) if ours.epoch == epoch else ours.end_offset
    return max(min(target, partition.log.log_end_offset), partition.log.log_start_offset)

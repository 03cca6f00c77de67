"""Sends batches to the leaders of their partitions, and again after a failover, in order and once.

A partition's batches are numbered when first sent; after a failure they are sent again with the same numbers, so that
the broker can tell what it has already (KIP-98). Only when a broker definitely lacks what came before does a partition
go on under a new producer id.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ottla.client.background import Background
from ottla.client.batches import Batch, PartitionQueue
from ottla.client.broker_link import BrokerLink, Request, Sent
from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError, ClientError, DeliveryTimeoutError, NoBrokerError
from ottla.v1 import log_pb2 as pb
from storage.compression import Compression
from storage.errors import ErrorCode

# An answer that takes longer makes us ask whether the partition has a new leader.
STALL_S = 0.5
REFRESH_PAUSE_S = 0.025
REFRESH_PAUSE_MAX_S = 0.25
RETRY_PAUSE_S = 0.02
RETRY_PAUSE_MAX_S = 0.5
TICK_S = 0.1

_NEW_IDENTITY_NEEDED = {
    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
    ErrorCode.UNKNOWN_PRODUCER_ID,
    ErrorCode.INVALID_PRODUCER_EPOCH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings:
    """What a producer's settings mean for sending. Sizes in bytes before compression, times in seconds."""

    linger_s: float
    batch_size: int
    max_request_size: int
    delivery_timeout_s: float
    request_timeout_s: float
    compression: Compression
    acks: "pb.Acks.ValueType"
    idempotent: bool


class Sender:
    """`finished` is told of every batch that is done with, so that its memory can be given to others."""

    def __init__(
        self,
        view: ClusterView,
        settings: SenderSettings,
        background: Background,
        finished: Callable[[Batch], None],
        rng: random.Random,
    ) -> None:
        self._view = view
        self._settings = settings
        self._background = background
        self._finished = finished
        self._rng = rng
        self._queues: dict[tuple[str, int], PartitionQueue] = {}
        self._busy: dict[PartitionQueue, None] = {}
        self._links: dict[int, BrokerLink] = {}
        self._wake = asyncio.Event()
        self._stale = asyncio.Event()
        self._identity: tuple[int, int] | None = None

    def queue(self, topic: str, partition: int) -> PartitionQueue:
        """The queue of a partition."""
        key = (topic, partition)
        found = self._queues.get(key)
        if found is None:
            found = self._queues[key] = PartitionQueue(topic, partition)
            found.identity = self._identity
        return found

    def notify(self, queue: PartitionQueue) -> None:
        """There is something to send."""
        self._busy[queue] = None
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether every record is accounted for."""
        return not self._busy

    def abandon(self, error: Exception) -> None:
        """Fail everything that is not delivered yet."""
        for queue in tuple(self._busy):
            for batch in (*queue.in_flight, *queue.waiting):
                batch.failed(error)
                self._done(queue, batch)

    @property
    def trouble(self) -> Exception | None:
        """Why records are not acknowledged at the moment; None when nothing stands in the way."""
        for queue in self._busy:
            for batch in (*queue.in_flight, *queue.waiting):
                if batch.cause is not None:
                    return batch.cause
            if self._view.leader(queue.topic, queue.partition).node_id < 0:
                return NoBrokerError(f"{queue.topic}-{queue.partition} has no leader")
        return None

    async def start(self) -> None:
        """Get a producer id, then send for ever."""
        if self._settings.idempotent:
            self._identity = await self._new_identity()
        self._background.spawn(self._send())
        self._background.spawn(self._refresh())
        self._background.spawn(self._tick())

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            next_s = self._send_ready(loop.time())
            timer = None
            if next_s is not None:
                timer = loop.call_at(next_s, self._wake.set)
            await self._wake.wait()
            self._wake.clear()
            if timer is not None:
                timer.cancel()

    def _send_ready(self, now_s: float) -> float | None:
        """Send all that may be sent. Returns when to look again, None for not before something happens."""
        next_s: float | None = None
        by_node: dict[int, list[PartitionQueue]] = {}
        for queue in self._busy:
            ready_s = queue.ready_at_s(self._settings.linger_s, self._settings.batch_size)
            if ready_s is None:
                continue
            leader = self._view.leader(queue.topic, queue.partition)
            if queue.failures and leader.epoch > queue.sent_epoch and leader.node_id >= 0:
                ready_s = queue.not_before_s = 0.0
            if ready_s > now_s:
                next_s = ready_s if next_s is None else min(next_s, ready_s)
            elif leader.node_id < 0 or leader.node_id not in self._view.addresses:
                self._stale.set()
            else:
                queue.sent_epoch = leader.epoch
                by_node.setdefault(leader.node_id, []).append(queue)
        for node_id, queues in by_node.items():
            self._send_to(node_id, queues)
        return next_s

    def _send_to(self, node_id: int, queues: Sequence[PartitionQueue]) -> None:
        """One request after another until none of these partitions has anything that may go now."""
        link = self._link(node_id)
        now_s = asyncio.get_running_loop().time()
        pending = list(queues)
        while pending:
            parts: list[Sent] = []
            size = 0
            again = []
            for queue in pending:
                ready_s = queue.ready_at_s(self._settings.linger_s, self._settings.batch_size)
                if ready_s is None or ready_s > now_s:
                    continue
                if parts and size + queue.waiting[0].size > self._settings.max_request_size:
                    again.append(queue)
                    continue
                batch = queue.take()
                batch.seal(self._settings.compression)
                parts.append(Sent(queue, batch))
                size += batch.size
                again.append(queue)
            if parts:
                link.send(parts)
            pending = again

    def _link(self, node_id: int) -> BrokerLink:
        link = self._links.get(node_id)
        if link is None:
            link = BrokerLink(
                node_id,
                self._view.channel_to(node_id),
                self._settings.acks,
                self._settings.request_timeout_s,
                self._answered,
                self._broken,
            )
            self._links[node_id] = link
            self._background.spawn(link.run())
        return link

    def _answered(self, request: Request, response: pb.ProduceResponse) -> None:
        for sent, outcome in zip(request.parts, response.partitions, strict=True):
            queue, batch = sent
            if not outcome.HasField("error"):
                self._acknowledge(queue, batch, outcome.base_offset, outcome.log_append_time_ms)
                continue
            error = BrokerError(outcome.error)
            if error.code == ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
                self._acknowledge(queue, batch, -1, -1)
                continue
            if self._view.learn(queue.topic, queue.partition, error):
                self._wake.set()
            self._refused(queue, batch, error)
        self._wake.set()

    def _broken(self, link: BrokerLink, requests: Sequence[Request], error: Exception) -> None:
        if self._links.get(link.node_id) is link:
            del self._links[link.node_id]
        for request in requests:
            for queue, batch in request.parts:
                self._refused(queue, batch, error)
        self._stale.set()
        self._wake.set()

    def _acknowledge(self, queue: PartitionQueue, batch: Batch, offset: int, stamp: int) -> None:
        queue.failures = 0
        batch.acknowledged(offset, stamp)
        self._done(queue, batch)

    def _done(self, queue: PartitionQueue, batch: Batch) -> None:
        queue.finished(batch)
        self._finished(batch)
        if queue.all_refused:
            self._resend(queue)
        if not queue.in_flight and not queue.waiting:
            self._busy.pop(queue, None)

    def _refused(self, queue: PartitionQueue, batch: Batch, error: Exception) -> None:
        """An attempt failed. What is hopeless ends here; the rest waits until all in flight is answered."""
        if batch.done.done():
            self._done(queue, batch)
            return
        batch.cause = error
        needs_identity = isinstance(error, BrokerError) and error.code in _NEW_IDENTITY_NEEDED
        retriable = needs_identity or (isinstance(error, ClientError) and error.retriable)
        if not retriable:
            batch.failed(error)
            self._done(queue, batch)
            return
        batch.refused = True
        if queue.all_refused:
            self._resend(queue)

    def _resend(self, queue: PartitionQueue) -> None:
        first = queue.in_flight[0]
        queue.rewind()
        pause_s = min(RETRY_PAUSE_S * 2**queue.failures, RETRY_PAUSE_MAX_S)
        queue.failures += 1
        now_s = asyncio.get_running_loop().time()
        queue.not_before_s = now_s + pause_s * (0.5 + self._rng.random())
        self._busy[queue] = None
        cause = first.cause
        if isinstance(cause, BrokerError) and cause.code in _NEW_IDENTITY_NEEDED:
            # Nothing before it is in flight, so the broker cannot have it, nor anything after it.
            queue.on_hold = True
            self._background.spawn(self._start_over(queue))
        else:
            self._stale.set()
        self._wake.set()

    async def _start_over(self, queue: PartitionQueue) -> None:
        while True:
            try:
                identity = await self._new_identity()
            except NoBrokerError:
                await asyncio.sleep(RETRY_PAUSE_MAX_S)
                continue
            queue.start_over(identity)
            queue.on_hold = False
            self._wake.set()
            return

    async def _new_identity(self) -> tuple[int, int]:
        reply = await self._view.ask_log(
            lambda stub, timeout: stub.InitProducerId(pb.InitProducerIdRequest(), timeout=timeout)
        )
        return reply.producer_id, reply.producer_epoch

    async def _refresh(self) -> None:
        """Ask for news while there is a partition whose leader is unknown or has just failed."""
        pause_s = REFRESH_PAUSE_S
        while True:
            await self._stale.wait()
            self._stale.clear()
            try:
                await self._view.refresh(sorted({queue.topic for queue in self._busy}))
            except NoBrokerError:
                self._stale.set()
            if any(self._looks_for_leader(queue) for queue in self._busy):
                self._stale.set()
                pause_s = min(pause_s * 1.2, REFRESH_PAUSE_MAX_S)
            else:
                pause_s = REFRESH_PAUSE_S
            self._wake.set()
            await asyncio.sleep(pause_s * (0.5 + self._rng.random()))

    def _looks_for_leader(self, queue: PartitionQueue) -> bool:
        leader = self._view.leader(queue.topic, queue.partition)
        return leader.node_id < 0 or (queue.failures > 0 and leader.epoch <= queue.sent_epoch)

    async def _tick(self) -> None:
        """Give up what is too old; ask for news when answers are slow; leave brokers that lost their leadership."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = loop.time()
            for queue in tuple(self._busy):
                self._expire(queue, now_s)
            for link in tuple(self._links.values()):
                oldest = link.oldest
                if oldest is not None and now_s - oldest.sent_s > STALL_S:
                    self._stale.set()
                    self._leave_if_deposed(link, now_s - oldest.sent_s)

    def _expire(self, queue: PartitionQueue, now_s: float) -> None:
        for batch in (*queue.in_flight, *queue.waiting):
            if now_s - batch.created_s <= self._settings.delivery_timeout_s or batch.done.done():
                continue
            cause = batch.cause or self._view.errors.get(queue.topic)
            why = (
                cause or f"partition {queue.partition} had no leader, or its leader did not answer"
            )
            batch.failed(
                DeliveryTimeoutError(
                    f"{batch.count} records for {queue.topic}-{queue.partition} were not acknowledged within "
                    f"{self._settings.delivery_timeout_s:g} s: {why}"
                )
            )
            if batch in queue.waiting or batch.refused:
                self._done(queue, batch)

    def _leave_if_deposed(self, link: BrokerLink, waited_s: float) -> None:
        if waited_s > self._settings.request_timeout_s + STALL_S:
            link.break_off(
                NoBrokerError(f"node {link.node_id} has not answered for {waited_s:.1f} s")
            )
            return
        for request in link.outstanding:
            for queue, _ in request.parts:
                leader = self._view.leader(queue.topic, queue.partition)
                if leader.node_id not in (-1, link.node_id) and leader.epoch > queue.sent_epoch:
                    link.break_off(NoBrokerError(f"node {link.node_id} no longer leads"))
                    return

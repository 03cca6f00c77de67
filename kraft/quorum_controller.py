"""The metadata state machine on every node, and the active controller on the one that leads the quorum.

On every node committed entries become images and are published. On the leader requests are answered against the pending
image, which also holds what is proposed and not committed yet; a reply is parked until its records are committed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

import structlog

from kraft.metadata import records
from kraft.metadata.broker_leases import BrokerLeases
from kraft.metadata.broker_presence import BrokerPresence
from kraft.metadata.controller import Controller
from kraft.metadata.delta import MetadataDelta
from kraft.metadata.errors import NotControllerError, Refusal
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage, snapshot_records
from kraft.metadata.records import NIL_ID, Record
from kraft.metadata.replies import Refused, Reply
from kraft.metadata.requests import (
    Bootstrap,
    BrokerHeartbeat,
    FenceBroker,
    RebalanceLeaders,
    RegisterBrokerRequest,
    Request,
)
from kraft.raft.errors import NotLeaderError
from kraft.raft.messages import Entry, EntryKind
from storage.errors import OttlaError

log = structlog.get_logger("controller")

# A timer so late means that this process did not run, or was busy: the brokers' heartbeats wait in its sockets.
HELD_UP_MS = 50

Publish = Callable[[MetadataImage, MetadataImage], None]


class Answer(NamedTuple):
    """A reply, and the metadata offset that its asker must have applied to see what it speaks of."""

    offset: int
    reply: Reply


class Quorum(NamedTuple):
    """What the controller needs of the consensus driver.

    propose: one command; done when it is committed and applied here, raises OttlaError when that is not certain.
    barrier: done when everything committed before the call is applied here and this node still leads.
    last_index: the end of this node's log.
    """

    propose: Callable[[bytes], Awaitable[object]]
    barrier: Callable[[], Awaitable[object]]
    last_index: Callable[[], int]


class QuorumController:
    """`publish(old, new)` is called for each new image, in order; `dead` names the nodes whose process is gone."""

    def __init__(
        self,
        node_id: int,
        controller: Controller,
        leases: BrokerLeases,
        quorum: Quorum,
        publish: Publish,
        dead: Callable[[], Collection[int]],
        now_ms: Callable[[], int],
    ) -> None:
        self.image = EMPTY_IMAGE
        self._node_id = node_id
        self._controller = controller
        self._leases = leases
        self._quorum = quorum
        self._publish = publish
        self._dead = dead
        self._now_ms = now_ms
        self._pending: MetadataImage | None = None
        self._suspects: set[int] = set()
        self._presence = BrokerPresence()
        self._elected = asyncio.Event()
        self._wake = asyncio.Event()
        self._waiting_for_offset: list[tuple[int, asyncio.Future[None]]] = []

    # The state machine, on every node

    def apply(self, entries: Sequence[Entry]) -> None:
        """Take committed entries in and publish the image that they make."""
        if not entries:
            return
        delta = MetadataDelta(self.image)
        for entry in entries:
            if entry.kind is EntryKind.COMMAND:
                delta.replay_all(records.decode(entry.data))
        self._become(delta.apply(entries[-1].index, entries[-1].term))

    def restore(self, data: bytes, index: int, term: int) -> None:
        """Take a snapshot in place of the image."""
        delta = MetadataDelta(EMPTY_IMAGE)
        delta.replay_all(records.decode(data))
        self._become(delta.apply(index, term))

    def snapshot(self) -> bytes:
        """The image as bytes."""
        return records.encode(snapshot_records(self.image))

    async def applied(self, offset: int) -> None:
        """Wait until this node's image is at least at `offset`."""
        if self.image.offset >= offset:
            return
        done = asyncio.get_running_loop().create_future()
        self._waiting_for_offset.append((offset, done))
        await done

    # The active controller

    @property
    def active(self) -> bool:
        """Whether this node answers requests."""
        return self._pending is not None

    @property
    def elected(self) -> bool:
        """Whether the quorum has elected this node, also while it is not active: before its take-over, and after a
        proposal failed.
        """
        return self._elected.is_set()

    def lead(self, previous_leader: int | None) -> None:
        """This node was elected: take over as soon as everything committed is applied."""
        self._suspects = {previous_leader} - {None, self._node_id}  # type: ignore[assignment]
        self._elected.set()

    def resign(self) -> None:
        """This node leads no longer."""
        self._elected.clear()
        if self._pending is not None:
            log.info("controller resigned", node=self._node_id)
        self._pending = None

    def look_at_dead(self) -> None:
        """A probe found a node's process gone."""
        self._wake.set()

    async def submit(self, request: Request) -> Answer:
        """Answer a request once its records are committed. A refusal is an answer; raises NotControllerError."""
        try:
            if isinstance(request, RegisterBrokerRequest):
                await self._fence_former_self(request)
            return await self._handle(request)
        except NotControllerError:
            raise
        except NotLeaderError as error:
            raise NotControllerError(str(error)) from error
        except OttlaError as error:
            return Answer(self.image.offset, Refused(refusal=Refusal.of(error)))

    async def run(self) -> None:
        """Watch leases and preferred leaders while this node is the active controller; for ever."""
        while True:
            await self._elected.wait()
            try:
                await self._take_over()
                await self._watch()
            except OttlaError as error:
                # Leadership is lost, or a proposal's fate is unknown: what is pending may never be true.
                log.info("controller steps back", reason=str(error))
                self._pending = None
                await asyncio.sleep(0.01)

    async def _take_over(self) -> None:
        await self._quorum.barrier()
        if not self._elected.is_set():
            raise NotControllerError("leadership was lost before the take-over")
        self._pending = self.image
        self._leases.take_over(self.image, self._now_ms(), self._suspects)
        if not self.image.cluster_id:
            await self._handle(Bootstrap())
            log.info("cluster founded", cluster_id=self.image.cluster_id)
        log.info("controller is active", node=self._node_id, offset=self.image.offset)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        rebalanced_s = loop.time()
        while self._elected.is_set() and self._pending is not None:
            await self._fence_the_dead()
            interval_s = self._controller.rebalance_interval_s(self.image)
            if loop.time() >= rebalanced_s + interval_s:
                settled = self._presence.settled(self._now_ms(), int(interval_s * 1000))
                await self._handle(RebalanceLeaders(brokers=settled))
                rebalanced_s = loop.time()
            deadline_ms = self._leases.next_deadline()
            pause_s = rebalanced_s + interval_s - loop.time()
            if deadline_ms is not None:
                pause_s = min(pause_s, (deadline_ms - self._now_ms()) / 1000)
            await self._pause(min(max(pause_s, 0.005), 0.5))

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + seconds
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        late_ms = int((loop.time() - due_s) * 1000)
        if late_ms >= HELD_UP_MS:
            log.warning("this controller was held up", node=self._node_id, ms=late_ms)
            self._leases.held_up(late_ms)

    async def _fence_the_dead(self) -> None:
        pending = self._pending
        assert pending is not None
        expired = self._leases.expired(self._now_ms())
        for node_id in dict.fromkeys([*expired, *sorted(self._dead())]):
            broker = pending.brokers.get(node_id)
            if self._leases.watches(node_id) and node_id in expired:
                # It was heard of while another was being fenced.
                continue
            if broker is not None and not broker.fenced:
                cause = "its lease ran out" if node_id in expired else "its process is gone"
                log.warning("fencing a broker", broker=node_id, cause=cause)
                await self._handle(FenceBroker(node_id=node_id, broker_epoch=broker.broker_epoch))
                self._leases.forget(node_id)

    async def _fence_former_self(self, request: RegisterBrokerRequest) -> None:
        """A new process on the same data folder holds that folder's lock, so the old process is dead."""
        old = self._pending.brokers.get(request.node_id) if self._pending is not None else None
        if old is None or old.fenced or old.incarnation == request.incarnation:
            return
        if NIL_ID != old.directory_id == request.directory_id:
            log.warning("fencing a broker", broker=request.node_id, cause="it has started anew")
            await self._handle(FenceBroker(node_id=request.node_id, broker_epoch=old.broker_epoch))

    async def _handle(self, request: Request) -> Answer:
        pending = self._pending
        if pending is None:
            raise NotControllerError(f"node {self._node_id} is not the active controller")
        offset = self._quorum.last_index() + 1
        result = self._controller.handle(
            pending,
            request,
            next_offset=offset,
            brokers_applied=self._leases.lowest_offset(pending),
        )
        if isinstance(request, BrokerHeartbeat):
            self._leases.touch(request.node_id, self._now_ms(), request.metadata_offset)
        if not result.records:
            return Answer(pending.offset, result.reply)
        await self._commit(pending, result.records, offset)
        return Answer(offset, result.reply)

    async def _commit(self, base: MetadataImage, batch: Sequence[Record], offset: int) -> None:
        """Propose, and let everything that comes after see the records already."""
        delta = MetadataDelta(base)
        delta.replay_all(batch)
        proposal = self._quorum.propose(records.encode(batch))
        self._pending = delta.apply(offset, base.term)
        try:
            await proposal
        except OttlaError:
            self._pending = None
            self._wake.set()
            raise

    def _become(self, image: MetadataImage) -> None:
        old, self.image = self.image, image
        if old.cluster_id and image.unclean_elections > old.unclean_elections:
            log.warning(
                "unclean election: acknowledged records may be lost",
                elections=image.unclean_elections - old.unclean_elections,
                since_the_cluster_began=image.unclean_elections,
            )
        self._presence.note(old, image, self._now_ms())
        self._publish(old, image)
        still = []
        for offset, done in self._waiting_for_offset:
            if offset > image.offset:
                still.append((offset, done))
            elif not done.done():
                done.set_result(None)
        self._waiting_for_offset = still

"""One partition of `__consumer_offsets` on its leader: what was kept is loaded, what is decided is kept, then told."""

import asyncio
import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import structlog

from cluster.errors import NotLeaderError
from cluster.groups.attendance import Absence
from cluster.groups.classic_rebalance import Clock
from cluster.groups.coordinator import Coordinator
from cluster.groups.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupTooLargeError,
    NotCoordinatorError,
)
from cluster.groups.records import (
    GroupRecord,
    OffsetCommitKey,
    decode_record,
    encode_key,
    encode_value,
)
from cluster.groups.step import Answer, Step, Ticket
from cluster.replication.partition import Partition
from storage.errors import BatchTooLargeError, OttlaError
from storage.record_stream import decode_batches
from storage.records import BatchBuilder

log = structlog.get_logger("groups")

LOAD_BYTES = 1 << 20
RECORD_OVERHEAD_BYTES = 64
"""More than a batch adds to a record's key and value."""


class Shard:
    """Lives for one leader epoch. `now` gives both clocks; `request_flush` asks for a group commit."""

    def __init__(
        self,
        partition: Partition,
        coordinator: Coordinator,
        now: Callable[[], Clock],
        request_flush: Callable[[Partition], None],
    ) -> None:
        self.partition = partition
        self.leader_epoch = partition.leader_epoch
        self.coordinator = coordinator
        self._now = now
        self._request_flush = request_flush
        self._tickets: dict[Ticket, asyncio.Future[Any]] = {}
        self._numbers = count(1)
        self._deadlines: list[tuple[int, str]] = []
        # group -> the earliest of its deadlines in the heap, so that heartbeats which put a session off add none.
        self._next_look_ms: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._gone_topics: list[str] = []
        self._loaded = False
        self.closed = asyncio.Event()

    async def load(self) -> None:
        """Read everything that was kept. It is all committed before anybody is answered from it."""
        partition, began_ms = self.partition, self._now().now_ms
        end = partition.log.log_end_offset
        offset, found = partition.log.log_start_offset, 0
        while offset < end and not self.closed.is_set():
            read = partition.read(offset, LOAD_BYTES, end_offset=end)
            for record in _group_records(read.batches):
                self.coordinator.load(record, self._now())
                found += 1
            offset = read.next_offset
            await asyncio.sleep(0)
        await self._committed_to(end)
        if self.closed.is_set():
            return
        self._loaded = True
        self.coordinator.loaded(self._now())
        self.topics_gone(())
        for group_id in self.coordinator.group_ids():
            self._schedule(group_id)
        took_ms = self._now().now_ms - began_ms
        tell = log.info if found else log.debug
        tell("groups loaded", partition=partition.name, records=found, took_ms=took_ms)

    async def _committed_to(self, offset: int) -> None:
        moved = asyncio.Event()
        self.partition.on_commit.add(moved.set)
        try:
            while self.partition.high_watermark < offset and not self.closed.is_set():
                await moved.wait()
                moved.clear()
        finally:
            self.partition.on_commit.discard(moved.set)

    def close(self) -> None:
        """The leader epoch is over: whoever waits is told to look for the new coordinator."""
        self.closed.set()
        if self._timer is not None:
            self._timer.cancel()
        tickets, self._tickets = self._tickets, {}
        for future in tickets.values():
            if not future.done():
                future.set_exception(self._not_coordinator())
        # Whoever waits for the load looks again.
        self.partition.on_commit.run()

    def require_loaded(self) -> Coordinator:
        """The coordinator. Raises NotCoordinatorError, CoordinatorLoadInProgressError."""
        if self.closed.is_set() or self.partition.leader_epoch != self.leader_epoch:
            raise self._not_coordinator()
        if not self._loaded:
            raise CoordinatorLoadInProgressError(
                f"this node is still reading {self.partition.name}: try again"
            )
        return self.coordinator

    async def ask(self, group_id: str, decide: Callable[[Ticket, Clock], Step]) -> Any:
        """Decide, keep, and wait for the answer. Raises GroupError."""
        self.require_loaded()
        ticket = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = future
        try:
            step = decide(ticket, self._now())
        except OttlaError:
            self._tickets.pop(ticket, None)
            raise
        self._perform(step, group_id)
        self._schedule(group_id)
        try:
            return await future
        finally:
            self._tickets.pop(ticket, None)

    def absent(self, who: Absence) -> None:
        """A member's connection broke."""
        if self._loaded and not self.closed.is_set():
            self._perform(self.coordinator.absent(who, self._now()), who.group_id)
            self._schedule(who.group_id)

    def expire_offsets(self) -> None:
        """Let go what has outlived its use."""
        if self._loaded and not self.closed.is_set():
            for step in self.coordinator.expire_offsets(self._now()):
                self._perform(step, None)

    def topics_gone(self, names: Iterable[str]) -> None:
        """Let go of the positions in topics that are no more, once it is known what there is."""
        self._gone_topics += names
        if self._loaded and self._gone_topics:
            gone, self._gone_topics = self._gone_topics, []
            self._perform(self.coordinator.offsets.forget(gone), None)

    def _perform(self, step: Step, group_id: str | None) -> None:
        if self.closed.is_set():
            return
        if not step.records:
            self._kept(step, group_id)
            return
        now = self._now()
        try:
            appended = self.partition.append_as_leader(
                _batches(step.records, now.wall_ms, self.partition.log.config.max_message_bytes),
                acks_all=True,
                now_wall_ms=now.wall_ms,
                now_ms=now.now_ms,
            )
            self._request_flush(self.partition)
            done = self.partition.committed(appended)
        except OttlaError as error:
            self._lost(step, error, group_id)
            return
        if done is None:
            self._kept(step, group_id)
            return

        def settled(future: "asyncio.Future[None]") -> None:
            error = future.exception()
            if error is None:
                self._kept(step, group_id)
            else:
                assert isinstance(error, OttlaError), error
                self._lost(step, error, group_id)

        done.add_done_callback(settled)

    def _kept(self, step: Step, group_id: str | None) -> None:
        if self.closed.is_set():
            return
        self.coordinator.replay(step.records)
        self._send(step.answers)
        if step.kept is not None:
            self._perform(step.kept(), group_id)
            self._schedule(group_id)

    def _lost(self, step: Step, error: OttlaError, group_id: str | None) -> None:
        if self.closed.is_set():
            return
        cause = self._cause(error)
        self._send([Answer(ticket, cause) for ticket, _ in step.answers])
        if step.lost is not None:
            self._perform(step.lost(cause), group_id)
            self._schedule(group_id)

    def _cause(self, error: OttlaError) -> OttlaError:
        if isinstance(error, NotLeaderError):
            return self._not_coordinator()
        if isinstance(error, BatchTooLargeError):
            # To ask again would not help.
            return GroupTooLargeError(f"{self.partition.name}: {error}")
        return CoordinatorNotAvailableError(f"{self.partition.name}: {error}")

    def _send(self, answers: list[Answer]) -> None:
        for ticket, response in answers:
            future = self._tickets.pop(ticket, None)
            if future is None or future.done():
                continue
            if isinstance(response, OttlaError):
                future.set_exception(response)
            else:
                future.set_result(response)

    def _schedule(self, group_id: str | None) -> None:
        """One timer for all groups: at the earliest deadline."""
        if self.closed.is_set() or group_id is None:
            return
        deadline = self.coordinator.next_deadline_ms(group_id)
        if deadline is not None:
            self._look_at(group_id, deadline)

    def _look_at(self, group_id: str, at_ms: int) -> None:
        known_ms = self._next_look_ms.get(group_id)
        if known_ms is not None and known_ms <= at_ms:
            # That look finds what is due later.
            return
        self._next_look_ms[group_id] = at_ms
        heapq.heappush(self._deadlines, (at_ms, group_id))
        if self._deadlines[0][0] == at_ms:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._deadlines:
            wait_s = max(self._deadlines[0][0] - self._now().now_ms, 0) / 1000
            self._timer = asyncio.get_running_loop().call_later(wait_s + 0.001, self._due)

    def _due(self) -> None:
        self._timer = None
        now = self._now()
        due: list[str] = []
        while self._deadlines and self._deadlines[0][0] <= now.now_ms:
            at_ms, group_id = heapq.heappop(self._deadlines)
            # One that an earlier one has taken the place of is not looked at.
            if self._next_look_ms.get(group_id) == at_ms:
                del self._next_look_ms[group_id]
                due.append(group_id)
        for group_id in due:
            # A deadline that was put off meanwhile finds nothing to do.
            self._perform(self.coordinator.expire(group_id, now), group_id)
            deadline = self.coordinator.next_deadline_ms(group_id)
            if deadline is not None:
                self._look_at(group_id, max(deadline, now.now_ms + 1))
        self._set_timer()

    def _not_coordinator(self) -> NotCoordinatorError:
        return NotCoordinatorError(
            f"this node does not coordinate the groups of {self.partition.name} any more"
        )


def _batches(records: list[GroupRecord], wall_ms: int, max_bytes: int) -> bytes:
    """Records that mean something together are one batch, which is kept whole or not at all. Positions, and what is
    taken back, mean something alone: there may be more of them than a batch holds.
    """
    apart = all(value is None or isinstance(key, OffsetCommitKey) for key, value in records)
    done, builder = bytearray(), BatchBuilder()
    for record in records:
        key, value = encode_key(record.key), encode_value(record.value)
        size = RECORD_OVERHEAD_BYTES + len(key) + len(value or b"")
        if apart and builder.count and builder.size + size > max_bytes:
            done += builder.build()
            builder = BatchBuilder()
        builder.append(wall_ms, key, value)
    return bytes(done + builder.build())


def _group_records(batches: memoryview) -> Iterator[GroupRecord]:
    for record in decode_batches(batches):
        if record.key is None:
            continue
        found = decode_record(record.key, record.value)
        if found is not None:
            yield found

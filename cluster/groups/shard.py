"""One partition of `__consumer_offsets` on its leader: what was kept is loaded, what is decided is kept, then told."""

import asyncio
import heapq
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import structlog

from cluster.errors import NotLeaderError
from cluster.groups.classic_rebalance import Clock
from cluster.groups.coordinator import Coordinator
from cluster.groups.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    NotCoordinatorError,
)
from cluster.groups.records import GroupRecord, decode_record, encode_key, encode_value
from cluster.groups.step import Answer, Step, Ticket
from cluster.replication.partition import Partition
from storage.errors import OttlaError
from storage.record_stream import decode_batches
from storage.records import BatchBuilder

log = structlog.get_logger("groups")

LOAD_BYTES = 1 << 20


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
        self._timer: asyncio.TimerHandle | None = None
        self._loaded = False
        self._closed = False

    async def load(self) -> None:
        """Read everything that was kept. It is all committed before anybody is answered from it."""
        partition, began_ms = self.partition, self._now().now_ms
        end = partition.log.log_end_offset
        offset, found = partition.log.log_start_offset, 0
        while offset < end and not self._closed:
            read = partition.read(offset, LOAD_BYTES, end_offset=end)
            for record in _group_records(read.batches):
                self.coordinator.load(record, self._now())
                found += 1
            offset = read.next_offset
            await asyncio.sleep(0)
        await self._committed_to(end)
        if self._closed:
            return
        self._loaded = True
        self.coordinator.loaded(self._now())
        for group_id in self.coordinator.group_ids():
            self._schedule(group_id)
        took_ms = self._now().now_ms - began_ms
        tell = log.info if found else log.debug
        tell("groups loaded", partition=partition.name, records=found, took_ms=took_ms)

    async def _committed_to(self, offset: int) -> None:
        moved = asyncio.Event()
        self.partition.on_commit.add(moved.set)
        try:
            while self.partition.high_watermark < offset and not self._closed:
                await moved.wait()
                moved.clear()
        finally:
            self.partition.on_commit.discard(moved.set)

    def close(self) -> None:
        """The leader epoch is over: whoever waits is told to look for the new coordinator."""
        self._closed = True
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
        if self._closed or self.partition.leader_epoch != self.leader_epoch:
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
        self._perform(step)
        self._schedule(group_id)
        try:
            return await future
        finally:
            self._tickets.pop(ticket, None)

    def expire_offsets(self) -> None:
        """Let go what has outlived its use."""
        if self._loaded and not self._closed:
            for step in self.coordinator.expire_offsets(self._now()):
                self._perform(step)

    def _perform(self, step: Step) -> None:
        if self._closed:
            return
        if not step.records:
            self._kept(step)
            return
        now = self._now()
        try:
            appended = self.partition.append_as_leader(
                _batch(step.records, now.wall_ms),
                acks_all=True,
                now_wall_ms=now.wall_ms,
                now_ms=now.now_ms,
            )
            self._request_flush(self.partition)
            done = self.partition.committed(appended)
        except OttlaError as error:
            self._lost(step, error)
            return
        if done is None:
            self._kept(step)
            return

        def settled(future: "asyncio.Future[None]") -> None:
            error = future.exception()
            if error is None:
                self._kept(step)
            else:
                assert isinstance(error, OttlaError), error
                self._lost(step, error)

        done.add_done_callback(settled)

    def _kept(self, step: Step) -> None:
        if self._closed:
            return
        self.coordinator.replay(step.records)
        self._send(step.answers)
        if step.kept is not None:
            self._perform(step.kept())

    def _lost(self, step: Step, error: OttlaError) -> None:
        if self._closed:
            return
        cause = (
            self._not_coordinator()
            if isinstance(error, NotLeaderError)
            else CoordinatorNotAvailableError(f"{self.partition.name}: {error}")
        )
        self._send([Answer(ticket, cause) for ticket, _ in step.answers])
        if step.lost is not None:
            self._perform(step.lost(cause))

    def _send(self, answers: list[Answer]) -> None:
        for ticket, response in answers:
            future = self._tickets.pop(ticket, None)
            if future is None or future.done():
                continue
            if isinstance(response, OttlaError):
                future.set_exception(response)
            else:
                future.set_result(response)

    def _schedule(self, group_id: str) -> None:
        """One timer for all groups: at the earliest deadline."""
        if self._closed:
            return
        deadline = self.coordinator.next_deadline_ms(group_id)
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, group_id))
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
        due: dict[str, None] = {}
        while self._deadlines and self._deadlines[0][0] <= now.now_ms:
            due[heapq.heappop(self._deadlines)[1]] = None
        for group_id in due:
            # A deadline that was put off meanwhile finds nothing to do.
            self._perform(self.coordinator.expire(group_id, now))
            deadline = self.coordinator.next_deadline_ms(group_id)
            if deadline is not None:
                heapq.heappush(self._deadlines, (max(deadline, now.now_ms + 1), group_id))
        self._set_timer()

    def _not_coordinator(self) -> NotCoordinatorError:
        return NotCoordinatorError(
            f"this node does not coordinate the groups of {self.partition.name} any more"
        )


def _batch(records: list[GroupRecord], wall_ms: int) -> bytes:
    builder = BatchBuilder()
    for key, value in records:
        builder.append(wall_ms, encode_key(key), encode_value(value))
    return builder.build()


def _group_records(batches: memoryview) -> Iterator[GroupRecord]:
    for record in decode_batches(batches):
        if record.key is None:
            continue
        found = decode_record(record.key, record.value)
        if found is not None:
            yield found

"""Produce: append in one synchronous step, then wait for the replicas. Both doors call it.

`begin` may be called for many requests of one connection in their order before any of them is finished: that is how
pipelined idempotent producers keep their sequence.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cluster.errors import InternalTopicError, InvalidRequiredAcksError, ReplicasTimedOutError
from cluster.groups.placement import OFFSETS_TOPIC
from cluster.replication.partition import Appended, Partition
from storage.disk import Buffer
from storage.errors import OttlaError

ACKS_NONE, ACKS_LEADER, ACKS_ALL = 0, 1, -1


class PartitionBatches(NamedTuple):
    """Whole record batches for one partition."""

    topic: str
    partition: int
    batches: Buffer


@dataclass(slots=True)
class Produced:
    """What became of one partition's batches. `done` is there while the replicas are waited for."""

    topic: str
    partition: int
    error: OttlaError | None = None
    base_offset: int = -1
    append_time_ms: int = -1
    log_start_offset: int = -1
    name: str = ""
    done: "asyncio.Future[None] | None" = None


class ProduceHandler:
    """`lookup` finds the partition by topic name and index and raises OttlaError; it is also where authorisation is."""

    def __init__(
        self,
        lookup: Callable[[str, int], Partition],
        request_flush: Callable[[Partition], None],
        now_ms: Callable[[], int],
        now_wall_ms: Callable[[], int],
    ) -> None:
        self._lookup = lookup
        self._request_flush = request_flush
        self._now_ms = now_ms
        self._now_wall_ms = now_wall_ms

    def begin(self, requests: Sequence[PartitionBatches], acks: int) -> list[Produced]:
        """Append each partition's batches, or note why not. Never raises for what the world did."""
        if acks not in (ACKS_NONE, ACKS_LEADER, ACKS_ALL):
            error = InvalidRequiredAcksError(f"acks {acks} is unknown: ask for all, leader or none")
            return [Produced(each.topic, each.partition, error) for each in requests]
        return [self._append(each, acks) for each in requests]

    def _append(self, request: PartitionBatches, acks: int) -> Produced:
        produced = Produced(request.topic, request.partition)
        try:
            if request.topic == OFFSETS_TOPIC:
                raise InternalTopicError(
                    f"{OFFSETS_TOPIC} is written by coordinators only: commit offsets instead"
                )
            partition = self._lookup(request.topic, request.partition)
            appended: Appended = partition.append_as_leader(
                request.batches,
                acks_all=acks == ACKS_ALL,
                now_wall_ms=self._now_wall_ms(),
                now_ms=self._now_ms(),
            )
            self._request_flush(partition)
            if acks == ACKS_ALL:
                produced.done = partition.committed(appended)
        except OttlaError as error:
            produced.error = error
            return produced
        produced.name = partition.name
        produced.base_offset = appended.base_offset
        produced.append_time_ms = appended.append_time_ms
        produced.log_start_offset = partition.log.log_start_offset
        return produced

    @staticmethod
    async def finish(results: Sequence[Produced], timeout_s: float) -> None:
        """Wait until every partition's records are committed, or say in `error` why they are not known to be."""
        waiting = [each.done for each in results if each.done is not None]
        if not waiting:
            return
        # One wait for all: a timeout and a shield for each would cost the hot path a turn of the loop.
        await asyncio.wait(waiting, timeout=timeout_s)
        for each in results:
            if each.done is not None:
                _settle(each, timeout_s)


def when_finished(
    results: Sequence[Produced], timeout_s: float, finished: Callable[[], None]
) -> None:
    """The same as `ProduceHandler.finish` without a task of its own: `finished` is called once."""
    waiting = [each.done for each in results if each.done is not None and not each.done.done()]
    left = len(waiting)

    def over() -> None:
        for each in results:
            if each.done is not None:
                _settle(each, timeout_s)
        finished()

    def one_done(_: "asyncio.Future[None]") -> None:
        nonlocal left
        left -= 1
        if left == 0:
            timer.cancel()
            over()

    def timed_out() -> None:
        for done in waiting:
            done.remove_done_callback(one_done)
        over()

    if not waiting:
        over()
        return
    timer = asyncio.get_running_loop().call_later(timeout_s, timed_out)
    for done in waiting:
        done.add_done_callback(one_done)


def _settle(produced: Produced, waited_s: float) -> None:
    """Take the outcome of a wait that is over."""
    done = produced.done
    assert done is not None
    if not done.done():
        done.cancel()
        produced.error = ReplicasTimedOutError(
            f"{produced.name}: the in-sync replicas did not confirm within {waited_s:.1f} s; the records may still be "
            f"committed, an idempotent producer can safely send them again"
        )
    else:
        error = done.exception()
        if error is None:
            return
        if not isinstance(error, OttlaError):
            raise error
        produced.error = error
    produced.base_offset = -1

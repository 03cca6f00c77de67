"""Fetch: read what is committed, or wait for it. Both doors call it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from cluster.errors import UnknownLeaderEpochError
from cluster.replication.partition import Partition
from cluster.replication.partition_state import LeaderState
from cluster.replication.read_replica import nearest_replica
from storage.errors import OttlaError

EMPTY = memoryview(b"")


class FetchFrom(NamedTuple):
    """Where to read one partition. leader_epoch: what the client knows, -1 for nothing."""

    topic: str
    partition: int
    offset: int
    leader_epoch: int
    max_bytes: int


class Reader(NamedTuple):
    """Who reads. any_replica: whether followers serve it too (KIP-392). near: which nodes are in its rack, when it
    wants to be sent there.
    """

    any_replica: bool = False
    near: Callable[[int], bool] | None = None


FROM_LEADER = Reader()


class Fetched(NamedTuple):
    """Whole batches, of which the first may begin before the offset asked for; `next_offset` follows on the last.

    read_from: the node that the reader is sent to instead, -1 for nobody.
    """

    topic: str
    partition: int
    error: OttlaError | None
    high_watermark: int = -1
    log_start_offset: int = -1
    batches: memoryview = EMPTY
    next_offset: int = -1
    read_from: int = -1

    @property
    def urgent(self) -> bool:
        """Whether the reader must hear this now, whatever it waits for.

        A leader epoch of which this node has not heard is on its way to it: a client that is told so rests, librdkafka
        for half a second, when the news may be a millisecond away.
        """
        if isinstance(self.error, UnknownLeaderEpochError):
            return False
        return self.error is not None or self.read_from >= 0


class FetchHandler:
    """`lookup` finds the partition by topic name and index and raises OttlaError; it is also where authorisation is."""

    def __init__(self, lookup: Callable[[str, int], Partition]) -> None:
        self.lookup = lookup

    def read(
        self,
        request: FetchFrom,
        max_bytes: int,
        *,
        min_one_batch: bool = True,
        reader: Reader = FROM_LEADER,
    ) -> Fetched:
        """One partition, now; its first batch even above the limit when `min_one_batch`. Never raises for what the
        world did.
        """
        try:
            partition = self.lookup(request.topic, request.partition)
            partition.check_epoch(request.leader_epoch)
            if not reader.any_replica:
                partition.leader()
            if reader.near is not None:
                elsewhere = _elsewhere(partition, request, reader.near)
                if elsewhere is not None:
                    return elsewhere
            read = partition.read_committed(
                request.offset, min(max_bytes, request.max_bytes), min_one_batch=min_one_batch
            )
        except OttlaError as error:
            return Fetched(request.topic, request.partition, error)
        return Fetched(
            request.topic,
            request.partition,
            None,
            partition.high_watermark,
            partition.log.log_start_offset,
            read.batches,
            read.next_offset,
        )

    async def fetch(
        self,
        requests: Sequence[FetchFrom],
        *,
        max_wait_s: float,
        min_bytes: int,
        max_bytes: int,
        reader: Reader = FROM_LEADER,
    ) -> list[Fetched]:
        """Read all partitions, waiting up to `max_wait_s` for `min_bytes`, and for leader epochs that the reader knows
        and this node does not. Another error, a lost leader or another node to read from ends the wait.
        """
        under_way = _UnderWay(self, requests, max_bytes, reader)
        for index in range(len(requests)):
            under_way.read(index)
        if max_wait_s <= 0 or under_way.is_over(min_bytes):
            return under_way.results
        with self._watched(requests) as moved:
            try:
                async with asyncio.timeout(max_wait_s):
                    while not under_way.is_over(min_bytes):
                        for index in await moved.take():
                            under_way.read(index)
            except TimeoutError:
                pass
        return under_way.results

    @contextmanager
    def _watched(self, requests: Sequence[FetchFrom]) -> Iterator["_Moved"]:
        """Which of them have had news since they were read."""
        moved = _Moved()
        watching = [
            (self.lookup(each.topic, each.partition), partial(moved.note, index))
            for index, each in enumerate(requests)
        ]
        for partition, wake in watching:
            partition.on_commit.add(wake)
        try:
            yield moved
        finally:
            for partition, wake in watching:
                partition.on_commit.discard(wake)


class _UnderWay:
    """What has been read for one request so far."""

    def __init__(
        self, handler: FetchHandler, requests: Sequence[FetchFrom], max_bytes: int, reader: Reader
    ) -> None:
        self.results = [Fetched(each.topic, each.partition, None) for each in requests]
        self._handler = handler
        self._requests = requests
        self._max_bytes = max_bytes
        self._reader = reader
        self._found_bytes = 0

    def read(self, index: int) -> None:
        """One partition, for the first time or again."""
        others = self._found_bytes - len(self.results[index].batches)
        # At least one batch in all: a batch larger than the limit must not block its reader for ever.
        result = self._handler.read(
            self._requests[index],
            max(0, self._max_bytes - others),
            min_one_batch=not others,
            reader=self._reader,
        )
        self.results[index] = result
        self._found_bytes = others + len(result.batches)

    def is_over(self, min_bytes: int) -> bool:
        """Whether there is enough, or something that must be told now."""
        return self._found_bytes >= min_bytes or any(each.urgent for each in self.results)


class _Moved:
    def __init__(self) -> None:
        self._indexes: dict[int, None] = {}
        self._any = asyncio.Event()

    def note(self, index: int) -> None:
        self._indexes[index] = None
        self._any.set()

    async def take(self) -> Iterable[int]:
        """Wait for some."""
        await self._any.wait()
        self._any.clear()
        taken, self._indexes = self._indexes, {}
        return taken


def _elsewhere(
    partition: Partition, request: FetchFrom, near: Callable[[int], bool]
) -> Fetched | None:
    """Where a leader sends a reader; a follower serves whoever has come."""
    state = partition.role
    if not isinstance(state, LeaderState):
        return None
    start = partition.log.log_start_offset
    node = nearest_replica(state, request.offset, start, near)
    if node is None:
        return None
    return Fetched(
        request.topic, request.partition, None, state.high_watermark, start, read_from=node
    )

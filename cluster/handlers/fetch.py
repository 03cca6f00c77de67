"""Fetch: read what is committed, or wait for it. Both doors call it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

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
        """Whether the reader must hear this now, whatever it waits for."""
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
            if not reader.any_replica:
                partition.leader()
            partition.check_epoch(request.leader_epoch)
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
        """Read all partitions, waiting up to `max_wait_s` for `min_bytes`. An error, a lost leader or another node to
        read from ends the wait.
        """
        results, found = self._read_all(requests, max_bytes, reader)
        if found >= min_bytes or max_wait_s <= 0 or any(each.urgent for each in results):
            return results
        moved = asyncio.Event()
        partitions = [self.lookup(each.topic, each.partition) for each in requests]
        wake = moved.set
        for partition in partitions:
            partition.on_commit.add(wake)
        try:
            async with asyncio.timeout(max_wait_s):
                while found < min_bytes and not any(each.urgent for each in results):
                    await moved.wait()
                    moved.clear()
                    results, found = self._read_all(requests, max_bytes, reader)
        except TimeoutError:
            pass
        finally:
            for partition in partitions:
                partition.on_commit.discard(wake)
        return results

    def _read_all(
        self, requests: Sequence[FetchFrom], max_bytes: int, reader: Reader
    ) -> tuple[list[Fetched], int]:
        results = []
        found = 0
        for request in requests:
            # At least one batch in all: a batch larger than the limit must not block its reader for ever.
            result = self.read(
                request, max(0, max_bytes - found), min_one_batch=not found, reader=reader
            )
            found += len(result.batches)
            results.append(result)
        return results, found


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

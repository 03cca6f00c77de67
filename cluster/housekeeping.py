"""Old records go: retention and compaction, now and then, a few logs at a time."""

import asyncio
from collections.abc import Callable, Iterator

import structlog

from cluster.replication.partition import Partition
from cluster.replication.replica_manager import Clock, ReplicaManager
from storage.errors import OttlaError

log = structlog.get_logger("housekeeping")


class Housekeeping:
    """Looks at every replica now and then. Compaction gives the loop back after every batch, so the rest lives.
    at_a_time: how many logs are worked on together, `log.cleaner.threads`.
    """

    def __init__(
        self,
        replicas: ReplicaManager,
        clock: Clock,
        interval_ms: int = 30_000,
        at_a_time: Callable[[], int] = lambda: 1,
    ) -> None:
        self._at_a_time = at_a_time
        self._replicas = replicas
        self._clock = clock
        self._interval_s = interval_ms / 1000

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.tidy()

    async def tidy(self) -> None:
        """One look at every replica that is here and well, `at_a_time` together."""
        waiting = iter(list(self._replicas.partitions.values()))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._at_a_time()):
                tasks.create_task(self._tidy_all(waiting))

    async def _tidy_all(self, waiting: Iterator[Partition]) -> None:
        for partition in waiting:
            try:
                await self._tidy(partition)
            except OttlaError as error:
                if self._is_here(partition):
                    log.error("housekeeping failed", partition=partition.name, error=str(error))
            await asyncio.sleep(0)

    def _is_here(self, partition: Partition) -> bool:
        """Whether the replica was neither given up nor lost meanwhile: its log is closed then."""
        here = self._replicas.partitions.get(partition.identity)
        return here is partition and partition.offline is None

    async def _tidy(self, partition: Partition) -> None:
        now_ms = self._clock.now_wall_ms()
        if self._is_here(partition):
            partition.log.expire_producers(now_ms)
            partition.log.roll_if_due(now_ms)
            await self._delete_expired(partition, now_ms)
        if self._is_here(partition) and partition.log.config.compacts:
            await self._compact(partition, now_ms)
        if self._is_here(partition) and not all(
            each.settled for each in partition.log.segments[:-1]
        ):
            # Else a start after a crash would read everything since the last clean stop.
            await partition.log.checkpoint()

    async def _delete_expired(self, partition: Partition, now_ms: int) -> None:
        expired = partition.log.expired_segments(now_ms, partition.high_watermark)
        if expired:
            await partition.log.delete_segments(expired)
            log.info(
                "old records deleted",
                partition=partition.name,
                segments=len(expired),
                log_start_offset=partition.log.log_start_offset,
            )

    async def _compact(self, partition: Partition, now_ms: int) -> None:
        done = await partition.log.compact(high_watermark=partition.high_watermark, now_ms=now_ms)
        if done.segments:
            log.info(
                "compacted",
                partition=partition.name,
                segments=done.segments,
                bytes_before=done.bytes_before,
                bytes_after=done.bytes_after,
            )

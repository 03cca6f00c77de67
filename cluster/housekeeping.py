"""Old records go: retention and compaction, now and then, one log at a time."""

import asyncio

import structlog

from cluster.replication.partition import Partition
from cluster.replication.replica_manager import Clock, ReplicaManager
from storage.errors import OttlaError

log = structlog.get_logger("housekeeping")

# Kafka's log.retention.check.interval.ms is 300,000; a look costs next to nothing.
INTERVAL_S = 30.0


class Housekeeping:
    """Looks at every replica each `INTERVAL_S`."""

    def __init__(self, replicas: ReplicaManager, clock: Clock) -> None:
        self._replicas = replicas
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            for partition in list(self._replicas.partitions.values()):
                if partition.offline is None:
                    await self._tidy(partition)

    async def _tidy(self, partition: Partition) -> None:
        now_ms = self._clock.now_wall_ms()
        try:
            partition.log.expire_producers(now_ms)
            partition.log.roll_if_due(now_ms)
            expired = partition.log.expired_segments(now_ms, partition.high_watermark)
            if expired:
                await partition.log.delete_segments(expired)
                log.info(
                    "old records deleted",
                    partition=partition.name,
                    segments=len(expired),
                    log_start_offset=partition.log.log_start_offset,
                )
        except OttlaError as error:
            log.error("housekeeping failed", partition=partition.name, error=str(error))

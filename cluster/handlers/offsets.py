"""ListOffsets: positions by name or by time. Both doors call it."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from cluster.errors import InvalidRequestError, OffsetNotAvailableError
from cluster.replication.partition import Partition
from storage.errors import OttlaError


class OffsetSpec(Enum):
    """Which offset is asked for."""

    EARLIEST = "earliest"
    LATEST = "latest"
    MAX_TIMESTAMP = "max-timestamp"
    TIMESTAMP = "timestamp"


class OffsetFound(NamedTuple):
    """offset and timestamp_ms are -1 when there is no such record."""

    error: OttlaError | None
    offset: int = -1
    timestamp_ms: int = -1
    leader_epoch: int = -1


class OffsetsHandler:
    """`lookup` finds the partition by topic name and index and raises OttlaError."""

    def __init__(self, lookup: Callable[[str, int], Partition]) -> None:
        self._lookup = lookup

    async def find(
        self, topic: str, index: int, spec: OffsetSpec | None, timestamp_ms: int
    ) -> OffsetFound:
        """Answer from what is committed; no spec: an unknown one. Never raises for what the world did."""
        try:
            if spec is None:
                raise InvalidRequestError(
                    f"{topic}-{index}: this release does not know that offset spec"
                )
            partition = self._lookup(topic, index)
            state = partition.leader()
            epoch = state.leader_epoch
            log, committed = partition.log, partition.high_watermark
            if spec is OffsetSpec.EARLIEST:
                return OffsetFound(None, log.log_start_offset, -1, epoch)
            if spec is not OffsetSpec.TIMESTAMP and committed < state.epoch_start_offset:
                raise OffsetNotAvailableError(
                    f"node {state.node_id} has just begun to lead {partition.name} and does not know yet how much "
                    f"of it is committed: try again"
                )
            if spec is OffsetSpec.LATEST:
                return OffsetFound(None, committed, -1, epoch)
            if spec is OffsetSpec.MAX_TIMESTAMP:
                found = await log.max_timestamp(end_offset=committed)
            else:
                found = await log.offset_for_timestamp(timestamp_ms, end_offset=committed)
        except OttlaError as error:
            return OffsetFound(error)
        return (
            OffsetFound(None, *found)
            if found is not None
            else OffsetFound(None, leader_epoch=epoch)
        )

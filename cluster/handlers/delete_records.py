"""DeleteRecords: everything below an offset is gone for readers, on all replicas (KIP-107)."""

from collections.abc import Callable
from typing import NamedTuple

from cluster.errors import InternalTopicError
from cluster.groups.placement import OFFSETS_TOPIC
from cluster.replication.partition import Partition
from kraft.metadata.errors import PolicyViolationError
from storage.errors import OffsetOutOfRangeError, OttlaError


class Deleted(NamedTuple):
    """log_start_offset is the partition's new one, -1 with an error."""

    error: OttlaError | None
    log_start_offset: int = -1


class DeleteRecordsHandler:
    """`lookup` finds the partition by topic name and index and raises OttlaError."""

    def __init__(self, lookup: Callable[[str, int], Partition]) -> None:
        self._lookup = lookup

    async def delete(self, topic: str, index: int, before_offset: int) -> Deleted:
        """-1: all up to the high watermark. Durable on the leader when it returns; followers follow with their data."""
        try:
            if topic == OFFSETS_TOPIC:
                raise InternalTopicError(f"{OFFSETS_TOPIC} is what the cluster knows of its groups")
            partition = self._lookup(topic, index)
            partition.leader()
            if not partition.log.config.deletes:
                raise PolicyViolationError(
                    f"records of {topic} are not deleted: its cleanup.policy is compact; add delete to it first"
                )
            committed = partition.high_watermark
            wanted = committed if before_offset == -1 else before_offset
            if not 0 <= wanted <= committed:
                raise OffsetOutOfRangeError(
                    f"records of {partition.name} can be deleted up to the high watermark {committed}, not {wanted}"
                )
            if partition.log.advance_log_start(wanted):
                await partition.log.checkpoint()
                partition.commit()
        except OttlaError as error:
            return Deleted(error)
        return Deleted(None, partition.log.log_start_offset)

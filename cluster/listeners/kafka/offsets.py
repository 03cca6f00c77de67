"""Positions in partitions: ListOffsets, OffsetForLeaderEpoch, DeleteRecords."""

from collections.abc import Callable

from cluster.handlers.delete_records import DeleteRecordsHandler
from cluster.handlers.offsets import OffsetsHandler, OffsetSpec
from cluster.listeners.kafka.request import Client
from cluster.replication.partition import Partition
from storage.errors import ErrorCode, OttlaError
from wire.messages.delete_records import (
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from wire.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)

# The timestamps that stand for positions (KIP-79, KIP-734, KIP-405, KIP-1005). Nothing is tiered here: the local log
# is the whole log.
_SPECS = {
    -1: OffsetSpec.LATEST,
    -2: OffsetSpec.EARLIEST,
    -3: OffsetSpec.MAX_TIMESTAMP,
    -4: OffsetSpec.EARLIEST,
}
NEVER_TIERED = -5
# The version from which a client knows that an offset may not be available for a moment (KIP-207).
OFFSET_NOT_AVAILABLE_FROM = 5


class KafkaOffsets:
    """`lookup` finds the partition by topic name and index and raises OttlaError."""

    def __init__(
        self,
        offsets: OffsetsHandler,
        deletes: DeleteRecordsHandler,
        lookup: Callable[[str, int], Partition],
    ) -> None:
        self._offsets = offsets
        self._deletes = deletes
        self._lookup = lookup

    async def list_offsets(
        self, client: Client, request: ListOffsetsRequest
    ) -> ListOffsetsResponse:
        """By position or by time."""
        topics = []
        for topic in request.topics:
            found = [await self._find(client, topic.name, each) for each in topic.partitions]
            topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=tuple(found)))
        return ListOffsetsResponse(topics=tuple(topics))

    async def _find(
        self, client: Client, topic: str, wanted: ListOffsetsPartition
    ) -> ListOffsetsPartitionResponse:
        index = wanted.partition_index
        try:
            self._lookup(topic, index).check_epoch(wanted.current_leader_epoch)
        except OttlaError as error:
            return ListOffsetsPartitionResponse(partition_index=index, error_code=error.code)
        if wanted.timestamp == NEVER_TIERED:
            return ListOffsetsPartitionResponse(partition_index=index)
        if wanted.timestamp < NEVER_TIERED:
            return ListOffsetsPartitionResponse(
                partition_index=index, error_code=ErrorCode.UNSUPPORTED_VERSION
            )
        spec = _SPECS.get(wanted.timestamp, OffsetSpec.TIMESTAMP)
        found = await self._offsets.find(topic, index, spec, wanted.timestamp)
        if found.error is not None:
            code = found.error.code
            if (
                code is ErrorCode.LEADER_NOT_AVAILABLE
                and client.api_version >= OFFSET_NOT_AVAILABLE_FROM
            ):
                code = ErrorCode.OFFSET_NOT_AVAILABLE
            return ListOffsetsPartitionResponse(partition_index=index, error_code=code)
        return ListOffsetsPartitionResponse(
            partition_index=index,
            timestamp=found.timestamp_ms,
            offset=found.offset,
            leader_epoch=found.leader_epoch if found.offset >= 0 else -1,
        )

    async def for_leader_epoch(
        self, _client: Client, request: OffsetForLeaderEpochRequest
    ) -> OffsetForLeaderEpochResponse:
        """Where leader epochs ended (KIP-320)."""
        return OffsetForLeaderEpochResponse(
            topics=tuple(
                OffsetForLeaderTopicResult(
                    topic=topic.topic,
                    partitions=tuple(
                        self._epoch_end(topic.topic, each) for each in topic.partitions
                    ),
                )
                for topic in request.topics
            )
        )

    def _epoch_end(self, topic: str, wanted: OffsetForLeaderPartition) -> EpochEndOffset:
        try:
            partition = self._lookup(topic, wanted.partition)
            partition.leader()
            partition.check_epoch(wanted.current_leader_epoch)
        except OttlaError as error:
            return EpochEndOffset(partition=wanted.partition, error_code=error.code)
        found = partition.log.end_offset_for_epoch(wanted.leader_epoch)
        return EpochEndOffset(
            partition=wanted.partition,
            leader_epoch=found.epoch,
            # Not cut at the high watermark: a new leader's lags behind what consumers have read already, and they would
            # take it for a truncation and read again.
            end_offset=found.end_offset,
        )

    async def delete_records(
        self, _client: Client, request: DeleteRecordsRequest
    ) -> DeleteRecordsResponse:
        """Up to an offset (KIP-107)."""
        topics = []
        for topic in request.topics:
            results = []
            for each in topic.partitions:
                outcome = await self._deletes.delete(topic.name, each.partition_index, each.offset)
                code = ErrorCode.NONE if outcome.error is None else outcome.error.code
                results.append(
                    DeleteRecordsPartitionResult(
                        partition_index=each.partition_index,
                        low_watermark=outcome.log_start_offset,
                        error_code=code,
                    )
                )
            topics.append(DeleteRecordsTopicResult(name=topic.name, partitions=tuple(results)))
        return DeleteRecordsResponse(topics=tuple(topics))

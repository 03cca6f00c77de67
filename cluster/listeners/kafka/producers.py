"""Idempotent producers: an identity for each (KIP-98, KIP-360), and what a partition knows of them (KIP-664)."""

from collections.abc import Callable

from cluster.handlers.admin import ProducerIds
from cluster.listeners.kafka.request import Client
from cluster.replication.partition import Partition
from kraft.metadata.topic_names import check_topic_name
from storage.errors import ErrorCode, OttlaError
from wire.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)
from wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

EPOCH_MAX = 2**15 - 1
# Epochs of transaction coordinators; without transactions nobody has one.
NO_COORDINATOR = -1


class KafkaProducers:
    """`lookup` finds the partition by topic name and index and raises OttlaError."""

    def __init__(self, ids: ProducerIds, lookup: Callable[[str, int], Partition]) -> None:
        self._ids = ids
        self._lookup = lookup

    async def init(self, _client: Client, request: InitProducerIdRequest) -> InitProducerIdResponse:
        """A new id, or the next epoch of one that the producer has (KIP-360). Any broker answers: producers without
        transactions belong to nobody.
        """
        if request.transactional_id is not None:
            code = (
                ErrorCode.INVALID_REQUEST
                if not request.transactional_id
                else ErrorCode.COORDINATOR_NOT_AVAILABLE
            )
            return InitProducerIdResponse(error_code=code, producer_epoch=-1)
        if request.producer_id >= 0 and 0 <= request.producer_epoch < EPOCH_MAX:
            return InitProducerIdResponse(
                producer_id=request.producer_id, producer_epoch=request.producer_epoch + 1
            )
        try:
            producer_id = await self._ids.next(None)
        except OttlaError as error:
            return InitProducerIdResponse(error_code=error.code, producer_epoch=-1)
        return InitProducerIdResponse(producer_id=producer_id)

    async def describe(
        self, _client: Client, request: DescribeProducersRequest
    ) -> DescribeProducersResponse:
        """DescribeProducers, of any replica that this broker has: a follower's may be behind its leader's."""
        return DescribeProducersResponse(
            topics=tuple(
                TopicResponse(
                    name=topic.name,
                    partitions=tuple(
                        self._producers(topic.name, each) for each in topic.partition_indexes
                    ),
                )
                for topic in request.topics
            )
        )

    def _producers(self, topic: str, index: int) -> PartitionResponse:
        try:
            check_topic_name(topic)
            partition = self._lookup(topic, index)
        except OttlaError as error:
            return PartitionResponse(
                partition_index=index, error_code=error.code, error_message=str(error)
            )
        return PartitionResponse(
            partition_index=index,
            active_producers=tuple(
                ProducerState(
                    producer_id=producer_id,
                    producer_epoch=entry.epoch,
                    last_sequence=entry.last_sequence,
                    last_timestamp=entry.last_append_ms,
                    coordinator_epoch=NO_COORDINATOR,
                )
                for producer_id, entry in partition.log.producers
            ),
        )

"""Committed offsets over the Kafka protocol. Topics come by name, or by id since version 10 (KIP-848)."""

from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from cluster.groups.offsets import Position, TopicPartition
from cluster.handlers.groups import GroupHandler
from cluster.listeners.kafka.request import Client
from kraft.metadata.image import MetadataImage
from storage.errors import ErrorCode, OttlaError
from wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)

TOPIC_IDS = 10
MANY_GROUPS = 8
GROUP_ERROR_FROM = 2
MISSING_GROUP_FROM = 9


class KafkaGroupOffsets:
    """`image`: this node's newest metadata, for topics that are named by id."""

    def __init__(self, groups: GroupHandler, image: Callable[[], MetadataImage]) -> None:
        self._groups = groups
        self._image = image

    async def commit(self, client: Client, request: OffsetCommitRequest) -> OffsetCommitResponse:
        """OffsetCommit. Who asks as before KIP-848 is told of a missing group as of an old generation."""
        if client.api_version < TOPIC_IDS:
            response = await self._groups.commit(request)
            if client.api_version < MISSING_GROUP_FROM:
                partitions = (each for topic in response.topics for each in topic.partitions)
                for each in partitions:
                    if each.error_code == ErrorCode.GROUP_ID_NOT_FOUND:
                        each.error_code = ErrorCode.ILLEGAL_GENERATION
            return response
        unknown: list[OffsetCommitResponseTopic] = []
        known: list[OffsetCommitRequestTopic] = []
        for topic in request.topics:
            name = self._name(topic.topic_id)
            if name is not None:
                topic.name = name
                known.append(topic)
                continue
            unknown.append(
                OffsetCommitResponseTopic(
                    topic_id=topic.topic_id,
                    partitions=tuple(
                        OffsetCommitResponsePartition(
                            partition_index=each.partition_index,
                            error_code=ErrorCode.UNKNOWN_TOPIC_ID,
                        )
                        for each in topic.partitions
                    ),
                )
            )
        request.topics = tuple(known)
        response = await self._groups.commit(request)
        response.topics += tuple(unknown)
        return response

    def _name(self, topic_id: UUID | None) -> str | None:
        found = None if topic_id is None else self._image().topics_by_id.get(topic_id)
        return None if found is None else found.name

    async def fetch(self, client: Client, request: OffsetFetchRequest) -> OffsetFetchResponse:
        """OffsetFetch: of many groups since version 8."""
        if client.api_version >= MANY_GROUPS:
            by_id = client.api_version >= TOPIC_IDS
            return OffsetFetchResponse(
                groups=tuple(self._fetch_group(each, by_id=by_id) for each in request.groups)
            )
        wanted = None
        if request.topics is not None:
            wanted = [
                TopicPartition(topic.name, index)
                for topic in request.topics
                for index in topic.partition_indexes
            ]
        try:
            found = self._groups.positions(request.group_id, wanted)
        except OttlaError as error:
            return _failed(request, error, client.api_version)
        return OffsetFetchResponse(
            topics=tuple(
                OffsetFetchResponseTopic(
                    name=name,
                    partitions=tuple(
                        OffsetFetchResponsePartition(
                            partition_index=index,
                            committed_offset=position.offset,
                            committed_leader_epoch=position.leader_epoch,
                            metadata=position.metadata,
                        )
                        for index, position in positions
                    ),
                )
                for name, positions in _by_topic(found).items()
            )
        )

    def _fetch_group(
        self, wanted: OffsetFetchRequestGroup, *, by_id: bool
    ) -> OffsetFetchResponseGroup:
        ids: dict[str, UUID | None] = {}
        unknown: list[OffsetFetchResponseTopics] = []
        asked: list[TopicPartition] | None = None
        if wanted.topics is not None:
            asked = []
            for topic in wanted.topics:
                name = self._name(topic.topic_id) if by_id else topic.name
                if name is None:
                    unknown.append(_unknown(topic))
                    continue
                ids[name] = topic.topic_id
                asked += [TopicPartition(name, index) for index in topic.partition_indexes]
        try:
            found = self._groups.positions(
                wanted.group_id,
                asked,
                member_id=wanted.member_id,
                member_epoch=wanted.member_epoch,
            )
        except OttlaError as error:
            return OffsetFetchResponseGroup(group_id=wanted.group_id, error_code=error.code)
        topics = self._image().topics_by_name
        if by_id and asked is None:
            # A topic that is gone has no id to tell it by.
            found = {where: each for where, each in found.items() if where.topic in topics}
            ids = {where.topic: topics[where.topic].topic_id for where in found}
        return OffsetFetchResponseGroup(
            group_id=wanted.group_id,
            topics=(
                *unknown,
                *(
                    OffsetFetchResponseTopics(
                        name=name,
                        topic_id=ids.get(name),
                        partitions=tuple(
                            OffsetFetchResponsePartitions(
                                partition_index=index,
                                committed_offset=position.offset,
                                committed_leader_epoch=position.leader_epoch,
                                metadata=position.metadata,
                            )
                            for index, position in positions
                        ),
                    )
                    for name, positions in _by_topic(found).items()
                ),
            ),
        )

    async def delete(self, _client: Client, request: OffsetDeleteRequest) -> OffsetDeleteResponse:
        """OffsetDelete."""
        wanted = [
            TopicPartition(topic.name, each.partition_index)
            for topic in request.topics
            for each in topic.partitions
        ]
        try:
            outcome = await self._groups.delete_offsets(request.group_id, wanted)
        except OttlaError as error:
            return OffsetDeleteResponse(error_code=error.code)
        topics: dict[str, list[OffsetDeleteResponsePartition]] = {}
        for where, refusal in outcome.items():
            code = ErrorCode.NONE if refusal is None else refusal.code
            topics.setdefault(where.topic, []).append(
                OffsetDeleteResponsePartition(partition_index=where.partition, error_code=code)
            )
        return OffsetDeleteResponse(
            topics=tuple(
                OffsetDeleteResponseTopic(name=name, partitions=tuple(found))
                for name, found in topics.items()
            )
        )


def _by_topic(
    found: Mapping[TopicPartition, Position],
) -> dict[str, list[tuple[int, Position]]]:
    topics: dict[str, list[tuple[int, Position]]] = {}
    for where, position in found.items():
        topics.setdefault(where.topic, []).append((where.partition, position))
    return topics


def _unknown(topic: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics:
    return OffsetFetchResponseTopics(
        topic_id=topic.topic_id,
        partitions=tuple(
            OffsetFetchResponsePartitions(
                partition_index=index,
                committed_offset=-1,
                metadata="",
                error_code=ErrorCode.UNKNOWN_TOPIC_ID,
            )
            for index in topic.partition_indexes
        ),
    )


def _failed(request: OffsetFetchRequest, error: OttlaError, version: int) -> OffsetFetchResponse:
    """Version 1 has no place for the group's error: every partition says it."""
    if version >= GROUP_ERROR_FROM:
        return OffsetFetchResponse(error_code=error.code)
    return OffsetFetchResponse(
        topics=tuple(
            OffsetFetchResponseTopic(
                name=topic.name,
                partitions=tuple(_refused(topic.partition_indexes, error)),
            )
            for topic in request.topics or ()
        )
    )


def _refused(indexes: Iterable[int], error: OttlaError) -> Iterable[OffsetFetchResponsePartition]:
    for index in indexes:
        yield OffsetFetchResponsePartition(
            partition_index=index, committed_offset=-1, metadata="", error_code=error.code
        )

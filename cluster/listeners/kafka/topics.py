"""Topics made, deleted and enlarged."""

from collections import Counter
from collections.abc import Callable, Sequence
from uuid import UUID

from cluster.handlers.admin import AdminHandler
from cluster.listeners.kafka.config_entries import KAFKA_SOURCE
from cluster.listeners.kafka.request import Client
from kraft.metadata.errors import Refusal
from kraft.metadata.records import NIL_ID, ConfigResource, ResourceType
from kraft.metadata.replies import CreatedTopic, TopicsCreated, TopicsDeleted
from kraft.metadata.requests import CreatePartitions, CreateTopics, DeleteTopics, NewTopic
from storage.errors import ErrorCode, OttlaError
from wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)

DELETE_BY_ID = 6


class KafkaTopics:
    """Asks the active controller, whichever broker was asked."""

    def __init__(self, admin: AdminHandler) -> None:
        self._admin = admin

    async def create(self, _client: Client, request: CreateTopicsRequest) -> CreateTopicsResponse:
        """A name that stands twice is refused, as Kafka does; the others are made."""
        names = [each.name for each in request.topics]
        twice = {name for name in names if names.count(name) > 1}
        wrong = {each.name: found for each in request.topics if (found := _wrong(each))}
        wanted = [
            each for each in request.topics if each.name not in twice and each.name not in wrong
        ]
        results = [
            CreatableTopicResult(
                name=name,
                error_code=ErrorCode.INVALID_REQUEST,
                error_message=f"the request names topic {name} twice",
            )
            for name in sorted(twice)
        ]
        results += [
            CreatableTopicResult(name=name, error_code=code, error_message=message)
            for name, (code, message) in wrong.items()
            if name not in twice
        ]
        if wanted:
            results += await self._create(wanted, request)
        return CreateTopicsResponse(topics=tuple(results))

    async def _create(
        self, wanted: Sequence[CreatableTopic], request: CreateTopicsRequest
    ) -> list[CreatableTopicResult]:
        change = CreateTopics(
            topics=tuple(_new_topic(each) for each in wanted), validate_only=request.validate_only
        )
        try:
            reply = await self._admin.change(change, _seconds(request.timeout_ms))
        except OttlaError as error:
            return [
                CreatableTopicResult(
                    name=each.name, error_code=error.code, error_message=str(error)
                )
                for each in wanted
            ]
        assert isinstance(reply, TopicsCreated), reply
        return [self._created(each, request.validate_only) for each in reply.topics]

    def _created(self, found: CreatedTopic, validate_only: bool) -> CreatableTopicResult:
        if found.refusal is not None:
            return CreatableTopicResult(
                name=found.name,
                error_code=found.refusal.code,
                error_message=found.refusal.message,
            )
        return CreatableTopicResult(
            name=found.name,
            topic_id=None if found.topic_id == NIL_ID else found.topic_id,
            num_partitions=found.partitions,
            replication_factor=found.replication_factor,
            # Never null: Java's client would stumble over it.
            configs=() if validate_only else self._configs(found.name),
        )

    def _configs(self, name: str) -> tuple[CreatableTopicConfigs, ...]:
        try:
            entries = self._admin.configs(ConfigResource(ResourceType.TOPIC, name))
        except OttlaError:
            # Deleted meanwhile, or not yet in this node's picture: it has none to show.
            return ()
        return tuple(
            CreatableTopicConfigs(
                name=each.key, value=each.value, config_source=KAFKA_SOURCE[each.source]
            )
            for each in entries
        )

    async def delete(self, client: Client, request: DeleteTopicsRequest) -> DeleteTopicsResponse:
        """By name, or by id."""
        states: Sequence[DeleteTopicState] = request.topics
        if client.api_version < DELETE_BY_ID:
            states = tuple(DeleteTopicState(name=name) for name in request.topic_names)
        states, refused = _ambiguous(states)
        names, results = self._resolve(states)
        results += refused
        if names:
            results += await self._delete(names, _seconds(request.timeout_ms))
        return DeleteTopicsResponse(responses=tuple(results))

    def _resolve(
        self, states: Sequence[DeleteTopicState]
    ) -> tuple[list[str], list[DeletableTopicResult]]:
        image = self._admin.image()
        names: list[str] = []
        unknown: list[DeletableTopicResult] = []
        for each in states:
            if each.name is not None:
                names.append(each.name)
                continue
            found = None if each.topic_id is None else image.topics_by_id.get(each.topic_id)
            if found is not None:
                names.append(found.name)
            else:
                unknown.append(
                    DeletableTopicResult(
                        topic_id=each.topic_id,
                        error_code=ErrorCode.UNKNOWN_TOPIC_ID,
                        error_message=f"no topic has the id {each.topic_id}",
                    )
                )
        return list(dict.fromkeys(names)), unknown

    async def _delete(self, names: Sequence[str], seconds: float) -> list[DeletableTopicResult]:
        ids = {name: found.topic_id for name, found in self._admin.image().topics_by_name.items()}
        try:
            reply = await self._admin.change(DeleteTopics(names=tuple(names)), seconds)
        except OttlaError as error:
            return [_not_deleted(name, error.code, str(error), ids.get(name)) for name in names]
        assert isinstance(reply, TopicsDeleted), reply
        return [
            DeletableTopicResult(name=each.name, topic_id=each.topic_id)
            if each.refusal is None
            else _not_deleted(
                each.name, each.refusal.code, each.refusal.message, ids.get(each.name)
            )
            for each in reply.topics
        ]

    async def create_partitions(
        self, _client: Client, request: CreatePartitionsRequest
    ) -> CreatePartitionsResponse:
        """One topic after the other; each stands for itself."""
        results = []
        for each in request.topics:
            refusal = await self._enlarge(each, request)
            results.append(
                CreatePartitionsTopicResult(
                    name=each.name,
                    error_code=ErrorCode.NONE if refusal is None else refusal.code,
                    error_message=None if refusal is None else refusal.message,
                )
            )
        return CreatePartitionsResponse(results=tuple(results))

    async def _enlarge(
        self, wanted: CreatePartitionsTopic, request: CreatePartitionsRequest
    ) -> Refusal | None:
        change = CreatePartitions(
            topic=wanted.name,
            total_count=wanted.count,
            assignments=tuple(each.broker_ids for each in wanted.assignments or ()),
            validate_only=request.validate_only,
        )
        return await refusal_of(lambda: self._admin.change(change, _seconds(request.timeout_ms)))


async def refusal_of(work: Callable[[], object]) -> Refusal | None:
    """Why something was refused; None when it was not."""
    try:
        await work()  # type: ignore[misc]
    except OttlaError as error:
        return Refusal.of(error)
    return None


def _not_deleted(
    name: str | None, code: int, message: str, topic_id: UUID | None
) -> DeletableTopicResult:
    return DeletableTopicResult(
        name=name, topic_id=topic_id, error_code=code, error_message=message
    )


def _wrong(topic: CreatableTopic) -> tuple[ErrorCode, str] | None:
    """What this protocol forbids and the controller's own does not: there 0 stands for the default."""
    name = topic.name
    if topic.num_partitions == 0:
        return ErrorCode.INVALID_PARTITIONS, f"topic {name} with 0 partitions; -1 is the default"
    if topic.replication_factor == 0:
        return (
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"topic {name} with 0 replicas; -1 is the default",
        )
    null = next((each.name for each in topic.configs if each.value is None), None)
    if null is not None:
        return ErrorCode.INVALID_CONFIG, f"{null} of topic {name} is null"
    numbers = sorted(each.partition_index for each in topic.assignments)
    if numbers != list(range(len(numbers))):
        return ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"partitions {numbers} of topic {name}: a gap"
    return None


def _ambiguous(
    states: Sequence[DeleteTopicState],
) -> tuple[list[DeleteTopicState], list[DeletableTopicResult]]:
    """Topics that are named by name and by id, or twice, are refused; the others are left."""
    names: Counter[str | None] = Counter(each.name for each in states if each.name is not None)
    ids: Counter[UUID | None] = Counter(
        each.topic_id for each in states if each.topic_id is not None
    )
    left: list[DeleteTopicState] = []
    refused: dict[object, DeletableTopicResult] = {}
    for each in states:
        both = each.name is not None and each.topic_id is not None
        if both or names[each.name] > 1 or ids[each.topic_id] > 1:
            message = f"topic {each.name or each.topic_id} is named twice, or by name and by id"
            refused[each.name or each.topic_id] = _not_deleted(
                each.name, ErrorCode.INVALID_REQUEST, message, each.topic_id
            )
        else:
            left.append(each)
    return left, list(refused.values())


def _new_topic(wanted: CreatableTopic) -> NewTopic:
    ordered = sorted(wanted.assignments, key=lambda each: each.partition_index)
    return NewTopic(
        name=wanted.name,
        partitions=wanted.num_partitions,
        replication_factor=wanted.replication_factor,
        assignments=tuple(each.broker_ids for each in ordered),
        configs={each.name: each.value for each in wanted.configs if each.value is not None},
    )


def _seconds(timeout_ms: int) -> float:
    return max(timeout_ms, 1) / 1000

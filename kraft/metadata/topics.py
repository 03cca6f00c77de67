"""Topics are made, grown and removed. A topic's identity is its UUID (KAFKA-12257); a name may come back as another."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from kraft.metadata import assignments
from kraft.metadata.configs import normalised
from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.effective_config import broker_value, topic_resource
from kraft.metadata.errors import (
    InvalidPartitionsError,
    InvalidReplicaAssignmentError,
    InvalidReplicationFactorError,
    InvalidRequestError,
    MetadataError,
    Refusal,
    TopicExistsError,
)
from kraft.metadata.records import Config, RemoveTopic, Topic
from kraft.metadata.replies import CreatedTopic, DeletedTopic, Done, TopicsCreated, TopicsDeleted
from kraft.metadata.requests import CreatePartitions, CreateTopics, DeleteTopics, NewTopic
from kraft.metadata.topic_names import check_collision, check_topic_name, collision_keys


def create_topics(draft: Draft, request: CreateTopics) -> ControllerResult:
    """Make topics; each one is made or refused by itself. With validate_only nothing is made."""
    taken = collision_keys(draft.delta.topic_names())
    created = []
    for new in request.topics:
        try:
            check_topic_name(new.name)
            if draft.delta.topic_id(new.name) is not None:
                raise TopicExistsError(f"topic {new.name!r} already exists")
            check_collision(new.name, taken)
            created.append(_create(draft, new))
            taken.update(collision_keys([new.name]))
        except MetadataError as error:
            created.append(CreatedTopic(name=new.name, refusal=Refusal.of(error)))
    reply = TopicsCreated(topics=tuple(created))
    return ControllerResult([], reply) if request.validate_only else draft.result(reply)


def _create(draft: Draft, new: NewTopic) -> CreatedTopic:
    """Check everything, then emit: a refused topic leaves no record behind."""
    resource = topic_resource(new.name)
    configs: Mapping[str, str] = normalised(resource, new.configs)
    replicas = _replicas(draft, new)
    topic_id = draft.new_uuid()
    draft.emit(Topic(name=new.name, topic_id=topic_id))
    for number, chosen in enumerate(replicas):
        draft.emit(assignments.new_partition(draft, topic_id, number, chosen))
    for key, value in configs.items():
        draft.emit(Config(resource_type=resource.type, name=resource.name, key=key, value=value))
    return CreatedTopic(
        name=new.name,
        topic_id=topic_id,
        partitions=len(replicas),
        replication_factor=len(replicas[0]),
    )


def _replicas(draft: Draft, new: NewTopic) -> list[tuple[int, ...]]:
    if new.assignments:
        _check_by_hand(new)
        return assignments.by_hand(draft, new.name, new.assignments, len(new.assignments[0]))
    _check_not_below(new)
    floors = draft.floors()
    partitions, factor = new.partitions, new.replication_factor
    if partitions <= 0:
        partitions = broker_value(floors, "num.partitions")
    if factor <= 0:
        factor = broker_value(floors, "default.replication.factor")
    return assignments.placed(draft, new.name, partitions, factor)


def _check_not_below(new: NewTopic) -> None:
    if new.partitions < -1:
        raise InvalidPartitionsError(
            f"topic {new.name!r} cannot have {new.partitions} partitions: it needs at least one"
        )
    if new.replication_factor < -1:
        raise InvalidReplicationFactorError(
            f"topic {new.name!r} cannot have replication factor {new.replication_factor}: it needs at least 1"
        )


def _check_by_hand(new: NewTopic) -> None:
    if new.partitions not in (-1, 0, len(new.assignments)):
        raise InvalidRequestError(
            f"topic {new.name!r} asks for {new.partitions} partitions and gives {len(new.assignments)} assignments: "
            f"give one or the other"
        )
    if new.replication_factor not in (-1, 0, len(new.assignments[0])):
        raise InvalidReplicaAssignmentError(
            f"topic {new.name!r} asks for replication factor {new.replication_factor} and assigns "
            f"{len(new.assignments[0])} replicas: give one or the other"
        )


def delete_topics(draft: Draft, request: DeleteTopics) -> ControllerResult:
    """Remove topics; each one is removed or refused by itself."""
    deleted = []
    for name in request.names:
        try:
            topic_id = draft.known_topic(name)
            draft.emit(RemoveTopic(topic_id=topic_id))
            deleted.append(DeletedTopic(name=name, topic_id=topic_id))
        except MetadataError as error:
            deleted.append(DeletedTopic(name=name, refusal=Refusal.of(error)))
    return draft.result(TopicsDeleted(topics=tuple(deleted)))


def create_partitions(draft: Draft, request: CreatePartitions) -> ControllerResult:
    """Add partitions to a topic, with as many replicas as its first partition has.

    Raises UnknownTopicError, InvalidPartitionsError, InvalidReplicationFactorError, InvalidReplicaAssignmentError.
    """
    topic_id = draft.known_topic(request.topic)
    existing = [
        partition.target_replicas for partition in draft.delta.partitions_of(topic_id).values()
    ]
    added = request.total_count - len(existing)
    if added <= 0:
        raise InvalidPartitionsError(
            f"topic {request.topic!r} currently has {len(existing)} partitions and cannot be given "
            f"{request.total_count}: partitions can only be added"
        )
    replicas = _added_replicas(draft, request, existing, added)
    if not request.validate_only:
        _emit_added(draft, topic_id, len(existing), replicas)
    return draft.result(Done())


def _added_replicas(
    draft: Draft, request: CreatePartitions, existing: Sequence[tuple[int, ...]], added: int
) -> list[tuple[int, ...]]:
    factor = len(existing[0])
    if not request.assignments:
        return assignments.placed(draft, request.topic, added, factor, existing)
    if len(request.assignments) != added:
        raise InvalidReplicaAssignmentError(
            f"topic {request.topic!r} gets {added} new partitions, but {len(request.assignments)} assignments are given"
        )
    return assignments.by_hand(draft, request.topic, request.assignments, factor)


def _emit_added(
    draft: Draft, topic_id: UUID, first: int, replicas: Sequence[tuple[int, ...]]
) -> None:
    for number, chosen in enumerate(replicas, start=first):
        draft.emit(assignments.new_partition(draft, topic_id, number, chosen))

"""What is said to administrators: topics, partitions, configuration, records."""

from collections.abc import Callable
from typing import Any

from tests.compat.read_scenarios import STRANGE_ID, offsets, with_records
from tests.compat.target import Target, closed_or, code
from wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from wire.messages.elect_leaders import ElectLeadersRequest, TopicPartitions
from wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)

SET, DELETE, APPEND, SUBTRACT = range(4)
TOPIC, BROKER = 2, 4
SHOWN = (
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "max.message.bytes",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
    "unclean.leader.election.enable",
)
SCENARIOS: dict[str, Callable[[Target], Any]] = {}


def create(target: Target, name: str, **options: Any) -> Any:
    """[error, partitions, replication factor]."""
    configs = options.pop("configs", {})
    twice = options.pop("twice", False)
    validate_only = options.pop("validate_only", False)
    topic = CreatableTopic(
        name=name,
        num_partitions=options.pop("partitions", 1),
        replication_factor=options.pop("replicas", 3),
        configs=tuple(CreatableTopicConfig(name=key, value=configs[key]) for key in configs),
        **options,
    )
    request = CreateTopicsRequest(
        topics=(topic, topic) if twice else (topic,),
        timeout_ms=10_000,
        validate_only=validate_only,
    )

    def ask() -> Any:
        return [
            [code(each.error_code), each.num_partitions, each.replication_factor]
            for each in target.call(request, 7).topics
        ]

    return closed_or(ask)


def _create(name: str, topic: str | None = None, **options: Any) -> None:
    SCENARIOS[f"create: {name}"] = lambda target: create(
        target, target.name() if topic is None else topic, **options
    )


_create("a topic", partitions=2)
_create("the defaults", partitions=-1, replicas=-1)
_create("no partitions", partitions=0)
_create("partitions below -1", partitions=-2)
_create("no replicas", replicas=0)
_create("more replicas than nodes", replicas=4)
_create("an empty name", "")
_create("a dot", ".")
_create("a slash", "a/b")
_create("a name that is too long", "x" * 250)
_create("twice in one request", twice=True)
_create("only to look", validate_only=True)
_create("a setting that is unknown", configs={"nonsense": "1"})
_create("a setting that does not fit", configs={"retention.ms": "x"})
_create("a setting that is too small", configs={"retention.ms": "-2"})
_create("a setting that is null", configs={"retention.ms": None})
_create("a policy that is unknown", configs={"cleanup.policy": "burn"})
_create(
    "an assignment to nobody",
    partitions=-1,
    replicas=-1,
    assignments=(CreatableReplicaAssignment(partition_index=0, broker_ids=(99,)),),
)
_create(
    "an assignment with a gap",
    partitions=-1,
    replicas=-1,
    assignments=(CreatableReplicaAssignment(partition_index=1, broker_ids=(1,)),),
)
_create(
    "an assignment to one broker twice",
    partitions=-1,
    replicas=-1,
    assignments=(CreatableReplicaAssignment(partition_index=0, broker_ids=(1, 1)),),
)
_create(
    "an assignment and a count",
    partitions=2,
    assignments=(CreatableReplicaAssignment(partition_index=0, broker_ids=(1,)),),
)


def create_again(target: Target) -> Any:
    topic = target.topic()
    return [create(target, topic), create(target, topic, validate_only=True)]


def create_colliding(target: Target) -> Any:
    name = target.name()
    create(target, f"{name}.a")
    return create(target, f"{name}_a")


def delete(target: Target) -> Any:
    """Topics that are there, that are not, by id, twice."""
    topic = target.topic()

    def ask(*topics: DeleteTopicState) -> Any:
        request = DeleteTopicsRequest(topics=topics, timeout_ms=10_000)

        def now() -> Any:
            found = target.call(request, 6).responses
            return [[code(each.error_code), each.name is not None] for each in found]

        return closed_or(now)

    topic_id = target.topic_id(topic)
    return [
        ask(DeleteTopicState(name=target.name())),
        ask(DeleteTopicState(topic_id=STRANGE_ID)),
        ask(DeleteTopicState(name=topic), DeleteTopicState(name=topic)),
        ask(DeleteTopicState(name=topic, topic_id=topic_id)),
        ask(DeleteTopicState(topic_id=topic_id)),
        ask(DeleteTopicState(name="")),
    ]


def enlarge(target: Target) -> Any:
    topic = target.topic()

    def ask(name: str, count: int, validate_only: bool = False) -> Any:
        request = CreatePartitionsRequest(
            topics=(CreatePartitionsTopic(name=name, count=count, assignments=None),),
            timeout_ms=10_000,
            validate_only=validate_only,
        )
        return [code(each.error_code) for each in target.call(request, 3).results]

    return [
        ask(topic, 1),
        ask(topic, 2),
        ask(topic, 0),
        ask(topic, -1),
        ask(topic, 3, True),
        ask(topic, 3),
        ask(target.name(), 3),
        ask("a/b", 3),
    ]


def alter(target: Target, kind: int, name: str, *changes: tuple[str, int, str | None]) -> Any:
    request = IncrementalAlterConfigsRequest(
        resources=(
            AlterConfigsResource(
                resource_type=kind,
                resource_name=name,
                configs=tuple(
                    AlterableConfig(name=key, config_operation=operation, value=value)
                    for key, operation, value in changes
                ),
            ),
        )
    )
    return closed_or(lambda: [code(each.error_code) for each in target.call(request, 1).responses])


def alterations(target: Target) -> Any:
    topic = target.topic()
    return [
        alter(target, TOPIC, topic, ("retention.ms", SET, "1000")),
        alter(target, TOPIC, topic, ("retention.ms", SET, "x")),
        alter(target, TOPIC, topic, ("retention.ms", SET, "-2")),
        alter(target, TOPIC, topic, ("retention.ms", SET, None)),
        alter(target, TOPIC, topic, ("retention.ms", DELETE, None)),
        alter(target, TOPIC, topic, ("retention.ms", APPEND, "1")),
        alter(target, TOPIC, topic, ("cleanup.policy", APPEND, "compact")),
        alter(target, TOPIC, topic, ("cleanup.policy", SUBTRACT, "delete")),
        alter(target, TOPIC, topic, ("nonsense", SET, "1")),
        alter(target, TOPIC, topic, ("retention.ms", 9, "1")),
        alter(target, TOPIC, topic, ("segment.ms", SET, "1"), ("segment.ms", SET, "2")),
        alter(target, TOPIC, target.name(), ("retention.ms", SET, "1")),
        alter(target, TOPIC, "", ("retention.ms", SET, "1")),
        alter(target, BROKER, "99", ("log.retention.ms", SET, "1")),
        alter(target, BROKER, "x", ("log.retention.ms", SET, "1")),
        alter(target, 99, "x", ("retention.ms", SET, "1")),
    ]


def describe(target: Target, kind: int, name: str, *keys: str) -> Any:
    """[error, [name, value, source, type, read only]]."""
    resource = DescribeConfigsResource(
        resource_type=kind, resource_name=name, configuration_keys=keys or None
    )
    request = DescribeConfigsRequest(resources=(resource,))

    def ask() -> Any:
        found = target.call(request, 4).results[0]
        shown = [
            [each.name, each.value, each.config_source, each.config_type, each.read_only]
            for each in sorted(found.configs, key=lambda each: each.name)
            if each.name in SHOWN
        ]
        return [code(found.error_code), shown]

    return closed_or(ask)


def topic_settings(target: Target) -> Any:
    topic = target.topic(retention_ms="1000", cleanup_policy="compact,delete")
    return [
        describe(target, TOPIC, topic),
        describe(target, TOPIC, topic, "retention.ms"),
        describe(target, TOPIC, topic, "nonsense"),
        describe(target, TOPIC, target.name()),
        describe(target, TOPIC, "a/b"),
        describe(target, 99, "x"),
    ]


def broker_settings(target: Target) -> Any:
    return [describe(target, BROKER, name)[0] for name in ("1", "99", "x", "")]


def delete_records(target: Target) -> Any:
    """[error, low watermark]."""
    topic = with_records(target)

    def ask(name: str, partition: int, offset: int, node: tuple[str, int]) -> Any:
        partitions = (DeleteRecordsPartition(partition_index=partition, offset=offset),)
        request = DeleteRecordsRequest(
            topics=(DeleteRecordsTopic(name=name, partitions=partitions),), timeout_ms=10_000
        )
        found = target.call(request, 2, node).topics[0].partitions[0]
        return [code(found.error_code), found.low_watermark]

    leader, follower = target.leader(topic), target.follower(topic)
    return [
        ask(topic, 0, 4, leader),
        ask(topic, 0, -2, leader),
        ask(topic, 0, 1, leader),
        ask(topic, 0, 0, leader),
        ask(topic, 0, -1, leader),
        ask(topic, 0, 1, follower),
        ask(topic, 9, 1, leader),
        ask(target.name(), 0, 1, leader),
        offsets(target, topic, -2),
    ]


def elections(target: Target) -> Any:
    topic = target.topic()

    def ask(kind: int, name: str, *partitions: int) -> Any:
        request = ElectLeadersRequest(
            election_type=kind,
            topic_partitions=(TopicPartitions(topic=name, partitions=partitions),),
            timeout_ms=10_000,
        )

        def now() -> Any:
            found = target.call(request, 2)
            return [
                code(found.error_code),
                [
                    code(each.error_code)
                    for topic in found.replica_election_results
                    for each in topic.partition_result
                ],
            ]

        return closed_or(now)

    return [
        ask(0, topic, 0),
        ask(1, topic, 0),
        ask(0, topic, 9),
        ask(0, target.name(), 0),
        ask(7, topic, 0),
    ]


SCENARIOS |= {
    "create: what is there": create_again,
    "create: names that collide": create_colliding,
    "delete topics": delete,
    "create partitions": enlarge,
    "alter configs": alterations,
    "describe topic configs": topic_settings,
    "describe broker configs": broker_settings,
    "delete records": delete_records,
    "elect leaders": elections,
}

"""The metadata image as ottla.v1 messages, with addresses as one listener advertises them."""

from collections.abc import Iterable

from cluster.listeners.grpc_errors import to_proto
from kraft.metadata.errors import UnknownTopicError
from kraft.metadata.image import MetadataImage, PartitionRegistration, TopicImage
from kraft.metadata.records import ConfigResource as Resource
from kraft.metadata.records import Endpoint, ResourceType
from ottla.v1 import admin_pb2 as pb
from ottla.v1 import common_pb2

NOWHERE = Endpoint("", 0)


def broker_address(image: MetadataImage, node_id: int, listener: str) -> Endpoint:
    """Where a broker is reached by who came in through `listener`: the same listener there, or any client listener."""
    broker = image.brokers.get(node_id)
    if broker is None:
        return NOWHERE
    if listener in broker.listeners:
        return broker.listeners[listener]
    doors = [broker.listeners[name] for name in sorted(broker.listeners) if name.startswith("GRPC")]
    return doors[0] if doors else NOWHERE


def brokers(image: MetadataImage, listener: str) -> list[pb.Broker]:
    """All registered brokers."""
    found = []
    for broker in sorted(image.brokers.values(), key=lambda each: each.node_id):
        host, port = broker_address(image, broker.node_id, listener)
        found.append(
            pb.Broker(
                node_id=broker.node_id,
                host=host,
                port=port,
                rack=broker.rack,
                fenced=broker.fenced,
                in_controlled_shutdown=broker.in_controlled_shutdown,
                broker_epoch=broker.broker_epoch,
            )
        )
    return found


def topics(image: MetadataImage, names: Iterable[str]) -> list[pb.Topic]:
    """The named topics, those that are not there with an error."""
    return [_topic_or_error(image, name) for name in names]


def leader_hint(
    image: MetadataImage, leader_id: int, leader_epoch: int, listener: str
) -> common_pb2.LeaderHint:
    """Where a partition's leader is reached."""
    host, port = broker_address(image, leader_id, listener)
    return common_pb2.LeaderHint(
        leader_id=leader_id, leader_epoch=leader_epoch, host=host, port=port
    )


def _topic_or_error(image: MetadataImage, name: str) -> pb.Topic:
    topic = image.topics_by_name.get(name)
    if topic is None:
        error = UnknownTopicError(
            f"there is no topic {name!r}: `ottla topics create {name}` makes it, `ottla topics list` shows all"
        )
        return pb.Topic(name=name, error=to_proto(error))
    return _topic(image, topic)


def _topic(image: MetadataImage, topic: TopicImage) -> pb.Topic:
    return pb.Topic(
        name=topic.name,
        topic_id=str(topic.topic_id),
        partitions=[
            partition(number, topic.partitions[number]) for number in sorted(topic.partitions)
        ],
        configs=dict(image.config(Resource(ResourceType.TOPIC, topic.name))),
        internal=topic.name.startswith("__"),
    )


def partition(number: int, found: PartitionRegistration) -> pb.Partition:
    """A partition's state."""
    return pb.Partition(
        partition=number,
        leader_id=found.leader,
        leader_epoch=found.leader_epoch,
        replicas=found.replicas,
        isr=found.isr,
        elr=found.elr,
        adding_replicas=found.adding,
        removing_replicas=found.removing,
        partition_epoch=found.partition_epoch,
    )

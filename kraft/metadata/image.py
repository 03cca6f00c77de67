"""The cluster's metadata at one point of the log: an immutable picture.

Brokers decide from it, controllers make records against it. A new one is made from an old one by a `MetadataDelta`
(delta.py), sharing every topic that did not change. Nobody may change the mappings in it.
"""

from collections.abc import Iterator, Mapping
from uuid import UUID

from msgspec import Struct

from kraft.metadata.records import (
    CLUSTER,
    NIL_ID,
    NO_LEADER,
    ClientQuota,
    ClusterId,
    Config,
    ConfigResource,
    Endpoint,
    FeatureLevel,
    PartitionRecord,
    ProducerIds,
    QuotaEntity,
    Record,
    RegisterBroker,
    ResourceType,
    Topic,
    UncleanElections,
)


class BrokerRegistration(Struct, frozen=True, kw_only=True):
    """What the cluster knows of a broker. Fields: see records.RegisterBroker."""

    node_id: int
    broker_epoch: int
    incarnation: UUID
    listeners: Mapping[str, Endpoint]
    rack: str = ""
    fenced: bool = True
    shutdown_offset: int = -1
    directory_id: UUID = NIL_ID
    min_metadata_level: int = 1
    max_metadata_level: int = 1

    @property
    def in_controlled_shutdown(self) -> bool:
        """Whether the broker asked to stop, so that it gets no leadership and no ISR membership any more."""
        return self.shutdown_offset >= 0

    @property
    def eligible(self) -> bool:
        """Whether the broker may lead and be in an ISR (KIP-841)."""
        return not self.fenced and self.shutdown_offset < 0


class PartitionRegistration(Struct, frozen=True, kw_only=True):
    """A partition's state. Fields: see records.PartitionRecord."""

    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    elr: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()
    leader: int = NO_LEADER
    leader_epoch: int = 0
    partition_epoch: int = 0
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()

    @property
    def preferred_leader(self) -> int:
        """The first replica of the assignment."""
        return self.replicas[0]

    @property
    def reassigning(self) -> bool:
        """Whether replicas are being added or removed."""
        return bool(self.adding or self.removing)

    @property
    def target_replicas(self) -> tuple[int, ...]:
        """The replicas once the reassignment under way, if any, is complete."""
        return tuple(replica for replica in self.replicas if replica not in self.removing)


class TopicImage(Struct, frozen=True):
    """A topic; its partitions are numbered 0 to n-1."""

    name: str
    topic_id: UUID
    partitions: Mapping[int, PartitionRegistration]


class MetadataImage(Struct, frozen=True, kw_only=True):
    """Everything, as of (offset, term) of the metadata log. An empty cluster_id: no controller was ever elected."""

    cluster_id: str = ""
    metadata_level: int = 0
    brokers: Mapping[int, BrokerRegistration] = {}
    topics_by_id: Mapping[UUID, TopicImage] = {}
    topics_by_name: Mapping[str, TopicImage] = {}
    configs: Mapping[ConfigResource, Mapping[str, str]] = {}
    quotas: Mapping[QuotaEntity, Mapping[str, float]] = {}
    last_producer_ids: ProducerIds | None = None
    unclean_elections: int = 0
    offset: int = -1
    term: int = 0

    def broker(self, node_id: int) -> BrokerRegistration | None:
        """The registration of a node id."""
        return self.brokers.get(node_id)

    def topic(self, key: str | UUID) -> TopicImage | None:
        """A topic by its name or by its id."""
        return self.topics_by_name.get(key) if isinstance(key, str) else self.topics_by_id.get(key)

    def partition(self, topic: str | UUID, partition: int) -> PartitionRegistration | None:
        """A partition by its topic's name or id and its number."""
        found = self.topic(topic)
        return None if found is None else found.partitions.get(partition)

    def partitions(self) -> Iterator[tuple[TopicImage, int, PartitionRegistration]]:
        """Every partition of every topic, in the order in which topics were created."""
        for topic in self.topics_by_id.values():
            for number, partition in topic.partitions.items():
                yield topic, number, partition

    def config(self, resource: ConfigResource) -> Mapping[str, str]:
        """What is set on a resource itself, as text; nothing inherited."""
        return self.configs.get(resource, {})

    @property
    def next_producer_id(self) -> int:
        """All producer ids below were handed out."""
        return 0 if self.last_producer_ids is None else self.last_producer_ids.next_id

    @property
    def cluster_config(self) -> Mapping[str, str]:
        """What is set for all brokers."""
        return self.configs.get(CLUSTER, {})


EMPTY_IMAGE = MetadataImage()


def snapshot_records(image: MetadataImage) -> list[Record]:
    """Records that make this image out of the empty one: what a snapshot holds.

    Replaying them and then the log's suffix gives the same image as replaying the whole log. The order is the image's
    own, so that a replica built from the snapshot walks topics in the same order as one that has replayed the log.
    """
    records: list[Record] = []
    if image.metadata_level:
        records.append(FeatureLevel(metadata_level=image.metadata_level))
    if image.cluster_id:
        records.append(ClusterId(cluster_id=image.cluster_id))
    records.extend(_broker_records(image))
    records.extend(_topic_records(image))
    for resource, values in image.configs.items():
        for key, value in values.items():
            records.append(_config_record(resource, key, value))
    for entity, rates in image.quotas.items():
        records.extend(ClientQuota(entity=entity, key=key, rate=rates[key]) for key in rates)
    if image.last_producer_ids is not None:
        records.append(image.last_producer_ids)
    if image.unclean_elections:
        records.append(UncleanElections(count=image.unclean_elections))
    return records


def _broker_records(image: MetadataImage) -> Iterator[Record]:
    for broker in image.brokers.values():
        yield RegisterBroker(
            node_id=broker.node_id,
            broker_epoch=broker.broker_epoch,
            incarnation=broker.incarnation,
            listeners=dict(broker.listeners),
            rack=broker.rack,
            fenced=broker.fenced,
            shutdown_offset=broker.shutdown_offset,
            directory_id=broker.directory_id,
            min_metadata_level=broker.min_metadata_level,
            max_metadata_level=broker.max_metadata_level,
        )


def _topic_records(image: MetadataImage) -> Iterator[Record]:
    for topic in image.topics_by_id.values():
        yield Topic(name=topic.name, topic_id=topic.topic_id)
        for number, partition in topic.partitions.items():
            yield PartitionRecord(
                topic_id=topic.topic_id,
                partition=number,
                replicas=partition.replicas,
                isr=partition.isr,
                elr=partition.elr,
                last_known_elr=partition.last_known_elr,
                leader=partition.leader,
                leader_epoch=partition.leader_epoch,
                partition_epoch=partition.partition_epoch,
                adding=partition.adding,
                removing=partition.removing,
            )


def _config_record(resource: ConfigResource, key: str, value: str) -> Config:
    kind = ResourceType(resource.type)
    return Config(resource_type=kind, name=resource.name, key=key, value=value)

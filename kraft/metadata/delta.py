"""A batch of records on top of an image: what the image becomes, and what changed.

`MetadataDelta` reads as the image that it is about to become, so that a controller's handler may go on from its own
records; `apply` freezes it. A broker asks it for the changed topics, brokers and configs to make its local changes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from kraft.metadata import records as r
from kraft.metadata.image import (
    BrokerRegistration,
    MetadataImage,
    PartitionRegistration,
    TopicImage,
)
from kraft.metadata.records import ConfigResource, QuotaEntity, Record


class TopicDelta:
    """The partitions of one topic that a batch made or changed."""

    __slots__ = ("base", "changed", "name", "topic_id")

    def __init__(self, name: str, topic_id: UUID, base: TopicImage | None) -> None:
        self.name = name
        self.topic_id = topic_id
        self.base = base
        self.changed: dict[int, PartitionRegistration] = {}

    def partition(self, number: int) -> PartitionRegistration | None:
        """A partition as it is after the records so far."""
        found = self.changed.get(number)
        if found is None and self.base is not None:
            return self.base.partitions.get(number)
        return found

    def freeze(self) -> TopicImage:
        """The topic as it is after the records so far."""
        old = {} if self.base is None else self.base.partitions
        return TopicImage(self.name, self.topic_id, {**old, **self.changed})


class MetadataDelta:
    """Records replayed on top of `base`. The changed things are public for reading:

    changed_brokers (None: unregistered), changed_topics by id (created ones included), created_topics (their ids, in
    order), deleted_topics (as they were in `base`; a topic created and deleted in the same batch is not among them),
    changed_configs (resource -> everything now set on it), changed_quotas (entity -> all its rates).
    """

    def __init__(self, base: MetadataImage) -> None:
        self.base = base
        self.cluster_id = base.cluster_id
        self.metadata_level = base.metadata_level
        self.changed_brokers: dict[int, BrokerRegistration | None] = {}
        self.changed_topics: dict[UUID, TopicDelta] = {}
        self.created_topics: dict[UUID, None] = {}
        self.deleted_topics: dict[UUID, TopicImage] = {}
        self.changed_configs: dict[ConfigResource, dict[str, str]] = {}
        self.changed_quotas: dict[QuotaEntity, dict[str, float]] = {}
        self.last_producer_ids = base.last_producer_ids
        self.unclean_elections = base.unclean_elections
        self._names: dict[str, UUID | None] = {}

    def replay_all(self, batch: Iterable[Record]) -> None:
        """Replay records in order."""
        for record in batch:
            self.replay(record)

    def replay(self, record: Record) -> None:
        """Take one record in. A record that does not fit is our own bug: AssertionError."""
        self._REPLAY[type(record)](self, record)

    # What the image is to become

    def broker(self, node_id: int) -> BrokerRegistration | None:
        """The registration of a node id after the records so far."""
        if node_id in self.changed_brokers:
            return self.changed_brokers[node_id]
        return self.base.brokers.get(node_id)

    def brokers(self) -> dict[int, BrokerRegistration]:
        """All registrations after the records so far."""
        merged = {**self.base.brokers, **self.changed_brokers}
        return {node_id: broker for node_id, broker in merged.items() if broker is not None}

    def topic_id(self, name: str) -> UUID | None:
        """The id of the topic of that name."""
        if name in self._names:
            return self._names[name]
        found = self.base.topics_by_name.get(name)
        return None if found is None else found.topic_id

    def topic_name(self, topic_id: UUID) -> str | None:
        """The name of the topic of that id."""
        changed = self.changed_topics.get(topic_id)
        if changed is not None:
            return changed.name
        found = None if topic_id in self.deleted_topics else self.base.topics_by_id.get(topic_id)
        return None if found is None else found.name

    def topic_names(self) -> Iterator[str]:
        """The names of all topics."""
        for name in self.base.topics_by_name:
            if name not in self._names:
                yield name
        for name, topic_id in self._names.items():
            if topic_id is not None:
                yield name

    def partition(self, topic_id: UUID, number: int) -> PartitionRegistration | None:
        """A partition after the records so far."""
        changed = self.changed_topics.get(topic_id)
        if changed is not None:
            return changed.partition(number)
        if topic_id in self.deleted_topics:
            return None
        return self.base.partition(topic_id, number)

    def partitions_of(self, topic_id: UUID) -> Mapping[int, PartitionRegistration]:
        """All partitions of a topic after the records so far."""
        changed = self.changed_topics.get(topic_id)
        if changed is not None:
            return changed.freeze().partitions
        found = None if topic_id in self.deleted_topics else self.base.topics_by_id.get(topic_id)
        return {} if found is None else found.partitions

    def topic_ids(self) -> Iterator[UUID]:
        """The ids of all topics, oldest first."""
        for topic_id in self.base.topics_by_id:
            if topic_id not in self.deleted_topics:
                yield topic_id
        yield from self.created_topics

    def config(self, resource: ConfigResource) -> Mapping[str, str]:
        """What is set on a resource itself."""
        changed = self.changed_configs.get(resource)
        return self.base.config(resource) if changed is None else changed

    def quotas(self, entity: QuotaEntity) -> Mapping[str, float]:
        """The rates of one entity."""
        changed = self.changed_quotas.get(entity)
        return self.base.quotas.get(entity, {}) if changed is None else changed

    def apply(self, offset: int, term: int) -> MetadataImage:
        """The new image, as of the log's (offset, term). The delta must not be used for more records afterwards."""
        by_id, by_name = self._frozen_topics()
        return MetadataImage(
            cluster_id=self.cluster_id,
            metadata_level=self.metadata_level,
            brokers=self.brokers() if self.changed_brokers else self.base.brokers,
            topics_by_id=by_id,
            topics_by_name=by_name,
            configs=self._frozen_configs(),
            quotas=self._frozen_quotas(),
            last_producer_ids=self.last_producer_ids,
            unclean_elections=self.unclean_elections,
            offset=offset,
            term=term,
        )

    def _frozen_topics(self) -> tuple[Mapping[UUID, TopicImage], Mapping[str, TopicImage]]:
        if not self.changed_topics and not self.deleted_topics:
            return self.base.topics_by_id, self.base.topics_by_name
        by_id = dict(self.base.topics_by_id)
        by_name = dict(self.base.topics_by_name)
        for topic_id, gone in self.deleted_topics.items():
            del by_id[topic_id]
            del by_name[gone.name]
        for topic_id, changed in self.changed_topics.items():
            by_id[topic_id] = by_name[changed.name] = changed.freeze()
        return by_id, by_name

    def _frozen_configs(self) -> Mapping[ConfigResource, Mapping[str, str]]:
        if not self.changed_configs:
            return self.base.configs
        merged = {**self.base.configs, **self.changed_configs}
        return {resource: values for resource, values in merged.items() if values}

    def _frozen_quotas(self) -> Mapping[QuotaEntity, Mapping[str, float]]:
        if not self.changed_quotas:
            return self.base.quotas
        merged = {**self.base.quotas, **self.changed_quotas}
        return {entity: rates for entity, rates in merged.items() if rates}

    # One method a record

    def _feature_level(self, record: r.FeatureLevel) -> None:
        assert record.metadata_level > self.metadata_level, record
        self.metadata_level = record.metadata_level

    def _cluster_id(self, record: r.ClusterId) -> None:
        assert not self.cluster_id, (self.cluster_id, record)
        self.cluster_id = record.cluster_id

    def _register_broker(self, record: r.RegisterBroker) -> None:
        old = self.broker(record.node_id)
        assert old is None or old.broker_epoch <= record.broker_epoch, (old, record)
        self.changed_brokers[record.node_id] = BrokerRegistration(
            **{name: getattr(record, name) for name in BrokerRegistration.__struct_fields__}
        )

    def _unregister_broker(self, record: r.UnregisterBroker) -> None:
        self._known_broker(record)
        self.changed_brokers[record.node_id] = None

    def _broker_change(self, record: r.BrokerChange) -> None:
        changes: dict[str, Any] = {}
        if record.fenced is not None:
            changes["fenced"] = record.fenced
        if record.shutdown_offset is not None:
            changes["shutdown_offset"] = record.shutdown_offset
        known = self._known_broker(record)
        self.changed_brokers[record.node_id] = msgspec.structs.replace(known, **changes)

    def _known_broker(self, record: r.BrokerChange | r.UnregisterBroker) -> BrokerRegistration:
        known = self.broker(record.node_id)
        assert known is not None, record
        assert known.broker_epoch == record.broker_epoch, (known, record)
        return known

    def _topic(self, record: r.Topic) -> None:
        assert self.topic_id(record.name) is None, record
        assert self.topic_name(record.topic_id) is None, record
        self.changed_topics[record.topic_id] = TopicDelta(record.name, record.topic_id, None)
        self.created_topics[record.topic_id] = None
        self._names[record.name] = record.topic_id

    def _remove_topic(self, record: r.RemoveTopic) -> None:
        topic_id = record.topic_id
        name = self.topic_name(topic_id)
        assert name is not None, record
        self.changed_topics.pop(topic_id, None)
        self.created_topics.pop(topic_id, None)
        if topic_id in self.base.topics_by_id:
            self.deleted_topics[topic_id] = self.base.topics_by_id[topic_id]
        self._names[name] = None
        resource = ConfigResource(r.ResourceType.TOPIC, name)
        if self.config(resource):
            self.changed_configs[resource] = {}

    def _partition(self, record: r.PartitionRecord) -> None:
        topic = self._topic_delta(record.topic_id)
        assert topic.partition(record.partition) is None, record
        topic.changed[record.partition] = PartitionRegistration(
            replicas=record.replicas,
            isr=record.isr,
            elr=record.elr,
            last_known_elr=record.last_known_elr,
            leader=record.leader,
            leader_epoch=record.leader_epoch,
            partition_epoch=record.partition_epoch,
            adding=record.adding,
            removing=record.removing,
        )

    def _partition_change(self, record: r.PartitionChange) -> None:
        topic = self._topic_delta(record.topic_id)
        old = topic.partition(record.partition)
        assert old is not None, record
        topic.changed[record.partition] = merged(old, record)
        self.unclean_elections += record.unclean

    def _topic_delta(self, topic_id: UUID) -> TopicDelta:
        topic = self.changed_topics.get(topic_id)
        if topic is None:
            assert topic_id not in self.deleted_topics, topic_id
            base = self.base.topics_by_id[topic_id]
            topic = self.changed_topics[topic_id] = TopicDelta(base.name, topic_id, base)
        return topic

    def _config(self, record: r.Config) -> None:
        resource = ConfigResource(record.resource_type, record.name)
        values = self.changed_configs.get(resource)
        if values is None:
            values = self.changed_configs[resource] = dict(self.base.config(resource))
        if record.value is None:
            values.pop(record.key, None)
        else:
            values[record.key] = record.value

    def _client_quota(self, record: r.ClientQuota) -> None:
        rates = self.changed_quotas.get(record.entity)
        if rates is None:
            rates = self.changed_quotas[record.entity] = dict(self.quotas(record.entity))
        if record.rate is None:
            rates.pop(record.key, None)
        else:
            rates[record.key] = record.rate

    def _producer_ids(self, record: r.ProducerIds) -> None:
        last = self.last_producer_ids
        assert last is None or record.next_id >= last.next_id, (last, record)
        self.last_producer_ids = record

    def _unclean_elections(self, record: r.UncleanElections) -> None:
        self.unclean_elections = record.count

    _REPLAY: ClassVar[Mapping[type, Callable[["MetadataDelta", Any], None]]] = {
        r.FeatureLevel: _feature_level,
        r.ClusterId: _cluster_id,
        r.RegisterBroker: _register_broker,
        r.UnregisterBroker: _unregister_broker,
        r.BrokerChange: _broker_change,
        r.Topic: _topic,
        r.RemoveTopic: _remove_topic,
        r.PartitionRecord: _partition,
        r.PartitionChange: _partition_change,
        r.Config: _config,
        r.ProducerIds: _producer_ids,
        r.ClientQuota: _client_quota,
        r.UncleanElections: _unclean_elections,
    }


def merged(old: PartitionRegistration, change: r.PartitionChange) -> PartitionRegistration:
    """A partition after a change. The partition epoch grows by one each time, the leader epoch never shrinks."""
    assert change.partition_epoch == old.partition_epoch + 1, (old, change)
    epoch = old.leader_epoch if change.leader_epoch is None else change.leader_epoch
    assert epoch >= old.leader_epoch, (old, change)
    return PartitionRegistration(
        replicas=old.replicas if change.replicas is None else change.replicas,
        isr=old.isr if change.isr is None else change.isr,
        elr=old.elr if change.elr is None else change.elr,
        last_known_elr=(
            old.last_known_elr if change.last_known_elr is None else change.last_known_elr
        ),
        leader=old.leader if change.leader is None else change.leader,
        leader_epoch=epoch,
        partition_epoch=change.partition_epoch,
        adding=old.adding if change.adding is None else change.adding,
        removing=old.removing if change.removing is None else change.removing,
    )

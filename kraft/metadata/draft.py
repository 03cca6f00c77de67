"""A request being answered: the image, the records made so far, and the facts that hold after them.

Handlers read through the draft and emit records into it, so that the second thing of a bulk request sees the first.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

from msgspec import Struct

from kraft.metadata.delta import MetadataDelta
from kraft.metadata.effective_config import Floors, topic_resource, topic_value
from kraft.metadata.errors import (
    BrokerNotRegisteredError,
    StaleBrokerEpochError,
    UnknownTopicError,
    UnsupportedVersionError,
)
from kraft.metadata.image import BrokerRegistration, MetadataImage, PartitionRegistration
from kraft.metadata.partition_change import NOTHING_WANTED, Facts, Wanted, partition_change
from kraft.metadata.records import (
    CLUSTER,
    BrokerChange,
    Config,
    PartitionChange,
    Record,
    RegisterBroker,
    UnregisterBroker,
)
from kraft.metadata.replies import Reply


class ControllerResult(Struct, frozen=True):
    """What a request comes to. The records are one log entry, all or none; the reply is sent once it is committed."""

    records: list[Record]
    reply: Reply


class Draft:
    """Records in the making on top of `image`. next_offset: where in the log they will stand."""

    def __init__(
        self,
        image: MetadataImage,
        rng: random.Random,
        static: Mapping[str, str],
        next_offset: int,
    ) -> None:
        self.image = image
        self.rng = rng
        self.static = static
        self.next_offset = next_offset
        self.records: list[Record] = []
        self.delta = MetadataDelta(image)
        self._eligible: frozenset[int] | None = None
        self._facts: dict[UUID, Facts] = {}

    def emit(self, record: Record) -> None:
        """Add a record; everything read from now on sees it."""
        self.records.append(record)
        self.delta.replay(record)
        if isinstance(record, RegisterBroker | UnregisterBroker | BrokerChange):
            self._eligible = None
            self._facts.clear()
        elif isinstance(record, Config):
            self._facts.clear()

    def result(self, reply: Reply) -> ControllerResult:
        """The request is answered."""
        return ControllerResult(self.records, reply)

    def new_uuid(self) -> UUID:
        """A random id that no topic has."""
        while True:
            drawn = UUID(int=self.rng.getrandbits(128), version=4)
            if self.delta.topic_name(drawn) is None:
                return drawn

    @property
    def eligible(self) -> frozenset[int]:
        """Brokers that may lead and be in an ISR."""
        if self._eligible is None:
            self._eligible = frozenset(
                node_id for node_id, broker in self.delta.brokers().items() if broker.eligible
            )
        return self._eligible

    def floors(self, topic: str | None = None) -> Floors:
        """Where configuration values are looked up."""
        values = {} if topic is None else self.delta.config(topic_resource(topic))
        return Floors(topic=values, cluster=self.delta.config(CLUSTER), static=self.static)

    def facts(self, topic_id: UUID) -> Facts:
        """What elections in a topic go by."""
        found = self._facts.get(topic_id)
        if found is None:
            floors = self.floors(self.delta.topic_name(topic_id))
            found = self._facts[topic_id] = Facts(
                self.eligible,
                topic_value(floors, "min.insync.replicas"),
                topic_value(floors, "unclean.leader.election.enable"),
            )
        return found

    def change(
        self,
        topic_id: UUID,
        number: int,
        partition: PartitionRegistration,
        wanted: Wanted = NOTHING_WANTED,
    ) -> PartitionChange | None:
        """Bring a partition to what is wanted and allowed now; None: nothing was to be done."""
        record = partition_change(topic_id, number, partition, self.facts(topic_id), wanted)
        if record is not None:
            self.emit(record)
        return record

    def change_all(
        self, affected: Callable[[PartitionRegistration], bool], wanted: Wanted = NOTHING_WANTED
    ) -> None:
        """Bring every affected partition of the cluster to what is wanted and allowed now."""
        for topic_id, number, partition in self.partitions():
            if affected(partition):
                self.change(topic_id, number, partition, wanted)

    def partitions(self) -> Iterator[tuple[UUID, int, PartitionRegistration]]:
        """Every partition; records may be emitted meanwhile, but none that make or remove topics."""
        for topic_id in self.delta.topic_ids():
            for number, partition in self.delta.partitions_of(topic_id).items():
                yield topic_id, number, partition

    def require_level(self, level: int, what: str) -> None:
        """Records of a later level must not get into the log before. Raises UnsupportedVersionError."""
        if self.delta.metadata_level < level:
            raise UnsupportedVersionError(
                f"{what} need the metadata level {level}, the cluster is at {self.delta.metadata_level}: upgrade all "
                f"nodes, then raise the level"
            )

    def known_broker(self, node_id: int) -> BrokerRegistration:
        """The registration of a node id. Raises BrokerNotRegisteredError."""
        broker = self.delta.broker(node_id)
        if broker is None:
            raise BrokerNotRegisteredError(
                f"broker {node_id} is not registered in cluster {self.image.cluster_id}: "
                f"it must register before it asks for anything"
            )
        return broker

    def caller(self, node_id: int, broker_epoch: int) -> BrokerRegistration:
        """The broker that asks. Raises BrokerNotRegisteredError, StaleBrokerEpochError."""
        broker = self.known_broker(node_id)
        if broker.broker_epoch != broker_epoch:
            raise StaleBrokerEpochError(
                f"broker {node_id} asked with broker epoch {broker_epoch}, but its registration has epoch "
                f"{broker.broker_epoch}: a later incarnation has taken its place"
            )
        return broker

    def known_partition(self, topic: str, number: int) -> tuple[UUID, PartitionRegistration]:
        """A partition by its topic's name. Raises UnknownTopicError."""
        topic_id = self.known_topic(topic)
        partition = self.delta.partition(topic_id, number)
        if partition is None:
            count = len(self.delta.partitions_of(topic_id))
            raise UnknownTopicError(
                f"topic {topic!r} has no partition {number}: it has 0 to {count - 1}"
            )
        return topic_id, partition

    def known_topic(self, name: str) -> UUID:
        """The id of a topic. Raises UnknownTopicError."""
        topic_id = self.delta.topic_id(name)
        if topic_id is None:
            raise UnknownTopicError(f"there is no topic {name!r}")
        return topic_id

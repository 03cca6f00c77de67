"""The table: which requests are answered by what. Both the advertised versions and the documentation follow from it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cluster.listeners.kafka.dispatcher import Dispatcher
from cluster.listeners.kafka.fetch import KafkaFetch
from cluster.listeners.kafka.fetch_sessions import FetchSessions
from cluster.listeners.kafka.metadata import KafkaMetadata
from cluster.listeners.kafka.offsets import KafkaOffsets
from cluster.listeners.kafka.produce import KafkaProduce
from cluster.listeners.kafka.producers import KafkaProducers
from cluster.listeners.kafka.request import Api, api
from cluster.listeners.kafka.topics import KafkaTopics
from wire.messages.create_partitions import CreatePartitionsRequest
from wire.messages.create_topics import CreateTopicsRequest
from wire.messages.delete_records import DeleteRecordsRequest
from wire.messages.delete_topics import DeleteTopicsRequest
from wire.messages.init_producer_id import InitProducerIdRequest
from wire.messages.list_offsets import ListOffsetsRequest
from wire.messages.metadata import MetadataRequest
from wire.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest

if TYPE_CHECKING:
    import random

    from cluster.broker import Broker


def dispatcher(broker: "Broker", rng: "random.Random") -> Dispatcher:
    """Everything a broker answers over the Kafka protocol."""
    produce = KafkaProduce(broker.produce, lambda: broker.image)
    fetch = KafkaFetch(broker.fetch, FetchSessions(rng), lambda: broker.image)
    return Dispatcher(produce, fetch, _apis(broker))


def _apis(broker: "Broker") -> Mapping[int, Api]:
    metadata = KafkaMetadata(broker.admin, broker.quorum.leader_id)
    offsets = KafkaOffsets(broker.offsets, broker.delete_records, broker.partition)
    topics = KafkaTopics(broker.admin)
    producers = KafkaProducers(broker.producer_ids)
    return dict(
        (
            api(MetadataRequest, metadata.answer),
            api(ListOffsetsRequest, offsets.list_offsets),
            api(OffsetForLeaderEpochRequest, offsets.for_leader_epoch),
            api(DeleteRecordsRequest, offsets.delete_records),
            api(CreateTopicsRequest, topics.create),
            api(DeleteTopicsRequest, topics.delete),
            api(CreatePartitionsRequest, topics.create_partitions),
            api(InitProducerIdRequest, producers.init),
        )
    )

"""The table: which requests are answered by what. Both the advertised versions and the documentation follow from it."""

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cluster.config import NodeConfig
from cluster.endpoints import Endpoint
from cluster.handlers.admin import AdminHandler, ProducerIds
from cluster.handlers.client_quotas import ClientQuotasHandler
from cluster.handlers.delete_records import DeleteRecordsHandler
from cluster.handlers.fetch import FetchHandler
from cluster.handlers.group_location import GroupLocation, Settled
from cluster.handlers.groups import GroupHandler
from cluster.handlers.offsets import OffsetsHandler
from cluster.handlers.produce import ProduceHandler
from cluster.handlers.quorum import QuorumHandler
from cluster.listeners.kafka.cluster_info import KafkaClusterInfo
from cluster.listeners.kafka.configs import KafkaConfigs
from cluster.listeners.kafka.consumer_group_describe import KafkaConsumerGroupDescribe
from cluster.listeners.kafka.credentials import describe_credentials
from cluster.listeners.kafka.dispatcher import Dispatcher
from cluster.listeners.kafka.features import features
from cluster.listeners.kafka.fetch import KafkaFetch
from cluster.listeners.kafka.fetch_sessions import FetchSessions
from cluster.listeners.kafka.group_admin import KafkaGroupAdmin
from cluster.listeners.kafka.group_offsets import KafkaGroupOffsets
from cluster.listeners.kafka.groups import KafkaGroups
from cluster.listeners.kafka.leadership import KafkaLeadership
from cluster.listeners.kafka.metadata import KafkaMetadata
from cluster.listeners.kafka.offsets import KafkaOffsets
from cluster.listeners.kafka.produce import KafkaProduce
from cluster.listeners.kafka.producers import KafkaProducers
from cluster.listeners.kafka.quota_api import KafkaQuotas
from cluster.listeners.kafka.quotas import ClientQuotas
from cluster.listeners.kafka.racks import Racks
from cluster.listeners.kafka.request import Api, api
from cluster.listeners.kafka.send_budget import SendBudget
from cluster.listeners.kafka.topics import KafkaTopics
from cluster.replication.partition import Partition, TopicIdPartition
from kraft.metadata.image import MetadataImage
from storage.disk import Disk
from wire.messages.alter_client_quotas import AlterClientQuotasRequest
from wire.messages.alter_configs import AlterConfigsRequest
from wire.messages.alter_partition_reassignments import AlterPartitionReassignmentsRequest
from wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from wire.messages.create_partitions import CreatePartitionsRequest
from wire.messages.create_topics import CreateTopicsRequest
from wire.messages.delete_groups import DeleteGroupsRequest
from wire.messages.delete_records import DeleteRecordsRequest
from wire.messages.delete_topics import DeleteTopicsRequest
from wire.messages.describe_client_quotas import DescribeClientQuotasRequest
from wire.messages.describe_cluster import DescribeClusterRequest
from wire.messages.describe_configs import DescribeConfigsRequest
from wire.messages.describe_groups import DescribeGroupsRequest
from wire.messages.describe_log_dirs import DescribeLogDirsRequest
from wire.messages.describe_producers import DescribeProducersRequest
from wire.messages.describe_quorum import DescribeQuorumRequest
from wire.messages.describe_topic_partitions import DescribeTopicPartitionsRequest
from wire.messages.describe_user_scram_credentials import DescribeUserScramCredentialsRequest
from wire.messages.elect_leaders import ElectLeadersRequest
from wire.messages.find_coordinator import FindCoordinatorRequest
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from wire.messages.init_producer_id import InitProducerIdRequest
from wire.messages.join_group import JoinGroupRequest
from wire.messages.leave_group import LeaveGroupRequest
from wire.messages.list_config_resources import ListConfigResourcesRequest
from wire.messages.list_groups import ListGroupsRequest
from wire.messages.list_offsets import ListOffsetsRequest
from wire.messages.list_partition_reassignments import ListPartitionReassignmentsRequest
from wire.messages.metadata import MetadataRequest
from wire.messages.offset_commit import OffsetCommitRequest
from wire.messages.offset_delete import OffsetDeleteRequest
from wire.messages.offset_fetch import OffsetFetchRequest
from wire.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest
from wire.messages.sync_group import SyncGroupRequest


class Services(NamedTuple):
    """What a broker offers to this door. image: its newest metadata; partition: a replica that it may serve;
    now_ms: monotonic.
    """

    produce: ProduceHandler
    fetch: FetchHandler
    offsets: OffsetsHandler
    delete_records: DeleteRecordsHandler
    admin: AdminHandler
    quorum: QuorumHandler
    producer_ids: ProducerIds
    groups: GroupHandler
    group_location: GroupLocation
    image: Callable[[], MetadataImage]
    partition: Callable[[str, int], Partition]
    settled: Settled
    recently_fenced: Callable[[], set[int]]
    now_ms: Callable[[], int]
    rng: random.Random
    replicas: Mapping[TopicIdPartition, Partition]
    config: NodeConfig
    advertised: Mapping[str, Endpoint]
    disk: Disk
    quotas: ClientQuotas


def dispatcher(services: Services, unsent: SendBudget) -> Dispatcher:
    """Everything a broker answers over the Kafka protocol. unsent: of the listener."""
    produce = KafkaProduce(services.produce, services.image, services.quotas)
    racks = Racks(services.config.node_id, services.image, services.config.static)
    fetch = KafkaFetch(
        services.fetch, FetchSessions(services.rng), services.image, racks, services.quotas, unsent
    )
    groups = KafkaGroups(services.groups, services.now_ms)
    return Dispatcher(
        produce,
        fetch,
        _apis(services, groups),
        lambda: features(services.image()),
        groups.broke,
    )


def _apis(services: Services, groups: KafkaGroups) -> Mapping[int, Api]:
    metadata = KafkaMetadata(
        services.admin, services.quorum.leader_id, services.settled, services.recently_fenced
    )
    offsets = KafkaOffsets(services.offsets, services.delete_records, services.partition)
    topics = KafkaTopics(services.admin)
    producers = KafkaProducers(services.producer_ids, services.partition)
    configs = KafkaConfigs(services.admin, services.config.node_id, lambda: _own_config(services))
    leadership = KafkaLeadership(services.admin)
    info = KafkaClusterInfo(
        services.admin,
        services.quorum,
        services.replicas,
        services.disk,
        services.config.log_dir,
    )
    quotas = KafkaQuotas(ClientQuotasHandler(services.admin))
    consumer_describe = KafkaConsumerGroupDescribe(services.groups, services.image)
    group_offsets = KafkaGroupOffsets(services.groups, services.image)
    group_admin = KafkaGroupAdmin(services.groups, services.group_location, services.image)
    return dict(
        (
            api(FindCoordinatorRequest, group_admin.find),
            api(DescribeGroupsRequest, group_admin.describe),
            api(ListGroupsRequest, group_admin.list_all),
            api(DeleteGroupsRequest, group_admin.delete),
            api(JoinGroupRequest, groups.join),
            api(SyncGroupRequest, groups.sync),
            api(HeartbeatRequest, groups.heartbeat),
            api(LeaveGroupRequest, groups.leave),
            api(ConsumerGroupHeartbeatRequest, groups.consumer_heartbeat),
            api(ConsumerGroupDescribeRequest, consumer_describe.answer),
            api(OffsetCommitRequest, group_offsets.commit),
            api(OffsetFetchRequest, group_offsets.fetch),
            api(OffsetDeleteRequest, group_offsets.delete),
            api(MetadataRequest, metadata.answer),
            api(ListOffsetsRequest, offsets.list_offsets),
            api(OffsetForLeaderEpochRequest, offsets.for_leader_epoch),
            api(DeleteRecordsRequest, offsets.delete_records),
            api(CreateTopicsRequest, topics.create),
            api(DeleteTopicsRequest, topics.delete),
            api(CreatePartitionsRequest, topics.create_partitions),
            api(InitProducerIdRequest, producers.init),
            api(DescribeProducersRequest, producers.describe),
            api(DescribeConfigsRequest, configs.describe),
            api(AlterConfigsRequest, configs.alter),
            api(IncrementalAlterConfigsRequest, configs.alter_incrementally),
            api(ListConfigResourcesRequest, configs.list_resources),
            api(DescribeClientQuotasRequest, quotas.describe),
            api(AlterClientQuotasRequest, quotas.alter),
            api(DescribeUserScramCredentialsRequest, describe_credentials),
            api(ElectLeadersRequest, leadership.elect),
            api(AlterPartitionReassignmentsRequest, leadership.reassign),
            api(ListPartitionReassignmentsRequest, leadership.list_reassignments),
            api(DescribeClusterRequest, info.describe_cluster),
            api(DescribeQuorumRequest, info.describe_quorum),
            api(DescribeTopicPartitionsRequest, info.describe_topic_partitions),
            api(DescribeLogDirsRequest, info.describe_log_dirs),
        )
    )


def _own_config(services: Services) -> Mapping[str, str]:
    """What a node was told at its start, as Kafka names it."""
    config = services.config
    told = ",".join(
        f"{each.name}://{each.address}" for each in services.advertised.values() if each.is_kafka
    )
    grpc = ",".join(
        f"{each.name}://{each.address}" for each in services.advertised.values() if each.is_grpc
    )
    return {
        "ottla.grpc.advertised.listeners": grpc,
        "node.id": str(config.node_id),
        "broker.id": str(config.node_id),
        "broker.rack": config.broker_rack,
        "process.roles": config.process_roles,
        "listeners": config.listeners,
        "advertised.listeners": told,
        "log.dirs": config.log_dir,
    }

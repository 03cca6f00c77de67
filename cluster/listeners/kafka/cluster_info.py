"""What the cluster is made of: brokers, quorum, partitions, folders."""

from collections.abc import Mapping

from cluster.handlers.admin import AdminHandler
from cluster.handlers.quorum import QuorumHandler
from cluster.listeners.kafka.addresses import node_endpoints
from cluster.listeners.kafka.metadata import CLUSTER_OPERATIONS
from cluster.listeners.kafka.request import Client
from cluster.listeners.kafka.told_topics import offline
from cluster.replication.partition import Partition, TopicIdPartition
from kraft.metadata.image import MetadataImage, TopicImage
from storage.disk import Disk
from storage.errors import ErrorCode, OttlaError
from wire.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)
from wire.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)
from wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    ReplicaState,
    ResponsePartitionData,
    ResponseTopicData,
)
from wire.messages.describe_topic_partitions import (
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
    ResponseCursor,
)

METADATA_TOPIC = "__cluster_metadata"
BROKERS = 1
PARTITIONS_MAX = 2000


class KafkaClusterInfo:
    """`replicas`: this broker's; log_dir: the name of its data folder."""

    def __init__(
        self,
        admin: AdminHandler,
        quorum: QuorumHandler,
        replicas: Mapping[TopicIdPartition, Partition],
        disk: Disk,
        log_dir: str,
    ) -> None:
        self._admin = admin
        self._quorum = quorum
        self._replicas = replicas
        self._disk = disk
        self._log_dir = log_dir

    async def describe_cluster(
        self, client: Client, request: DescribeClusterRequest
    ) -> DescribeClusterResponse:
        """DescribeCluster (KIP-700)."""
        if request.endpoint_type != BROKERS:
            return DescribeClusterResponse(
                error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE,
                error_message="this is a broker's listener; it describes brokers",
            )
        image = self._admin.image()
        wanted = {
            each.node_id
            for each in image.brokers.values()
            if request.include_fenced_brokers or not each.fenced
        }
        controller = self._quorum.leader_id()
        alive = {each.node_id for each in image.brokers.values() if not each.fenced}
        return DescribeClusterResponse(
            cluster_id=image.cluster_id,
            controller_id=controller if controller in alive else min(alive, default=-1),
            brokers=tuple(
                DescribeClusterBroker(
                    broker_id=each.node_id,
                    host=each.host,
                    port=each.port,
                    rack=each.rack,
                    is_fenced=image.brokers[each.node_id].fenced,
                )
                for each in node_endpoints(image, wanted, client.listener)
            ),
            cluster_authorized_operations=CLUSTER_OPERATIONS
            if request.include_cluster_authorized_operations
            else -(2**31),
        )

    async def describe_quorum(
        self, _client: Client, _request: DescribeQuorumRequest
    ) -> DescribeQuorumResponse:
        """DescribeQuorum (KIP-595), as the quorum's leader sees it."""
        try:
            found = await self._quorum.describe()
        except OttlaError as error:
            return DescribeQuorumResponse(error_code=error.code, error_message=str(error))
        states = [
            (
                each.voter,
                ReplicaState(replica_id=each.node_id, log_end_offset=each.match_index),
            )
            for each in found.replicas
        ]
        partition = ResponsePartitionData(
            leader_id=found.leader_id,
            leader_epoch=found.term,
            high_watermark=found.commit_index,
            current_voters=tuple(state for voter, state in states if voter),
            observers=tuple(state for voter, state in states if not voter),
        )
        return DescribeQuorumResponse(
            topics=(ResponseTopicData(topic_name=METADATA_TOPIC, partitions=(partition,)),)
        )

    async def describe_topic_partitions(
        self, _client: Client, request: DescribeTopicPartitionsRequest
    ) -> DescribeTopicPartitionsResponse:
        """DescribeTopicPartitions (KIP-966): in portions, in the order of names."""
        image = self._admin.image()
        names = sorted({each.name for each in request.topics} or set(image.topics_by_name))
        cursor = request.cursor
        if cursor is not None:
            names = [name for name in names if name >= cursor.topic_name]
        room = min(max(request.response_partition_limit, 1), PARTITIONS_MAX)
        topics = []
        for name in names:
            first = 0
            if cursor is not None and name == cursor.topic_name:
                first = max(cursor.partition_index, 0)
            found = image.topics_by_name.get(name)
            if found is None:
                topics.append(
                    DescribeTopicPartitionsResponseTopic(
                        name=name, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                    )
                )
                continue
            if room <= 0:
                return DescribeTopicPartitionsResponse(
                    topics=tuple(topics),
                    next_cursor=ResponseCursor(topic_name=name, partition_index=first),
                )
            numbers = [each for each in sorted(found.partitions) if each >= first]
            topics.append(_topic(image, found, numbers[:room]))
            if len(numbers) > room:
                return DescribeTopicPartitionsResponse(
                    topics=tuple(topics),
                    next_cursor=ResponseCursor(topic_name=name, partition_index=numbers[room]),
                )
            room -= len(numbers)
        return DescribeTopicPartitionsResponse(topics=tuple(topics))

    async def describe_log_dirs(
        self, _client: Client, request: DescribeLogDirsRequest
    ) -> DescribeLogDirsResponse:
        """DescribeLogDirs (KIP-113): the one folder of this broker."""
        named = None
        if request.topics is not None:
            named = {each.topic: each.partitions for each in request.topics}
        topics: dict[str, list[DescribeLogDirsPartition]] = {}
        for identity, partition in self._replicas.items():
            if named is not None and identity.partition not in named.get(partition.topic, ()):
                continue
            topics.setdefault(partition.topic, []).append(
                DescribeLogDirsPartition(
                    partition_index=identity.partition,
                    partition_size=partition.log.size_bytes,
                    offset_lag=max(partition.high_watermark - partition.log.log_end_offset, 0),
                )
            )
        result = DescribeLogDirsResult(
            log_dir=self._log_dir,
            topics=tuple(
                DescribeLogDirsTopic(name=name, partitions=tuple(found))
                for name, found in topics.items()
            ),
            total_bytes=self._disk.total_bytes(),
            usable_bytes=self._disk.free_bytes(),
        )
        return DescribeLogDirsResponse(results=(result,))


def _topic(
    image: MetadataImage, topic: TopicImage, numbers: list[int]
) -> DescribeTopicPartitionsResponseTopic:
    partitions = []
    for number in numbers:
        found = topic.partitions[number]
        partitions.append(
            DescribeTopicPartitionsResponsePartition(
                error_code=ErrorCode.NONE if found.leader >= 0 else ErrorCode.LEADER_NOT_AVAILABLE,
                partition_index=number,
                leader_id=found.leader,
                leader_epoch=found.leader_epoch,
                replica_nodes=found.replicas,
                isr_nodes=found.isr,
                # Never null: Java's client would stumble over it.
                eligible_leader_replicas=found.elr,
                last_known_elr=found.last_known_elr,
                offline_replicas=offline(image, found),
            )
        )
    return DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.name.startswith("__"),
        partitions=tuple(partitions),
    )

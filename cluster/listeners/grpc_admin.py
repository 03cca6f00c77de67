"""AdminService: protobuf to requests, replies to protobuf. What it means is decided in the handlers."""

from cluster.handlers.admin import AdminHandler
from cluster.handlers.client_quotas import ClientQuotasHandler
from cluster.handlers.delete_records import DeleteRecordsHandler
from cluster.handlers.quorum import QuorumHandler
from cluster.listeners import grpc_metadata
from cluster.listeners.grpc_configs import Context, GrpcConfigs
from cluster.listeners.grpc_errors import abort, of_refusal, or_abort, to_proto
from kraft.metadata import replies, requests
from ottla.v1 import admin_pb2 as pb
from storage.errors import OttlaError


class GrpcAdmin(GrpcConfigs):
    """One listener's admin service."""

    def __init__(
        self,
        listener: str,
        node_id: int,
        admin: AdminHandler,
        quorum: QuorumHandler,
        delete_records: DeleteRecordsHandler,
        quotas: ClientQuotasHandler,
    ) -> None:
        super().__init__(admin, quotas)
        self._listener = listener
        self._node_id = node_id
        self._quorum = quorum
        self._delete_records = delete_records

    async def DescribeCluster(
        self, _request: pb.DescribeClusterRequest, _context: Context
    ) -> pb.DescribeClusterResponse:
        """The cluster as this node sees it."""
        image = self._admin.image()
        return pb.DescribeClusterResponse(
            cluster_id=image.cluster_id,
            controller_id=self._quorum.leader_id(),
            brokers=grpc_metadata.brokers(image, self._listener),
            metadata_level=image.metadata_level,
            unclean_leader_elections=image.unclean_elections,
            node_id=self._node_id,
        )

    async def GetMetadata(
        self, request: pb.GetMetadataRequest, context: Context
    ) -> pb.GetMetadataResponse:
        """Brokers and topics as this node sees them."""
        try:
            image = self._admin.current_image()
        except OttlaError as error:
            await abort(context, error)
        names = request.topics or sorted(image.topics_by_name)
        return pb.GetMetadataResponse(
            cluster_id=image.cluster_id,
            controller_id=self._quorum.leader_id(),
            brokers=grpc_metadata.brokers(image, self._listener),
            topics=grpc_metadata.topics(image, [name for name in names if name]),
            metadata_offset=image.offset,
        )

    async def CreateTopics(
        self, request: pb.CreateTopicsRequest, context: Context
    ) -> pb.CreateTopicsResponse:
        """See the proto."""
        wanted = requests.CreateTopics(
            topics=tuple(_new_topic(each) for each in request.topics),
            validate_only=request.validate_only,
        )
        reply = await self._change(wanted, replies.TopicsCreated, context)
        return pb.CreateTopicsResponse(
            topics=[
                pb.CreatedTopic(
                    name=each.name,
                    topic_id="" if each.refusal is not None else str(each.topic_id),
                    error=of_refusal(each.refusal),
                    partitions=each.partitions,
                    replication_factor=each.replication_factor,
                )
                for each in reply.topics
            ]
        )

    async def DeleteTopics(
        self, request: pb.DeleteTopicsRequest, context: Context
    ) -> pb.DeleteTopicsResponse:
        """See the proto."""
        wanted = requests.DeleteTopics(names=tuple(request.names))
        reply = await self._change(wanted, replies.TopicsDeleted, context)
        return pb.DeleteTopicsResponse(
            topics=[
                pb.DeletedTopic(name=each.name, error=of_refusal(each.refusal))
                for each in reply.topics
            ]
        )

    async def CreatePartitions(
        self, request: pb.CreatePartitionsRequest, context: Context
    ) -> pb.CreatePartitionsResponse:
        """See the proto."""
        wanted = requests.CreatePartitions(
            topic=request.topic,
            total_count=request.total_count,
            assignments=tuple(tuple(each.broker_ids) for each in request.assignments),
            validate_only=request.validate_only,
        )
        await self._change(wanted, replies.Done, context)
        return pb.CreatePartitionsResponse()

    async def DeleteRecords(
        self, request: pb.DeleteRecordsRequest, _context: Context
    ) -> pb.DeleteRecordsResponse:
        """For partitions led by this node."""
        response = pb.DeleteRecordsResponse()
        for each in request.partitions:
            outcome = await self._delete_records.delete(
                each.topic, each.partition, each.before_offset
            )
            response.partitions.add(
                topic=each.topic,
                partition=each.partition,
                error=None if outcome.error is None else to_proto(outcome.error),
                log_start_offset=outcome.log_start_offset,
            )
        return response

    async def ElectLeaders(
        self, request: pb.ElectLeadersRequest, context: Context
    ) -> pb.ElectLeadersResponse:
        """See the proto."""
        wanted = requests.ElectLeaders(
            unclean=request.type == pb.ELECTION_TYPE_UNCLEAN,
            partitions=tuple((each.topic, each.partition) for each in request.partitions),
        )
        reply = await self._change(wanted, replies.LeadersElected, context)
        return pb.ElectLeadersResponse(
            partitions=[
                pb.ElectedLeader(
                    topic=each.topic,
                    partition=each.partition,
                    error=of_refusal(each.refusal),
                    leader_id=each.leader,
                )
                for each in reply.partitions
            ]
        )

    async def AlterPartitionReassignments(
        self, request: pb.AlterPartitionReassignmentsRequest, context: Context
    ) -> pb.AlterPartitionReassignmentsResponse:
        """See the proto."""
        wanted = requests.AlterPartitionReassignments(
            reassignments=tuple(
                requests.Reassignment(
                    topic=each.topic, partition=each.partition, replicas=tuple(each.replicas)
                )
                for each in request.reassignments
            )
        )
        reply = await self._change(wanted, replies.ReassignmentsAltered, context)
        return pb.AlterPartitionReassignmentsResponse(
            partitions=[
                pb.AlteredReassignment(
                    topic=each.topic, partition=each.partition, error=of_refusal(each.refusal)
                )
                for each in reply.partitions
            ]
        )

    async def ListPartitionReassignments(
        self, _request: pb.ListPartitionReassignmentsRequest, _context: Context
    ) -> pb.ListPartitionReassignmentsResponse:
        """See the proto."""
        response = pb.ListPartitionReassignmentsResponse()
        for topic, number, found in self._admin.image().partitions():
            if found.reassigning:
                response.reassignments.add(
                    topic=topic.name,
                    partition=number,
                    replicas=found.replicas,
                    adding_replicas=found.adding,
                    removing_replicas=found.removing,
                )
        return response

    async def DescribeQuorum(
        self, _request: pb.DescribeQuorumRequest, context: Context
    ) -> pb.DescribeQuorumResponse:
        """The quorum as its leader sees it, or as this node does when there is none."""
        found = await or_abort(self._quorum.describe(), context)
        return pb.DescribeQuorumResponse(
            leader_id=found.leader_id,
            term=found.term,
            commit_index=found.commit_index,
            applied_index=found.applied_index,
            log_start_index=found.log_start_index,
            log_end_index=found.log_end_index,
            snapshot_index=found.snapshot_index,
            node_id=found.node_id,
            replicas=[
                pb.QuorumReplica(
                    node_id=each.node_id,
                    match_index=each.match_index,
                    lag=each.lag,
                    last_contact_ms=each.last_contact_ms,
                    voter=each.voter,
                    host=each.address.rpartition(":")[0],
                    port=int(each.address.rpartition(":")[2]),
                )
                for each in found.replicas
            ],
        )

    async def AddVoter(self, request: pb.AddVoterRequest, context: Context) -> pb.AddVoterResponse:
        """See the proto."""
        await or_abort(self._quorum.add(request.node_id), context)
        return pb.AddVoterResponse()

    async def RemoveVoter(
        self, request: pb.RemoveVoterRequest, context: Context
    ) -> pb.RemoveVoterResponse:
        """See the proto."""
        await or_abort(self._quorum.remove(request.node_id), context)
        return pb.RemoveVoterResponse()

    async def TransferLeadership(
        self, request: pb.TransferLeadershipRequest, context: Context
    ) -> pb.TransferLeadershipResponse:
        """See the proto."""
        leader = await or_abort(self._quorum.transfer(request.node_id), context)
        return pb.TransferLeadershipResponse(leader_id=leader)

    async def UpdateMetadataLevel(
        self, request: pb.UpdateMetadataLevelRequest, context: Context
    ) -> pb.UpdateMetadataLevelResponse:
        """See the proto."""
        wanted = requests.UpdateMetadataLevel(level=request.level)
        reply = await self._change(wanted, replies.MetadataLevelUpdated, context)
        return pb.UpdateMetadataLevelResponse(level=reply.level)


def _new_topic(wanted: pb.NewTopic) -> requests.NewTopic:
    ordered = sorted(wanted.assignments, key=lambda each: each.partition)
    return requests.NewTopic(
        name=wanted.name,
        partitions=wanted.partitions,
        replication_factor=wanted.replication_factor,
        assignments=tuple(tuple(each.broker_ids) for each in ordered),
        configs=dict(wanted.configs),
    )

"""The administrator's client: topics, configs, offsets, groups, the cluster and its quorum."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc.aio

from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError, NoBrokerError
from ottla.client.group_admin import GroupAdmin
from ottla.client.offsets import OffsetAndTime, OffsetSpec, find_offsets
from ottla.v1 import admin_pb2 as pb
from ottla.v1 import admin_pb2_grpc, common_pb2

TIMEOUT_S = 15.0
QUORUM_TIMEOUT_S = 40.0

Reply = TypeVar("Reply")


class Admin(GroupAdmin):
    """Use it as `async with Admin("host:port") as admin`. Answers are ottla.v1 messages.

    Every call raises BrokerError when it is refused, NoBrokerError when nobody answers.
    """

    def __init__(self, bootstrap: str | Sequence[str]) -> None:
        self._view = ClusterView(bootstrap)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._view.close()

    async def create_topic(
        self,
        name: str,
        *,
        partitions: int = -1,
        replication_factor: int = -1,
        configs: Mapping[str, str] | None = None,
        assignments: Sequence[Sequence[int]] = (),
        validate_only: bool = False,
    ) -> pb.CreatedTopic:
        """Make a topic; -1 leaves a number to the cluster's default. assignments: replicas of partition 0, 1, ..."""
        topic = pb.NewTopic(
            name=name,
            partitions=partitions,
            replication_factor=replication_factor,
            configs=configs or {},
            assignments=[
                pb.ReplicaAssignment(partition=number, broker_ids=replicas)
                for number, replicas in enumerate(assignments)
            ],
        )
        request = pb.CreateTopicsRequest(topics=[topic], validate_only=validate_only)
        reply = await self._ask(lambda stub, timeout: stub.CreateTopics(request, timeout=timeout))
        _raise(reply.topics[0])
        return reply.topics[0]

    async def delete_topic(self, name: str) -> None:
        """A topic and its records go away, for ever."""
        request = pb.DeleteTopicsRequest(names=[name])
        reply = await self._ask(lambda stub, timeout: stub.DeleteTopics(request, timeout=timeout))
        _raise(reply.topics[0])

    async def create_partitions(self, topic: str, total_count: int) -> None:
        """Give a topic more partitions; it then has `total_count`."""
        request = pb.CreatePartitionsRequest(topic=topic, total_count=total_count)
        await self._ask(lambda stub, timeout: stub.CreatePartitions(request, timeout=timeout))

    async def topics(self, names: Sequence[str] = ()) -> list[pb.Topic]:
        """The named topics, or all. Raises BrokerError for one that is not there."""
        request = pb.GetMetadataRequest(topics=names)
        reply = await self._ask(lambda stub, timeout: stub.GetMetadata(request, timeout=timeout))
        for topic in reply.topics:
            _raise(topic)
        return list(reply.topics)

    async def describe_cluster(self) -> pb.DescribeClusterResponse:
        """Brokers, controller, metadata level."""
        request = pb.DescribeClusterRequest()
        return await self._ask(lambda stub, timeout: stub.DescribeCluster(request, timeout=timeout))

    async def topic_configs(self, topic: str) -> list[pb.ConfigEntry]:
        """Every setting of a topic with its value and where that comes from."""
        return await self.configs(pb.ConfigResource(type=pb.RESOURCE_TYPE_TOPIC, name=topic))

    async def configs(self, resource: pb.ConfigResource) -> list[pb.ConfigEntry]:
        """Every setting of a topic, broker, group or subscription to client metrics, and where its value comes from.

        A broker is asked itself, because only it knows what its file and environment say.
        """
        node_id = None
        if resource.type == pb.RESOURCE_TYPE_BROKER and resource.name.isdigit():
            await self._view.refresh([])
            node_id = int(resource.name) if int(resource.name) in self._view.addresses else None
        request = pb.DescribeConfigsRequest(resources=[resource])
        reply = await self._ask(
            lambda stub, timeout: stub.DescribeConfigs(request, timeout=timeout), node_id=node_id
        )
        _raise(reply.resources[0])
        return list(reply.resources[0].entries)

    async def alter_configs(
        self,
        resource: pb.ConfigResource,
        *,
        set_: Mapping[str, str] | None = None,
        unset: Sequence[str] = (),
    ) -> None:
        """Set and unset settings of a topic, broker, group or subscription to client metrics, all or nothing."""
        change = pb.ConfigChange(resource=resource, set=set_ or {}, unset=unset)
        request = pb.AlterConfigsRequest(changes=[change])
        reply = await self._ask(lambda stub, timeout: stub.AlterConfigs(request, timeout=timeout))
        _raise(reply.resources[0])

    async def alter_topic_configs(
        self, topic: str, *, set_: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> None:
        """Set and unset settings of a topic, all or nothing."""
        resource = pb.ConfigResource(type=pb.RESOURCE_TYPE_TOPIC, name=topic)
        await self.alter_configs(resource, set_=set_, unset=unset)

    async def config_resources(self, kind: pb.ResourceType.ValueType) -> list[str]:
        """Names of what can be configured: all topics, all brokers; groups and subscriptions that have settings."""
        request = pb.ListConfigResourcesRequest(types=[kind])
        reply = await self._ask(
            lambda stub, timeout: stub.ListConfigResources(request, timeout=timeout)
        )
        return [each.name for each in reply.resources]

    async def client_quotas(
        self,
        names: Mapping[str, str | None] | None = None,
        *,
        any_of: Sequence[str] = (),
        strict: bool = False,
    ) -> list[pb.ClientQuota]:
        """What clients may use over Kafka listeners, of the entities that fit; without arguments: of all.

        names: `{"user": "ann"}` or `{"client-id": None}`, None for the quota of all that have none of their own.
        any_of: kinds of which any name fits. strict: only entities that have no part of another kind.
        """
        components = [
            pb.ClientQuotaComponent(
                kind=kind,
                match=pb.QUOTA_MATCH_DEFAULT if name is None else pb.QUOTA_MATCH_EXACT,
                name=name,
            )
            for kind, name in (names or {}).items()
        ]
        components += [
            pb.ClientQuotaComponent(kind=kind, match=pb.QUOTA_MATCH_ANY) for kind in any_of
        ]
        request = pb.DescribeClientQuotasRequest(components=components, strict=strict)
        reply = await self._ask(
            lambda stub, timeout: stub.DescribeClientQuotas(request, timeout=timeout)
        )
        return list(reply.quotas)

    async def alter_client_quotas(
        self,
        entity: Mapping[str, str | None],
        *,
        set_: Mapping[str, float] | None = None,
        unset: Sequence[str] = (),
    ) -> None:
        """Set and unset quotas of `{"client-id": "loader"}`, `{"user": "ann", "client-id": None}`, all or nothing.

        None stands for all that have no quota of their own. Keys: producer_byte_rate, consumer_byte_rate, in bytes a
        second on each node.
        """
        change = pb.ClientQuotaChange(
            entity=[pb.ClientQuotaPart(kind=kind, name=name) for kind, name in entity.items()],
            set=set_ or {},
            unset=unset,
        )
        request = pb.AlterClientQuotasRequest(changes=[change])
        reply = await self._ask(
            lambda stub, timeout: stub.AlterClientQuotas(request, timeout=timeout)
        )
        _raise(reply.quotas[0])

    async def delete_records(self, topic: str, partition: int, before_offset: int = -1) -> int:
        """Records below an offset (-1: all committed ones) go away. Returns the new log start offset."""
        await self._view.refresh([topic])
        leader = self._view.leader(topic, partition)
        if leader.node_id < 0:
            raise NoBrokerError(f"{topic}-{partition} is not known or has no leader at the moment")
        request = pb.DeleteRecordsRequest(
            partitions=[
                pb.RecordsToDelete(topic=topic, partition=partition, before_offset=before_offset)
            ]
        )
        reply = await self._view.ask(
            lambda stub, timeout: stub.DeleteRecords(request, timeout=timeout),
            timeout_s=TIMEOUT_S,
            node_id=leader.node_id,
        )
        _raise(reply.partitions[0])
        return reply.partitions[0].log_start_offset

    async def elect_leaders(
        self, partitions: Sequence[tuple[str, int]] = (), *, unclean: bool = False
    ) -> list[pb.ElectedLeader]:
        """Preferred leaders, or with `unclean` any live replica where nothing better is left: that loses records."""
        request = pb.ElectLeadersRequest(
            type=pb.ELECTION_TYPE_UNCLEAN if unclean else pb.ELECTION_TYPE_UNSPECIFIED,
            partitions=[
                common_pb2.TopicPartition(topic=topic, partition=partition)
                for topic, partition in partitions
            ],
        )
        reply = await self._ask(lambda stub, timeout: stub.ElectLeaders(request, timeout=timeout))
        return list(reply.partitions)

    async def reassign(self, topic: str, partition: int, replicas: Sequence[int]) -> None:
        """Move a partition to other brokers; none cancels a move under way."""
        _raise((await self.reassign_many({(topic, partition): replicas}))[0])

    async def reassign_many(
        self, moves: Mapping[tuple[str, int], Sequence[int]]
    ) -> list[pb.AlteredReassignment]:
        """Move partitions to other brokers, each taken or refused by itself; no replicas cancel a move under way."""
        request = pb.AlterPartitionReassignmentsRequest(
            reassignments=[
                pb.Reassignment(topic=topic, partition=partition, replicas=replicas)
                for (topic, partition), replicas in moves.items()
            ]
        )
        reply = await self._ask(
            lambda stub, timeout: stub.AlterPartitionReassignments(request, timeout=timeout)
        )
        return list(reply.partitions)

    async def reassignments(self) -> list[pb.OngoingReassignment]:
        """Moves under way."""
        request = pb.ListPartitionReassignmentsRequest()
        reply = await self._ask(
            lambda stub, timeout: stub.ListPartitionReassignments(request, timeout=timeout)
        )
        return list(reply.reassignments)

    async def offsets(
        self, queries: Mapping[tuple[str, int], OffsetSpec | int]
    ) -> dict[tuple[str, int], OffsetAndTime]:
        """Offsets by name, or by a timestamp in milliseconds."""
        await self._view.refresh(sorted({topic for topic, _ in queries}))
        return await find_offsets(self._view, queries)

    async def describe_quorum(self) -> pb.DescribeQuorumResponse:
        """The metadata quorum, as its leader sees it."""
        request = pb.DescribeQuorumRequest()
        return await self._ask(lambda stub, timeout: stub.DescribeQuorum(request, timeout=timeout))

    async def add_voter(self, node_id: int) -> None:
        """Give a node that follows the metadata log a vote; waits until it has caught up."""
        request = pb.AddVoterRequest(node_id=node_id)
        await self._ask(
            lambda stub, timeout: stub.AddVoter(request, timeout=timeout), QUORUM_TIMEOUT_S
        )

    async def remove_voter(self, node_id: int) -> None:
        """Take a node out of the quorum."""
        request = pb.RemoveVoterRequest(node_id=node_id)
        await self._ask(
            lambda stub, timeout: stub.RemoveVoter(request, timeout=timeout), QUORUM_TIMEOUT_S
        )

    async def transfer_quorum_leadership(self, node_id: int = -1) -> int:
        """Move the quorum's leadership to a voter (-1: the one furthest ahead); returns the new leader."""
        request = pb.TransferLeadershipRequest(node_id=node_id)
        reply = await self._ask(
            lambda stub, timeout: stub.TransferLeadership(request, timeout=timeout),
            QUORUM_TIMEOUT_S,
        )
        return reply.leader_id

    async def update_metadata_level(self, level: int) -> int:
        """Let the cluster write what newer releases know into its metadata log, for good. Returns the level."""
        request = pb.UpdateMetadataLevelRequest(level=level)
        reply = await self._ask(
            lambda stub, timeout: stub.UpdateMetadataLevel(request, timeout=timeout)
        )
        return reply.level

    async def _ask(
        self,
        attempt: Callable[["admin_pb2_grpc.AdminServiceAsyncStub", float], Awaitable[Reply]],
        timeout_s: float = TIMEOUT_S,
        node_id: int | None = None,
    ) -> Reply:
        try:
            return await self._view.ask(attempt, timeout_s=timeout_s, node_id=node_id)
        except grpc.aio.AioRpcError as error:
            raise BrokerError.of_call(error) from error


class _HasError(Protocol):
    @property
    def error(self) -> common_pb2.Error: ...


def _raise(answer: _HasError) -> None:
    if answer.error.code or answer.error.message:
        raise BrokerError(answer.error)

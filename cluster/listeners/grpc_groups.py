"""GroupService: consumer groups over gRPC. The coordinator is the one that the Kafka door asks, too."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import unquote

import grpc.aio

from cluster.groups.attendance import Absence
from cluster.groups.offsets import Position, TopicPartition
from cluster.groups.settings import Caller
from cluster.groups.views import CLASSIC, ConsumerGroupView, GroupView
from cluster.handlers.group_location import GroupLocation
from cluster.handlers.groups import GroupHandler
from cluster.listeners.grpc_consumer_groups import described_consumer
from cluster.listeners.grpc_errors import of_code, to_proto
from cluster.listeners.grpc_metadata import broker_address
from kraft.metadata.image import MetadataImage
from ottla.v1 import common_pb2, groups_pb2_grpc
from ottla.v1 import groups_pb2 as pb
from storage.errors import OttlaError
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

Context = grpc.aio.ServicerContext[Any, Any]
CONSUMER = "consumer"
DEFAULT_CLIENT_ID = "ottla"


class _Static(Protocol):
    @property
    def group_instance_id(self) -> str: ...
    def HasField(self, field_name: Any, /) -> bool: ...


class GrpcGroups(groups_pb2_grpc.GroupServiceServicer):
    """One listener's group service. `image`: this node's newest metadata, for addresses."""

    def __init__(
        self,
        listener: str,
        groups: GroupHandler,
        location: GroupLocation,
        image: Callable[[], MetadataImage],
    ) -> None:
        self._listener = listener
        self._groups = groups
        self._location = location
        self._image = image

    async def FindCoordinator(
        self, request: pb.FindCoordinatorRequest, _context: Context
    ) -> pb.FindCoordinatorResponse:
        """See the proto."""
        response = pb.FindCoordinatorResponse()
        for group_id in request.group_ids:
            try:
                node_id = await self._location.coordinator(group_id)
            except OttlaError as error:
                response.coordinators.add(group_id=group_id, node_id=-1, error=to_proto(error))
                continue
            host, port = broker_address(self._image(), node_id, self._listener)
            response.coordinators.add(group_id=group_id, node_id=node_id, host=host, port=port)
        return response

    async def JoinGroup(
        self, request: pb.JoinGroupRequest, context: Context
    ) -> pb.JoinGroupResponse:
        """See the proto."""
        wanted = JoinGroupRequest(
            group_id=request.group_id,
            session_timeout_ms=request.session_timeout_ms,
            rebalance_timeout_ms=request.rebalance_timeout_ms or -1,
            member_id=request.member_id,
            group_instance_id=_instance(request),
            protocol_type=request.protocol_type or CONSUMER,
            protocols=tuple(
                JoinGroupRequestProtocol(name=each.name, metadata=each.metadata)
                for each in request.protocols
            ),
        )
        caller = Caller(request.client_id or DEFAULT_CLIENT_ID, _host(context.peer()))
        try:
            with self._attended(request.group_id, request.member_id):
                joined = await self._groups.join(wanted, caller)
        except OttlaError as error:
            return pb.JoinGroupResponse(error=to_proto(error), member_id=request.member_id)
        return pb.JoinGroupResponse(
            error=of_code(joined.error_code, f"group {request.group_id}"),
            generation_id=joined.generation_id,
            protocol_type=joined.protocol_type or "",
            protocol_name=joined.protocol_name or "",
            leader_id=joined.leader,
            member_id=joined.member_id,
            members=[
                pb.GroupMember(
                    member_id=each.member_id,
                    group_instance_id=each.group_instance_id,
                    metadata=each.metadata,
                )
                for each in joined.members
            ],
            skip_assignment=joined.skip_assignment,
        )

    async def SyncGroup(
        self, request: pb.SyncGroupRequest, _context: Context
    ) -> pb.SyncGroupResponse:
        """See the proto."""
        wanted = SyncGroupRequest(
            group_id=request.group_id,
            generation_id=request.generation_id,
            member_id=request.member_id,
            group_instance_id=_instance(request),
            protocol_type=request.protocol_type if request.HasField("protocol_type") else None,
            protocol_name=request.protocol_name if request.HasField("protocol_name") else None,
            assignments=tuple(
                SyncGroupRequestAssignment(member_id=each.member_id, assignment=each.assignment)
                for each in request.assignments
            ),
        )
        try:
            with self._attended(request.group_id, request.member_id):
                synced = await self._groups.sync(wanted)
        except OttlaError as error:
            return pb.SyncGroupResponse(error=to_proto(error))
        return pb.SyncGroupResponse(
            error=of_code(synced.error_code, f"group {request.group_id}"),
            assignment=synced.assignment,
        )

    async def Heartbeat(
        self, request: pb.HeartbeatRequest, _context: Context
    ) -> pb.HeartbeatResponse:
        """See the proto."""
        wanted = HeartbeatRequest(
            group_id=request.group_id,
            generation_id=request.generation_id,
            member_id=request.member_id,
            group_instance_id=_instance(request),
        )
        try:
            answer = await self._groups.heartbeat(wanted)
        except OttlaError as error:
            return pb.HeartbeatResponse(error=to_proto(error))
        return pb.HeartbeatResponse(error=of_code(answer.error_code, f"group {request.group_id}"))

    async def Attend(self, request: pb.AttendRequest, _context: Context) -> pb.AttendResponse:
        """See the proto."""
        interval_ms = request.heartbeat_interval_ms or None
        try:
            with self._attended(request.group_id, request.member_id, interval_ms):
                await self._groups.while_coordinator(request.group_id)
        except OttlaError as error:
            return pb.AttendResponse(error=to_proto(error))
        raise AssertionError("a coordinator ends with an error")

    @contextmanager
    def _attended(
        self, group_id: str, member_id: str, interval_ms: int | None = None
    ) -> Iterator[None]:
        """A call that is cancelled has lost its member."""
        try:
            yield
        except asyncio.CancelledError:
            self._groups.absent(Absence(group_id, member_id, interval_ms))
            raise

    async def LeaveGroup(
        self, request: pb.LeaveGroupRequest, _context: Context
    ) -> pb.LeaveGroupResponse:
        """See the proto."""
        if not request.members:
            return pb.LeaveGroupResponse()
        wanted = LeaveGroupRequest(
            group_id=request.group_id,
            members=tuple(
                MemberIdentity(member_id=each.member_id, group_instance_id=_instance(each))
                for each in request.members
            ),
        )
        try:
            left = await self._groups.leave(wanted)
        except OttlaError as error:
            return pb.LeaveGroupResponse(error=to_proto(error))
        return pb.LeaveGroupResponse(
            error=of_code(left.error_code, f"group {request.group_id}"),
            members=[
                pb.LeftMember(
                    member_id=each.member_id,
                    group_instance_id=each.group_instance_id,
                    error=of_code(
                        each.error_code, f"member {each.member_id or each.group_instance_id!r}"
                    ),
                )
                for each in left.members
            ],
        )

    async def CommitOffsets(
        self, request: pb.CommitOffsetsRequest, _context: Context
    ) -> pb.CommitOffsetsResponse:
        """See the proto."""
        answer = await self._groups.commit(
            OffsetCommitRequest(
                group_id=request.group_id,
                generation_id_or_member_epoch=request.generation_id
                if request.HasField("generation_id")
                else -1,
                member_id=request.member_id,
                group_instance_id=_instance(request),
                topics=_to_commit(request.offsets),
            )
        )
        response = pb.CommitOffsetsResponse()
        for topic in answer.topics:
            for each in topic.partitions:
                response.offsets.add(
                    topic=topic.name,
                    partition=each.partition_index,
                    error=of_code(
                        each.error_code,
                        f"{topic.name}-{each.partition_index} in group {request.group_id}",
                    ),
                )
        return response

    async def FetchOffsets(
        self, request: pb.FetchOffsetsRequest, _context: Context
    ) -> pb.FetchOffsetsResponse:
        """See the proto."""
        wanted = None if request.all else _partitions(request.partitions)
        try:
            found = self._groups.positions(request.group_id, wanted)
        except OttlaError as error:
            return pb.FetchOffsetsResponse(error=to_proto(error))
        return pb.FetchOffsetsResponse(
            offsets=[_committed(where, position) for where, position in found.items()]
        )

    async def DeleteOffsets(
        self, request: pb.DeleteOffsetsRequest, _context: Context
    ) -> pb.DeleteOffsetsResponse:
        """See the proto."""
        try:
            outcome = await self._groups.delete_offsets(
                request.group_id, _partitions(request.partitions)
            )
        except OttlaError as error:
            return pb.DeleteOffsetsResponse(error=to_proto(error))
        return pb.DeleteOffsetsResponse(
            offsets=[
                pb.OffsetDeleted(
                    topic=where.topic,
                    partition=where.partition,
                    error=None if refusal is None else to_proto(refusal),
                )
                for where, refusal in outcome.items()
            ]
        )

    async def ListGroups(
        self, request: pb.ListGroupsRequest, _context: Context
    ) -> pb.ListGroupsResponse:
        """See the proto."""
        try:
            found = self._groups.list_all()
        except OttlaError as error:
            return pb.ListGroupsResponse(error=to_proto(error))
        states = {each.lower() for each in request.states}
        types = {each.lower() for each in request.types}
        return pb.ListGroupsResponse(
            groups=[
                pb.ListedGroup(
                    group_id=each.group_id,
                    protocol_type=each.protocol_type,
                    state=each.state,
                    type=each.group_type,
                )
                for each in found
                if (not states or each.state.lower() in states)
                and (not types or each.group_type.lower() in types)
            ]
        )

    async def DescribeGroups(
        self, request: pb.DescribeGroupsRequest, _context: Context
    ) -> pb.DescribeGroupsResponse:
        """See the proto."""
        response = pb.DescribeGroupsResponse()
        for group_id in request.group_ids:
            try:
                found = self._groups.describe_any(group_id)
                if isinstance(found, ConsumerGroupView):
                    response.groups.append(described_consumer(found, self._image()))
                else:
                    response.groups.append(_described(found))
            except OttlaError as error:
                response.groups.add(group_id=group_id, error=to_proto(error))
        return response

    async def DeleteGroups(
        self, request: pb.DeleteGroupsRequest, _context: Context
    ) -> pb.DeleteGroupsResponse:
        """See the proto."""
        response = pb.DeleteGroupsResponse()
        for group_id in dict.fromkeys(request.group_ids):
            error = None
            try:
                await self._groups.delete(group_id)
            except OttlaError as refusal:
                error = to_proto(refusal)
            response.groups.add(group_id=group_id, error=error)
        return response


def _instance(message: _Static) -> str | None:
    return message.group_instance_id if message.HasField("group_instance_id") else None


def _host(peer: str) -> str:
    """As Kafka shows it: "/127.0.0.1" of gRPC's "ipv4:127.0.0.1:50000"."""
    address = unquote(peer).partition(":")[2]
    return f"/{address.rpartition(':')[0].strip('[]')}"


def _to_commit(offsets: Iterable[pb.OffsetToCommit]) -> tuple[OffsetCommitRequestTopic, ...]:
    topics: dict[str, list[OffsetCommitRequestPartition]] = {}
    for each in offsets:
        topics.setdefault(each.topic, []).append(
            OffsetCommitRequestPartition(
                partition_index=each.partition,
                committed_offset=each.offset,
                committed_leader_epoch=each.leader_epoch if each.HasField("leader_epoch") else -1,
                committed_metadata=each.metadata,
            )
        )
    return tuple(
        OffsetCommitRequestTopic(name=name, partitions=tuple(partitions))
        for name, partitions in topics.items()
    )


def _partitions(messages: Iterable[common_pb2.TopicPartition]) -> list[TopicPartition]:
    return [TopicPartition(each.topic, each.partition) for each in messages]


def _committed(where: TopicPartition, position: Position) -> pb.CommittedOffset:
    return pb.CommittedOffset(
        topic=where.topic,
        partition=where.partition,
        offset=position.offset,
        leader_epoch=position.leader_epoch,
        metadata=position.metadata,
        commit_timestamp_ms=position.committed_wall_ms,
    )


def _described(found: GroupView) -> pb.DescribedGroup:
    return pb.DescribedGroup(
        group_id=found.group_id,
        state=found.state,
        type=found.group_type,
        protocol_type=found.protocol_type,
        protocol_name=found.protocol,
        state_since_ms=found.since_wall_ms,
        members=[
            pb.DescribedMember(
                member_id=each.member_id,
                group_instance_id=each.instance_id,
                client_id=each.client_id,
                host=each.host,
                metadata=each.metadata,
                assignment=each.assignment,
                type=CLASSIC,
            )
            for each in found.members
        ],
    )

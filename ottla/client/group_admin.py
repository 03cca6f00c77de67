"""The administrator's view of consumer groups."""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence

import grpc.aio

from ottla.client.cluster_view import ClusterView
from ottla.client.coordinator_link import CoordinatorLink, refused
from ottla.client.errors import BrokerError, ClientError, NoBrokerError
from ottla.client.group_offsets import CommitAs, GroupOffsets
from ottla.client.records import OffsetAndMetadata, TopicPartition
from ottla.v1 import admin_pb2, common_pb2
from ottla.v1 import groups_pb2 as pb

PATIENCE_S = 15.0
PAUSE_S = 0.05
ABSENT_S = 3.0
"""A broker that is gone is fenced well within it."""


class GroupAdmin:
    """Methods of `Admin`. Each raises BrokerError when it is refused, NoBrokerError when nobody answers."""

    _view: ClusterView

    async def coordinator(self, group_id: str) -> int:
        """The node that coordinates a group."""
        request = pb.FindCoordinatorRequest(group_ids=[group_id])
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + PATIENCE_S
        while True:
            try:
                reply = await self._view.ask_groups(
                    lambda stub, timeout: stub.FindCoordinator(request, timeout=timeout)
                )
                found = reply.coordinators[0]
                if not found.HasField("error"):
                    return found.node_id
                raise BrokerError(found.error)
            except ClientError as error:
                if not error.retriable or loop.time() > deadline_s:
                    raise
            except grpc.aio.AioRpcError as error:
                raise BrokerError.of_call(error) from error
            await asyncio.sleep(PAUSE_S)

    async def groups(
        self, states: Sequence[str] = (), types: Sequence[str] = ()
    ) -> list[pb.ListedGroup]:
        """All groups, by name. What a fenced broker coordinated others do by then; raises NoBrokerError while one that
        is not fenced does not answer: nobody else knows its groups.
        """
        request = pb.ListGroupsRequest(states=states, types=types)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + ABSENT_S
        while True:
            await self._view.refresh([])
            cluster = await self._view.ask(
                lambda stub, timeout: stub.DescribeCluster(
                    admin_pb2.DescribeClusterRequest(), timeout=timeout
                )
            )
            found: dict[str, pb.ListedGroup] = {}
            absent: list[str] = []
            for node_id in sorted(each.node_id for each in cluster.brokers if not each.fenced):
                try:
                    reply = await self._groups_of(node_id, request)
                except NoBrokerError as error:
                    absent.append(f"node {node_id} ({error})")
                    continue
                found |= {each.group_id: each for each in reply.groups}
            if not absent:
                return [found[group_id] for group_id in sorted(found)]
            if loop.time() > deadline_s:
                raise NoBrokerError(
                    f"the groups of {', '.join(absent)} are not known: it does not answer, and no controller has given "
                    "them to others; `ottla quorum describe` tells who is missing"
                )
            await asyncio.sleep(PAUSE_S)

    async def _groups_of(
        self, node_id: int, request: pb.ListGroupsRequest
    ) -> pb.ListGroupsResponse:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + PATIENCE_S
        while True:
            try:
                reply = await self._view.ask_groups(
                    lambda stub, timeout: stub.ListGroups(request, timeout=timeout),
                    node_id=node_id,
                )
            except grpc.aio.AioRpcError as error:
                raise BrokerError.of_call(error) from error
            refusal = refused(reply)
            if refusal is None:
                return reply
            if not refusal.retriable or loop.time() > deadline_s:
                raise refusal
            await asyncio.sleep(PAUSE_S)

    async def describe_group(self, group_id: str) -> pb.DescribedGroup:
        """State, assignor, members. Raises BrokerError GROUP_ID_NOT_FOUND."""
        request = pb.DescribeGroupsRequest(group_ids=[group_id])
        reply = await self._link(group_id).ask(
            lambda stub, timeout: stub.DescribeGroups(request, timeout=timeout),
            lambda answer: refused(answer.groups[0]),
            patience_s=PATIENCE_S,
        )
        return reply.groups[0]

    async def delete_group(self, group_id: str) -> None:
        """A group without members, and its positions."""
        request = pb.DeleteGroupsRequest(group_ids=[group_id])
        await self._link(group_id).ask(
            lambda stub, timeout: stub.DeleteGroups(request, timeout=timeout),
            lambda answer: refused(answer.groups[0]),
            patience_s=PATIENCE_S,
        )

    async def group_offsets(
        self, group_id: str, partitions: Collection[TopicPartition] | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """What a group has committed: all, or of the given partitions."""
        offsets = GroupOffsets(self._link(group_id), group_id)
        return await offsets.committed(partitions, PATIENCE_S)

    async def alter_group_offsets(
        self, group_id: str, offsets: Mapping[tuple[str, int], int | OffsetAndMetadata]
    ) -> None:
        """Commit for a group that has no members. Raises BrokerError UNKNOWN_MEMBER_ID for one that has."""
        wanted = {
            TopicPartition(*where): each
            if isinstance(each, OffsetAndMetadata)
            else OffsetAndMetadata(each)
            for where, each in offsets.items()
        }
        await GroupOffsets(self._link(group_id), group_id).commit(wanted, CommitAs(), PATIENCE_S)

    async def delete_group_offsets(
        self, group_id: str, partitions: Sequence[tuple[str, int]]
    ) -> dict[TopicPartition, BrokerError | None]:
        """Forget positions, each taken or refused by itself: GROUP_SUBSCRIBED_TO_TOPIC while a member reads it."""
        request = pb.DeleteOffsetsRequest(
            group_id=group_id,
            partitions=[
                common_pb2.TopicPartition(topic=topic, partition=partition)
                for topic, partition in partitions
            ],
        )
        reply = await self._link(group_id).ask(
            lambda stub, timeout: stub.DeleteOffsets(request, timeout=timeout),
            refused,
            patience_s=PATIENCE_S,
        )
        return {TopicPartition(each.topic, each.partition): refused(each) for each in reply.offsets}

    async def remove_members(self, group_id: str, members: Sequence[pb.LeavingMember]) -> None:
        """Make members leave, static ones by their instance id. Raises BrokerError with the first refusal."""
        request = pb.LeaveGroupRequest(group_id=group_id, members=members)
        reply = await self._link(group_id).ask(
            lambda stub, timeout: stub.LeaveGroup(request, timeout=timeout),
            refused,
            patience_s=PATIENCE_S,
        )
        for each in reply.members:
            refusal = refused(each)
            if refusal is not None:
                raise refusal

    def _link(self, group_id: str) -> CoordinatorLink:
        return CoordinatorLink(self._view, group_id, random.Random())

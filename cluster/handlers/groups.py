"""Consumer groups: finds the coordinator, checks what a coordinator cannot, asks it. Both doors call it.

Requests and responses are the Kafka protocol's, because their fields are what a group is made of.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NoReturn

from cluster.errors import UnknownTopicOrPartitionError
from cluster.groups.attendance import Absence
from cluster.groups.coordinators import Coordinators
from cluster.groups.errors import (
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    GroupSubscribedToTopicError,
    InvalidGroupIdError,
    NotCoordinatorError,
    OffsetMetadataTooLargeError,
)
from cluster.groups.offsets import Position, TopicPartition
from cluster.groups.settings import Caller, GroupSettings
from cluster.groups.shard import Shard
from cluster.groups.step import Step
from cluster.groups.views import (
    CONSUMER,
    ConsumerGroupView,
    GroupView,
    consumer_described,
    described,
    listed,
)
from kraft.metadata.image import MetadataImage
from storage.errors import ErrorCode, OttlaError
from wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

COMMIT_TIMEOUT_S = 5.0
"""Kafka's offsets.commit.timeout.ms."""
NO_OFFSET = Position(-1, -1, "", -1)


class GroupHandler:
    """`image`: this node's newest metadata. Methods raise GroupError where the response has no place for it."""

    def __init__(
        self,
        coordinators: Coordinators,
        image: Callable[[], MetadataImage],
        settings: Callable[[], GroupSettings],
        now_wall_ms: Callable[[], int],
    ) -> None:
        self._coordinators = coordinators
        self._image = image
        self._settings = settings
        self._now_wall_ms = now_wall_ms

    async def join(self, request: JoinGroupRequest, caller: Caller) -> JoinGroupResponse:
        """Waits until the group has its next generation."""
        shard = self._shard(request.group_id)
        response = await shard.ask(
            request.group_id,
            lambda ticket, clock: shard.coordinator.join(request, caller, ticket, clock),
        )
        assert isinstance(response, JoinGroupResponse)
        return response

    async def sync(self, request: SyncGroupRequest) -> SyncGroupResponse:
        """Waits until the leader has assigned."""
        shard = self._shard(request.group_id)
        response = await shard.ask(
            request.group_id,
            lambda ticket, clock: shard.coordinator.sync(request, ticket, clock),
        )
        assert isinstance(response, SyncGroupResponse)
        return response

    async def heartbeat(self, request: HeartbeatRequest) -> HeartbeatResponse:
        """At once."""
        shard = self._shard(request.group_id)
        response = await shard.ask(
            request.group_id,
            lambda ticket, clock: shard.coordinator.heartbeat(request, ticket, clock),
        )
        assert isinstance(response, HeartbeatResponse)
        return response

    async def leave(self, request: LeaveGroupRequest) -> LeaveGroupResponse:
        """At once."""
        shard = self._shard(request.group_id)
        response = await shard.ask(
            request.group_id,
            lambda ticket, clock: shard.coordinator.leave(request, ticket, clock),
        )
        assert isinstance(response, LeaveGroupResponse)
        return response

    async def consumer_heartbeat(
        self, request: ConsumerGroupHeartbeatRequest, caller: Caller
    ) -> ConsumerGroupHeartbeatResponse:
        """Answered when what it changed is committed."""
        shard = self._coordinators.shard(request.group_id)
        response = await shard.ask(
            request.group_id,
            lambda ticket, clock: shard.coordinator.consumer_heartbeat(
                request, caller, ticket, clock
            ),
        )
        assert isinstance(response, ConsumerGroupHeartbeatResponse)
        return response

    def absent(self, who: Absence) -> None:
        """A member's connection broke. That is for its coordinator to know, if this node is it."""
        with suppress(NotCoordinatorError):
            self._coordinators.shard(who.group_id).absent(who)

    async def while_coordinator(self, group_id: str) -> NoReturn:
        """Ends when this node does not coordinate a group any more. Raises InvalidGroupIdError, NotCoordinatorError."""
        shard = self._shard(group_id)
        await shard.closed.wait()
        raise NotCoordinatorError(f"this node does not coordinate group {group_id} any more")

    def _shard(self, group_id: str) -> Shard:
        """Where members are asked for. Raises InvalidGroupIdError, NotCoordinatorError."""
        if not group_id:
            raise InvalidGroupIdError("a group needs a name")
        return self._coordinators.shard(group_id)

    async def commit(self, request: OffsetCommitRequest) -> OffsetCommitResponse:
        """Answered when the positions are committed; partitions that are not there are refused one by one."""
        wanted: dict[TopicPartition, Position] = {}
        codes: dict[TopicPartition, ErrorCode] = {}
        for topic in request.topics:
            for each in topic.partitions:
                where = TopicPartition(topic.name, each.partition_index)
                try:
                    wanted[where] = self._position(where, each, request.retention_time_ms)
                except OttlaError as error:
                    codes[where] = error.code
        try:
            await self._keep(request, wanted)
        except OttlaError as error:
            codes = dict.fromkeys([*wanted, *codes], error.code) | codes
        return OffsetCommitResponse(
            topics=tuple(
                OffsetCommitResponseTopic(
                    name=topic.name,
                    topic_id=topic.topic_id,
                    partitions=tuple(
                        OffsetCommitResponsePartition(
                            partition_index=each.partition_index,
                            error_code=codes.get(
                                TopicPartition(topic.name, each.partition_index), ErrorCode.NONE
                            ),
                        )
                        for each in topic.partitions
                    ),
                )
                for topic in request.topics
            )
        )

    def _position(
        self, where: TopicPartition, wanted: OffsetCommitRequestPartition, retention_ms: int
    ) -> Position:
        found = self._image().topics_by_name.get(where.topic)
        if found is None or where.partition not in found.partitions:
            raise _unknown(where)
        metadata = wanted.committed_metadata or ""
        limit = self._settings().offset_metadata_max_bytes
        if len(metadata.encode()) > limit:
            raise OffsetMetadataTooLargeError(
                f"a note of {len(metadata)} characters; offset.metadata.max.bytes={limit}"
            )
        now = self._now_wall_ms()
        expires = now + retention_ms if retention_ms >= 0 else -1
        return Position(
            wanted.committed_offset, wanted.committed_leader_epoch, metadata, now, expires
        )

    async def _keep(
        self, request: OffsetCommitRequest, wanted: dict[TopicPartition, Position]
    ) -> None:
        shard = self._coordinators.shard(request.group_id)
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await shard.ask(
                    request.group_id,
                    lambda ticket, clock: shard.coordinator.commit(
                        request.group_id, wanted, request, clock
                    ).answer(ticket, None),
                )
        except TimeoutError:
            raise CoordinatorNotAvailableError(
                f"the offsets of {request.group_id} were not committed within {COMMIT_TIMEOUT_S:g} s; they may still be"
            ) from None

    def positions(
        self,
        group_id: str,
        partitions: Iterable[TopicPartition] | None,
        *,
        member_id: str | None = None,
        member_epoch: int = -1,
    ) -> dict[TopicPartition, Position]:
        """What a group has committed; of `partitions`, NO_OFFSET where it has not. None: all that it has.

        member_id, member_epoch: who asks, when that is told. Raises UnknownMemberIdError, StaleMemberEpochError.
        """
        coordinator = self._coordinators.shard(group_id).require_loaded()
        coordinator.check_fetch(group_id, member_id, member_epoch)
        known = coordinator.offsets.of(group_id)
        if partitions is None:
            return dict(known)
        return {each: known.get(each, NO_OFFSET) for each in partitions}

    def describe(self, group_id: str) -> GroupView:
        """A group as it is. Raises GroupIdNotFoundError."""
        coordinator = self._coordinators.shard(group_id).require_loaded()
        if not coordinator.exists(group_id):
            raise GroupIdNotFoundError(f"there is no group {group_id}")
        found = described(coordinator, group_id)
        if found.group_type == CONSUMER:
            raise GroupIdNotFoundError(f"Group {group_id} is not a classic group.")
        return found

    def describe_any(self, group_id: str) -> GroupView | ConsumerGroupView:
        """A group of either kind. Raises GroupIdNotFoundError."""
        coordinator = self._coordinators.shard(group_id).require_loaded()
        default = self._settings().consumer_assignors[0]
        return consumer_described(coordinator, group_id, default) or self.describe(group_id)

    def describe_consumer(self, group_id: str) -> ConsumerGroupView:
        """A KIP-848 group as it is. Raises GroupIdNotFoundError."""
        coordinator = self._coordinators.shard(group_id).require_loaded()
        default = self._settings().consumer_assignors[0]
        found = consumer_described(coordinator, group_id, default)
        if found is None:
            raise GroupIdNotFoundError(f"Group {group_id} is not a consumer group.")
        return found

    def list_all(self) -> list[GroupView]:
        """Every group that this broker coordinates. Raises CoordinatorLoadInProgressError."""
        found: list[GroupView] = []
        for shard in self._coordinators.shards():
            # Those of a shard that has just ended are another broker's to list.
            with suppress(NotCoordinatorError):
                found += listed(shard.require_loaded())
        return found

    async def delete(self, group_id: str) -> None:
        """Its positions with it. Raises NonEmptyGroupError, GroupIdNotFoundError."""
        shard = self._coordinators.shard(group_id)
        await shard.ask(
            group_id,
            lambda ticket, _: shard.coordinator.delete_group(group_id).answer(ticket, None),
        )

    async def delete_offsets(
        self, group_id: str, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, OttlaError | None]:
        """Positions of partitions that the group does not read. Raises GroupIdNotFoundError, NonEmptyGroupError."""
        shard = self._coordinators.shard(group_id)
        coordinator = shard.require_loaded()
        coordinator.check_delete_offsets(group_id)
        outcome: dict[TopicPartition, OttlaError | None] = {}
        for each in partitions:
            outcome[each] = None
            topic = self._image().topics_by_name.get(each.topic)
            if topic is None or each.partition not in topic.partitions:
                outcome[each] = _unknown(each)
            elif coordinator.reads(group_id, each.topic):
                outcome[each] = GroupSubscribedToTopicError(
                    f"group {group_id} reads {each.topic}: stop its members first"
                )
        wanted = [each for each, error in outcome.items() if error is None]

        def decide(ticket: int, _clock: object) -> Step:
            return coordinator.offsets.delete(group_id, wanted).answer(ticket, None)

        await shard.ask(group_id, decide)
        return outcome


def _unknown(where: TopicPartition) -> OttlaError:
    return UnknownTopicOrPartitionError(f"there is no partition {where.topic}-{where.partition}")

"""Consumer groups over the Kafka protocol: members."""

from cluster.groups.settings import Caller
from cluster.handlers.groups import GroupHandler
from cluster.listeners.kafka.request import Client
from storage.errors import OttlaError
from wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)
from wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

MEMBER_ID_REQUIRED_FROM = 4
PROTOCOL_MAY_BE_NULL_FROM = 7
MEMBER_MAKES_ID_FROM = 1


class KafkaGroups:
    """What members ask; refusals become the codes of their answers."""

    def __init__(self, groups: GroupHandler) -> None:
        self._groups = groups

    async def join(self, client: Client, request: JoinGroupRequest) -> JoinGroupResponse:
        """JoinGroup."""
        caller = Caller(
            client.client_id,
            f"/{client.host}",
            knows_member_id_required=client.api_version >= MEMBER_ID_REQUIRED_FROM,
        )
        try:
            response = await self._groups.join(request, caller)
        except OttlaError as error:
            response = JoinGroupResponse(
                error_code=error.code, member_id=request.member_id, protocol_name=None
            )
        if response.protocol_name is None and client.api_version < PROTOCOL_MAY_BE_NULL_FROM:
            response.protocol_name = ""
        return response

    async def sync(self, _client: Client, request: SyncGroupRequest) -> SyncGroupResponse:
        """SyncGroup."""
        try:
            return await self._groups.sync(request)
        except OttlaError as error:
            return SyncGroupResponse(error_code=error.code)

    async def heartbeat(self, _client: Client, request: HeartbeatRequest) -> HeartbeatResponse:
        """Heartbeat."""
        try:
            return await self._groups.heartbeat(request)
        except OttlaError as error:
            return HeartbeatResponse(error_code=error.code)

    async def leave(self, _client: Client, request: LeaveGroupRequest) -> LeaveGroupResponse:
        """LeaveGroup."""
        try:
            return await self._groups.leave(request)
        except OttlaError as error:
            return LeaveGroupResponse(error_code=error.code)

    async def consumer_heartbeat(
        self, client: Client, request: ConsumerGroupHeartbeatRequest
    ) -> ConsumerGroupHeartbeatResponse:
        """ConsumerGroupHeartbeat."""
        caller = Caller(
            client.client_id,
            f"/{client.host}",
            makes_member_id=client.api_version >= MEMBER_MAKES_ID_FROM,
        )
        try:
            return await self._groups.consumer_heartbeat(request, caller)
        except OttlaError as error:
            return ConsumerGroupHeartbeatResponse(error_code=error.code, error_message=str(error))

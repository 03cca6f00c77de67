"""Consumer groups over the Kafka protocol: members."""

from collections.abc import Callable

from cluster.groups.attendance import Attendance
from cluster.groups.settings import Caller
from cluster.handlers.groups import GroupHandler
from cluster.listeners.kafka.request import Client, Connection
from storage.errors import ErrorCode, OttlaError
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
    """What members ask; refusals become the codes of their answers. `now_ms` is monotonic."""

    def __init__(self, groups: GroupHandler, now_ms: Callable[[], int]) -> None:
        self._groups = groups
        self._now_ms = now_ms
        self._attendance = Attendance()

    def broke(self, connection: Connection) -> None:
        """A connection is gone."""
        for who in self._attendance.broke(connection):
            self._groups.absent(who)

    def _heard(
        self, client: Client, group_id: str, member_id: str, beat_ms: int | None = None
    ) -> None:
        if client.connection is not None:
            self._attendance.heard(client.connection, group_id, member_id, beat_ms)
            if client.connection.gone:
                # It broke while this was worked on.
                self.broke(client.connection)

    async def join(self, client: Client, request: JoinGroupRequest) -> JoinGroupResponse:
        """JoinGroup."""
        caller = Caller(
            client.client_id,
            f"/{client.host}",
            knows_member_id_required=client.api_version >= MEMBER_ID_REQUIRED_FROM,
        )
        # While it waits it is known by its id only if it has one already.
        self._heard(client, request.group_id, request.member_id)
        try:
            response = await self._groups.join(request, caller)
        except OttlaError as error:
            response = JoinGroupResponse(
                error_code=error.code, member_id=request.member_id, protocol_name=None
            )
        if response.protocol_name is None and client.api_version < PROTOCOL_MAY_BE_NULL_FROM:
            response.protocol_name = ""
        if response.error_code in (ErrorCode.NONE, ErrorCode.MEMBER_ID_REQUIRED):
            self._heard(client, request.group_id, response.member_id)
        return response

    async def sync(self, client: Client, request: SyncGroupRequest) -> SyncGroupResponse:
        """SyncGroup."""
        self._heard(client, request.group_id, request.member_id)
        try:
            return await self._groups.sync(request)
        except OttlaError as error:
            return SyncGroupResponse(error_code=error.code)

    async def heartbeat(self, client: Client, request: HeartbeatRequest) -> HeartbeatResponse:
        """Heartbeat."""
        self._heard(client, request.group_id, request.member_id, self._now_ms())
        try:
            return await self._groups.heartbeat(request)
        except OttlaError as error:
            return HeartbeatResponse(error_code=error.code)

    async def leave(self, _client: Client, request: LeaveGroupRequest) -> LeaveGroupResponse:
        """LeaveGroup."""
        for member_id in (request.member_id, *(each.member_id for each in request.members)):
            self._attendance.left(request.group_id, member_id)
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
            response = await self._groups.consumer_heartbeat(request, caller)
        except OttlaError as error:
            return ConsumerGroupHeartbeatResponse(error_code=error.code, error_message=str(error))
        member_id = response.member_id or request.member_id
        if request.member_epoch < 0:
            self._attendance.left(request.group_id, member_id)
        else:
            self._heard(client, request.group_id, member_id)
        return response

"""Consumer groups over the Kafka protocol: where they are, what they are, and their end."""

from collections.abc import Callable

from cluster.groups.errors import GroupIdNotFoundError
from cluster.groups.views import GroupView
from cluster.handlers.group_location import GroupLocation
from cluster.handlers.groups import GroupHandler
from cluster.listeners.kafka.addresses import kafka_endpoint
from cluster.listeners.kafka.request import Client
from kraft.metadata.image import MetadataImage
from storage.errors import ErrorCode, OttlaError
from wire.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)
from wire.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from wire.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from wire.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse

GROUP_KEY = 0
MANY_KEYS = 4
NOT_FOUND_IS_AN_ERROR = 6
# Bit n is Kafka's AclOperation n: READ, DELETE, DESCRIBE.
GROUP_OPERATIONS = sum(1 << bit for bit in (3, 6, 8))
NOT_ASKED = -(2**31)
DEAD = "Dead"


class KafkaGroupAdmin:
    """`image`: this node's newest metadata, for addresses."""

    def __init__(
        self, groups: GroupHandler, location: GroupLocation, image: Callable[[], MetadataImage]
    ) -> None:
        self._groups = groups
        self._location = location
        self._image = image

    async def find(
        self, client: Client, request: FindCoordinatorRequest
    ) -> FindCoordinatorResponse:
        """FindCoordinator: of many groups since version 4."""
        if client.api_version >= MANY_KEYS:
            return FindCoordinatorResponse(
                coordinators=tuple(
                    [await self._find(client, each, request) for each in request.coordinator_keys]
                )
            )
        found = await self._find(client, request.key, request)
        return FindCoordinatorResponse(
            error_code=found.error_code,
            error_message=found.error_message,
            node_id=found.node_id,
            host=found.host,
            port=found.port,
        )

    async def _find(self, client: Client, key: str, request: FindCoordinatorRequest) -> Coordinator:
        nowhere = Coordinator(key=key, node_id=-1, port=-1)
        if request.key_type != GROUP_KEY:
            nowhere.error_code = (
                ErrorCode.COORDINATOR_NOT_AVAILABLE
                if request.key_type == 1
                else ErrorCode.INVALID_REQUEST
            )
            return nowhere
        try:
            node_id = await self._location.coordinator(key)
        except OttlaError as error:
            nowhere.error_code, nowhere.error_message = error.code, str(error)
            return nowhere
        endpoint = kafka_endpoint(self._image(), node_id, client.listener)
        if endpoint is None:
            nowhere.error_code = ErrorCode.COORDINATOR_NOT_AVAILABLE
            nowhere.error_message = f"node {node_id} has no Kafka listener"
            return nowhere
        return Coordinator(key=key, node_id=node_id, host=endpoint.host, port=endpoint.port)

    async def describe(
        self, client: Client, request: DescribeGroupsRequest
    ) -> DescribeGroupsResponse:
        """DescribeGroups. Before version 6 a group that is not there is a dead one."""
        groups = []
        for group_id in request.groups:
            try:
                found = _described(self._groups.describe(group_id))
            except GroupIdNotFoundError as error:
                found = DescribedGroup(group_id=group_id, group_state=DEAD)
                if client.api_version >= NOT_FOUND_IS_AN_ERROR:
                    found.error_code, found.error_message = error.code, str(error)
            except OttlaError as error:
                found = DescribedGroup(group_id=group_id, error_code=error.code)
                found.error_message = str(error)
            if request.include_authorized_operations and not found.error_code:
                found.authorized_operations = GROUP_OPERATIONS
            groups.append(found)
        return DescribeGroupsResponse(groups=tuple(groups))

    async def list_all(self, _client: Client, request: ListGroupsRequest) -> ListGroupsResponse:
        """ListGroups: of this broker."""
        try:
            found = self._groups.list_all()
        except OttlaError as error:
            return ListGroupsResponse(error_code=error.code)
        states = {each.lower() for each in request.states_filter}
        types = {each.lower() for each in request.types_filter}
        return ListGroupsResponse(
            groups=tuple(
                ListedGroup(
                    group_id=each.group_id,
                    protocol_type=each.protocol_type,
                    group_state=each.state,
                    group_type=each.group_type,
                )
                for each in found
                if (not states or each.state.lower() in states)
                and (not types or each.group_type.lower() in types)
            )
        )

    async def delete(self, _client: Client, request: DeleteGroupsRequest) -> DeleteGroupsResponse:
        """DeleteGroups."""
        results = []
        for group_id in dict.fromkeys(request.groups_names):
            code = ErrorCode.NONE
            try:
                await self._groups.delete(group_id)
            except OttlaError as error:
                code = error.code
            results.append(DeletableGroupResult(group_id=group_id, error_code=code))
        return DeleteGroupsResponse(results=tuple(results))


def _described(found: GroupView) -> DescribedGroup:
    return DescribedGroup(
        group_id=found.group_id,
        group_state=found.state,
        protocol_type=found.protocol_type,
        protocol_data=found.protocol,
        members=tuple(
            DescribedGroupMember(
                member_id=each.member_id,
                group_instance_id=each.instance_id,
                client_id=each.client_id,
                client_host=each.host,
                member_metadata=each.metadata,
                member_assignment=each.assignment,
            )
            for each in found.members
        ),
    )

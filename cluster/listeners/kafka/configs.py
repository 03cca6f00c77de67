"""Configuration over the Kafka protocol: shown with source and synonyms, changed key by key or as a whole."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from cluster.handlers.admin import AdminHandler
from cluster.listeners.kafka.config_entries import STATIC_SOURCE, shown
from cluster.listeners.kafka.request import Client
from cluster.listeners.kafka.topics import refusal_of
from kraft.metadata.effective_config import broker_resource
from kraft.metadata.errors import InvalidConfigError, InvalidRequestError, Refusal
from kraft.metadata.records import ConfigResource, ResourceType
from kraft.metadata.replies import ConfigsAltered
from kraft.metadata.requests import AlterConfigs, ConfigChange
from storage.errors import ErrorCode, OttlaError
from wire.messages import alter_configs as whole
from wire.messages import incremental_alter_configs as incremental
from wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
)
from wire.messages.list_config_resources import (
    ConfigResource as ListedResource,
)
from wire.messages.list_config_resources import (
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
RESOURCE_TYPES = {
    TOPIC: ResourceType.TOPIC,
    BROKER: ResourceType.BROKER,
    CLIENT_METRICS: ResourceType.CLIENT_METRICS,
    GROUP: ResourceType.GROUP,
}
"""By Kafka's numbers. Loggers (8) are known and have nothing to set."""
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3
CHANGE_S = 15.0
# Keys whose value is a list, to which may be added.
LISTS = frozenset({"cleanup.policy", "log.cleanup.policy"})


class KafkaConfigs:
    """own: what this node was told at its start and cannot be changed, as text by key."""

    def __init__(
        self, admin: AdminHandler, node_id: int, own: Callable[[], Mapping[str, str]]
    ) -> None:
        self._admin = admin
        self._node_id = node_id
        self._own = own

    async def describe(
        self, _client: Client, request: DescribeConfigsRequest
    ) -> DescribeConfigsResponse:
        """DescribeConfigs."""
        return DescribeConfigsResponse(
            results=tuple(self._describe(each, request) for each in request.resources)
        )

    def _describe(
        self, wanted: DescribeConfigsResource, request: DescribeConfigsRequest
    ) -> DescribeConfigsResult:
        result = DescribeConfigsResult(
            resource_type=wanted.resource_type, resource_name=wanted.resource_name
        )
        try:
            resource = _resource(wanted.resource_type, wanted.resource_name)
            entries = self._entries(resource, request)
        except OttlaError as error:
            result.error_code, result.error_message = error.code, str(error)
            return result
        keys = wanted.configuration_keys
        result.configs = tuple(each for each in entries if keys is None or each.name in keys)
        return result

    def _entries(
        self, resource: ConfigResource, request: DescribeConfigsRequest
    ) -> list[DescribeConfigsResourceResult]:
        entries = [shown(resource, each, request) for each in self._admin.configs(resource)]
        if resource == broker_resource(self._node_id):
            entries += [
                DescribeConfigsResourceResult(
                    name=key,
                    value=value,
                    read_only=True,
                    config_source=STATIC_SOURCE,
                    config_type=2,
                )
                for key, value in self._own().items()
            ]
        return entries

    async def alter(
        self, _client: Client, request: whole.AlterConfigsRequest
    ) -> whole.AlterConfigsResponse:
        """AlterConfigs: what is not named is unset."""
        responses = []
        for each in request.resources:
            refusal = await self._alter(
                each.resource_type,
                each.resource_name,
                request.validate_only,
                partial(self._whole, each.configs),
            )
            responses.append(
                whole.AlterConfigsResourceResponse(
                    resource_type=each.resource_type,
                    resource_name=each.resource_name,
                    error_code=ErrorCode.NONE if refusal is None else refusal.code,
                    error_message=None if refusal is None else refusal.message,
                )
            )
        return whole.AlterConfigsResponse(responses=tuple(responses))

    def _whole(
        self, wanted: Sequence[whole.AlterableConfig], resource: ConfigResource
    ) -> ConfigChange:
        values = {each.name: each.value for each in wanted if each.value is not None}
        now = self._admin.image().config(resource)
        return ConfigChange(
            resource=resource,
            set=values,
            unset=tuple(key for key in now if key not in values),
        )

    async def alter_incrementally(
        self, _client: Client, request: incremental.IncrementalAlterConfigsRequest
    ) -> incremental.IncrementalAlterConfigsResponse:
        """IncrementalAlterConfigs (KIP-339)."""
        responses = []
        for each in request.resources:
            refusal = await self._alter(
                each.resource_type,
                each.resource_name,
                request.validate_only,
                partial(self._incremental, each.configs),
            )
            responses.append(
                incremental.AlterConfigsResourceResponse(
                    resource_type=each.resource_type,
                    resource_name=each.resource_name,
                    error_code=ErrorCode.NONE if refusal is None else refusal.code,
                    error_message=None if refusal is None else refusal.message,
                )
            )
        return incremental.IncrementalAlterConfigsResponse(responses=tuple(responses))

    def _incremental(
        self, wanted: Sequence[incremental.AlterableConfig], resource: ConfigResource
    ) -> ConfigChange:
        names = [each.name for each in wanted]
        if len(set(names)) < len(names):
            raise InvalidRequestError(f"a key of {resource.name} stands twice in one request")
        setting: dict[str, str] = {}
        for each in wanted:
            if each.config_operation == SET and each.value is not None:
                setting[each.name] = each.value
            elif each.config_operation in (APPEND, SUBTRACT):
                setting[each.name] = self._list(resource, each)
            elif each.config_operation != DELETE:
                raise InvalidRequestError(
                    f"{each.name}: operation {each.config_operation} with value {each.value!r}"
                )
        unset = tuple(each.name for each in wanted if each.config_operation == DELETE)
        return ConfigChange(resource=resource, set=setting, unset=unset)

    def _list(self, resource: ConfigResource, wanted: incremental.AlterableConfig) -> str:
        if wanted.name not in LISTS:
            raise InvalidConfigError(f"{wanted.name} is no list: it can be set, not added to")
        floors = self._admin.config_floors(resource)
        text = (
            floors.topic_value(wanted.name)
            if resource.type == ResourceType.TOPIC
            else floors.broker_value(wanted.name)
        )[0]
        now = [each for each in text.split(",") if each]
        named = [each.strip() for each in (wanted.value or "").split(",") if each.strip()]
        if wanted.config_operation == APPEND:
            now += [each for each in named if each not in now]
        else:
            now = [each for each in now if each not in named]
        return ",".join(now)

    async def _alter(
        self,
        resource_type: int,
        name: str,
        validate_only: bool,
        change: Callable[[ConfigResource], ConfigChange],
    ) -> Refusal | None:
        try:
            wanted = change(_resource(resource_type, name))
        except OttlaError as error:
            return Refusal.of(error)
        request = AlterConfigs(changes=(wanted,), validate_only=validate_only)
        outcome: list[Refusal | None] = []

        async def ask() -> None:
            reply = await self._admin.change(request, CHANGE_S)
            assert isinstance(reply, ConfigsAltered), reply
            outcome.append(reply.changes[0].refusal)

        refused = await refusal_of(ask)
        return refused if refused is not None else outcome[0]

    async def list_resources(
        self, client: Client, request: ListConfigResourcesRequest
    ) -> ListConfigResourcesResponse:
        """ListConfigResources (KIP-1142); its first version knew subscriptions to client metrics only."""
        if client.api_version == 0:
            kinds: Iterable[int] = (CLIENT_METRICS,)
        else:
            kinds = request.resource_types or (TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP)
        unknown = [each for each in kinds if each not in RESOURCE_TYPES and each != BROKER_LOGGER]
        if unknown:
            return ListConfigResourcesResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
        try:
            found = tuple(
                ListedResource(resource_name=name, resource_type=kind)
                for kind in dict.fromkeys(kinds)
                if kind != BROKER_LOGGER
                for name in self._admin.config_resources(RESOURCE_TYPES[kind])
            )
        except OttlaError as error:
            return ListConfigResourcesResponse(error_code=error.code)
        return ListConfigResourcesResponse(config_resources=found)


def _resource(kind: int, name: str) -> ConfigResource:
    known = RESOURCE_TYPES.get(kind)
    if known is None:
        raise InvalidRequestError(
            f"configuration of resource type {kind}: topics are 2, brokers 4, client metrics 16, groups 32"
        )
    return ConfigResource(known, name)

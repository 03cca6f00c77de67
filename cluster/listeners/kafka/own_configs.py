"""Settings of groups and of subscriptions to client metrics, as Kafka shows them."""

from cluster.handlers.admin import AdminHandler
from cluster.listeners.kafka.config_entries import (
    KAFKA_SOURCE,
    LIST,
    broker_synonyms,
    config_type,
)
from kraft.metadata.client_metrics import CLIENT_METRICS_KEYS, CLIENT_METRICS_LISTS
from kraft.metadata.effective_config import ConfigSource
from kraft.metadata.errors import InvalidRequestError
from kraft.metadata.group_config import GROUP_KEYS, GROUP_LIMITS
from kraft.metadata.records import ConfigResource, ResourceType
from wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResourceResult,
    DescribeConfigsSynonym,
)


def own_entries(
    admin: AdminHandler, resource: ConfigResource, request: DescribeConfigsRequest
) -> list[DescribeConfigsResourceResult]:
    """Every key; who has nothing set is shown what holds for it. Raises InvalidRequestError without a name."""
    if not resource.name:
        raise InvalidRequestError("name the group or the subscription")
    group = resource.type == ResourceType.GROUP
    values = admin.current_image().config(resource)
    own_source = ConfigSource.GROUP if group else ConfigSource.CLIENT_METRICS
    entries = []
    for key, definition in (GROUP_KEYS if group else CLIENT_METRICS_KEYS).items():
        places: tuple[DescribeConfigsSynonym, ...] = ()
        if key in values:
            places = (
                DescribeConfigsSynonym(
                    name=key, value=values[key], source=KAFKA_SOURCE[own_source]
                ),
            )
        if group:
            places += broker_synonyms(admin.config_floors(resource), GROUP_LIMITS[key].default)
        in_force = places[0] if places else None
        default = KAFKA_SOURCE[ConfigSource.DEFAULT]
        entries.append(
            DescribeConfigsResourceResult(
                name=key,
                value=definition.default_text if in_force is None else in_force.value,
                config_source=default if in_force is None else in_force.source,
                synonyms=places if request.include_synonyms else (),
                config_type=LIST if key in CLIENT_METRICS_LISTS else config_type(definition.type),
                documentation=definition.documentation if request.include_documentation else None,
            )
        )
    return entries

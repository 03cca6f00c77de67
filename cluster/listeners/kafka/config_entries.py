"""Configuration as Kafka shows it."""

import types
from typing import Annotated, Any, Literal, get_args, get_origin

from kraft.metadata.client_metrics import CLIENT_METRICS_KEYS, CLIENT_METRICS_LISTS
from kraft.metadata.config_definitions import BROKER_KEYS, TOPIC_KEYS
from kraft.metadata.effective_config import ConfigSource, EffectiveValue
from kraft.metadata.group_config import GROUP_KEYS
from kraft.metadata.records import ConfigResource, ResourceType
from wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResourceResult,
    DescribeConfigsSynonym,
)

KAFKA_SOURCE = types.MappingProxyType(
    {
        ConfigSource.TOPIC: 1,
        ConfigSource.BROKER: 2,
        ConfigSource.CLUSTER: 3,
        ConfigSource.STATIC: 4,
        ConfigSource.DEFAULT: 5,
        ConfigSource.CLIENT_METRICS: 7,
        ConfigSource.GROUP: 8,
    }
)
"""Kafka's numbers of DescribeConfigsResponse.ConfigSource."""
STATIC_SOURCE = KAFKA_SOURCE[ConfigSource.STATIC]

BOOLEAN, STRING, INT, LONG, DOUBLE, LIST = 1, 2, 3, 5, 6, 7
_LONG_FROM = 2**31
_KEYS = {
    ResourceType.TOPIC: TOPIC_KEYS,
    ResourceType.BROKER: BROKER_KEYS,
    ResourceType.CLIENT_METRICS: CLIENT_METRICS_KEYS,
    ResourceType.GROUP: GROUP_KEYS,
}


def config_type(kind: Any) -> int:
    """Kafka's number of ConfigDef.Type."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) is Literal:
        return LIST if any("," in each for each in get_args(plain)) else STRING
    if plain is int:
        limits = [getattr(each, "le", None) for each in get_args(kind)[1:]]
        return LONG if any(each is not None and each >= _LONG_FROM for each in limits) else INT
    return {bool: BOOLEAN, float: DOUBLE}.get(plain, STRING)


def shown(
    resource: ConfigResource, found: EffectiveValue, request: DescribeConfigsRequest
) -> DescribeConfigsResourceResult:
    """One entry of an answer to DescribeConfigs."""
    kind = (
        LIST if _is_list(resource, found.key) else config_type(_KEYS[resource.type][found.key].type)
    )
    return DescribeConfigsResourceResult(
        name=found.key,
        value=found.value,
        config_source=KAFKA_SOURCE[found.source],
        synonyms=_synonyms(found) if request.include_synonyms else (),
        config_type=kind,
        documentation=found.documentation if request.include_documentation else None,
    )


def _is_list(resource: ConfigResource, key: str) -> bool:
    return resource.type == ResourceType.CLIENT_METRICS and key in CLIENT_METRICS_LISTS


def _synonyms(found: EffectiveValue) -> tuple[DescribeConfigsSynonym, ...]:
    return tuple(
        DescribeConfigsSynonym(name=each.key, value=each.value, source=KAFKA_SOURCE[each.source])
        for each in found.synonyms
    )

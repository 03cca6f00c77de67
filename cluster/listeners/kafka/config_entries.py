"""Configuration as Kafka shows it."""

import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_origin

from kraft.metadata.config_definitions import BROKER_KEYS, TOPIC_SYNONYMS
from kraft.metadata.effective_config import ConfigSource, Floors
from wire.messages.describe_configs import DescribeConfigsSynonym

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


def config_type(kind: Any) -> int:
    """Kafka's number of ConfigDef.Type."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) is Literal:
        return LIST if any("," in each for each in get_args(plain)) else STRING
    if plain is int:
        limits = [getattr(each, "le", None) for each in get_args(kind)[1:]]
        return LONG if any(each is not None and each >= _LONG_FROM for each in limits) else INT
    return {bool: BOOLEAN, float: DOUBLE}.get(plain, STRING)


def synonyms(floors: Floors, key: str, *, topic: bool) -> tuple[DescribeConfigsSynonym, ...]:
    """Where else a value could come from, what counts first (KIP-226)."""
    found = []
    if topic and key in floors.topic:
        found.append((key, floors.topic[key], ConfigSource.TOPIC))
    return _told(found) + broker_synonyms(floors, TOPIC_SYNONYMS[key] if topic else key)


def broker_synonyms(floors: Floors, broker_key: str) -> tuple[DescribeConfigsSynonym, ...]:
    """Where a broker key's value could come from, what counts first."""
    found = []
    for values, source in (
        (floors.broker, ConfigSource.BROKER),
        (floors.cluster, ConfigSource.CLUSTER),
        (floors.static, ConfigSource.STATIC),
    ):
        if broker_key in values:
            found.append((broker_key, values[broker_key], source))
    found.append((broker_key, BROKER_KEYS[broker_key].default_text, ConfigSource.DEFAULT))
    return _told(found)


def _told(found: Iterable[tuple[str, str, ConfigSource]]) -> tuple[DescribeConfigsSynonym, ...]:
    return tuple(
        DescribeConfigsSynonym(name=name, value=value, source=KAFKA_SOURCE[source])
        for name, value, source in found
    )

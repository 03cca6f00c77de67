"""What can be set on one consumer group (KIP-848): its own session and heartbeat, within the brokers' limits."""

import types
from collections.abc import Mapping
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from kraft.metadata.config_engine import INT32_MAX, definitions, dotted, lookup
from kraft.metadata.effective_config import (
    ConfigSource,
    EffectiveValue,
    Floors,
    Synonym,
    broker_value,
)
from kraft.metadata.errors import InvalidConfigError, InvalidRequestError
from kraft.metadata.records import ConfigResource


class GroupConfig(Struct, frozen=True, kw_only=True, rename=dotted):
    """A group that does not set a key takes the brokers' (GROUP_LIMITS). Durations in milliseconds."""

    consumer_heartbeat_interval_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="How often the members of this KIP-848 group are told to send a heartbeat.",
        ),
    ] = 5_000
    consumer_session_timeout_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="A member of this KIP-848 group that is silent for so long is taken out.",
        ),
    ] = 45_000


class Limits(NamedTuple):
    """Broker keys: of all groups' value, of the least and of the most."""

    default: str
    least: str
    most: str


GROUP_KEYS = types.MappingProxyType(definitions(GroupConfig))
HEARTBEAT, SESSION = "consumer.heartbeat.interval.ms", "consumer.session.timeout.ms"
GROUP_LIMITS = types.MappingProxyType(
    {
        HEARTBEAT: Limits(
            "group.consumer.heartbeat.interval.ms",
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
        ),
        SESSION: Limits(
            "group.consumer.session.timeout.ms",
            "group.consumer.min.session.timeout.ms",
            "group.consumer.max.session.timeout.ms",
        ),
    }
)


def check_group(resource: ConfigResource, values: Mapping[str, str], found: Floors) -> None:
    """Whether a group may have these values, all that are set on it. Raises InvalidConfigError, InvalidRequestError."""
    if not resource.name:
        raise InvalidRequestError("there are no settings for all groups: set group.consumer.*")
    for key, text in values.items():
        value = lookup(GROUP_KEYS, key, "group").parse(text)
        limits = GROUP_LIMITS[key]
        least, most = broker_value(found, limits.least), broker_value(found, limits.most)
        if not least <= value <= most:
            raise InvalidConfigError(
                f"{key}={value}: {limits.least} is {least} and {limits.most} is {most}"
            )
    heartbeat, session = group_value(values, found, HEARTBEAT), group_value(values, found, SESSION)
    if session <= heartbeat:
        raise InvalidConfigError(
            f"{SESSION} of {session} must be more than {HEARTBEAT}, which is {heartbeat}"
        )


def describe_group(values: Mapping[str, str], found: Floors) -> list[EffectiveValue]:
    """Every key of a group with its value and source; `values` are the group's own."""
    described = []
    for key, definition in GROUP_KEYS.items():
        own = (Synonym(key, values[key], ConfigSource.GROUP),) if key in values else ()
        places = own + found.broker_synonyms(GROUP_LIMITS[key].default)
        described.append(
            EffectiveValue(
                key,
                places[0].value,
                places[0].source,
                definition.documentation,
                synonyms=places,
            )
        )
    return described


def group_value(values: Mapping[str, str], found: Floors, key: str) -> int:
    """A group's value in force, within the limits as they are now."""
    limits = GROUP_LIMITS[key]
    text = values.get(key)
    value: int = (
        broker_value(found, limits.default) if text is None else GROUP_KEYS[key].parse(text)
    )
    least, most = broker_value(found, limits.least), broker_value(found, limits.most)
    return int(max(least, min(value, most)))

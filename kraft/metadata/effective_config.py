"""Effective configuration with its source: topic > broker > cluster > static > default.

`static` is what a node was told at start (its file, environment, --set), as text by broker key. SAFETY_KEYS skip the
broker and static floors, because the controller and every replica must read them alike.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from kraft.metadata.config_definitions import (
    BROKER_KEYS,
    CLUSTER_ONLY_KEYS,
    SAFETY_KEYS,
    TOPIC_KEYS,
    TOPIC_SYNONYMS,
    BrokerConfig,
    TopicConfig,
)
from kraft.metadata.config_engine import Definition, lookup
from kraft.metadata.errors import InvalidConfigError
from kraft.metadata.image import MetadataImage
from kraft.metadata.records import CLUSTER, ConfigResource, ResourceType

NOTHING: Mapping[str, str] = {}
_SAFETY_BROKER_KEYS = frozenset(TOPIC_SYNONYMS[key] for key in SAFETY_KEYS)


class ConfigSource(IntEnum):
    """Where an effective value comes from (numbers of ottla.v1.ConfigSource)."""

    TOPIC = 1
    BROKER = 2
    CLUSTER = 3
    STATIC = 4
    DEFAULT = 5
    CLIENT_METRICS = 6
    GROUP = 7


class Synonym(NamedTuple):
    """One place where a value is set, and under which key there."""

    key: str
    value: str
    source: ConfigSource


class EffectiveValue(Struct, frozen=True):
    """One key's value in force, as text. synonyms: all places where it is set, what counts first (KIP-226)."""

    key: str
    value: str
    source: ConfigSource
    documentation: str
    read_only: bool = False
    synonyms: tuple[Synonym, ...] = ()


class Floors(Struct, frozen=True):
    """What is set at each floor, as text; topic keys on the first, broker keys on the others."""

    topic: Mapping[str, str] = NOTHING
    broker: Mapping[str, str] = NOTHING
    cluster: Mapping[str, str] = NOTHING
    static: Mapping[str, str] = NOTHING

    def topic_value(self, key: str) -> tuple[str, ConfigSource]:
        """A topic key's text in force and where it comes from."""
        if key in self.topic:
            return self.topic[key], ConfigSource.TOPIC
        return self.broker_value(TOPIC_SYNONYMS[key])

    def broker_value(self, key: str) -> tuple[str, ConfigSource]:
        """A broker key's text in force and where it comes from."""
        if key in self.broker and key not in CLUSTER_ONLY_KEYS:
            return self.broker[key], ConfigSource.BROKER
        if key in self.cluster:
            return self.cluster[key], ConfigSource.CLUSTER
        if key in self.static and key not in _SAFETY_BROKER_KEYS:
            return self.static[key], ConfigSource.STATIC
        return BROKER_KEYS[key].default_text, ConfigSource.DEFAULT

    def topic_synonyms(self, key: str) -> tuple[Synonym, ...]:
        """All places where a topic key's value is set, what counts first."""
        own = (Synonym(key, self.topic[key], ConfigSource.TOPIC),) if key in self.topic else ()
        return own + self.broker_synonyms(TOPIC_SYNONYMS[key])

    def broker_synonyms(self, key: str) -> tuple[Synonym, ...]:
        """All places where a broker key's value is set, what counts first."""
        places = (
            (self.broker, ConfigSource.BROKER),
            (self.cluster, ConfigSource.CLUSTER),
            (self.static, ConfigSource.STATIC),
        )
        set_ = tuple(
            Synonym(key, values[key], source) for values, source in places if key in values
        )
        return (*set_, Synonym(key, BROKER_KEYS[key].default_text, ConfigSource.DEFAULT))


def floors(
    image: MetadataImage,
    *,
    topic: str | None = None,
    node_id: int | None = None,
    static: Mapping[str, str] = NOTHING,
) -> Floors:
    """The floors as `image` has them, for a topic and from the view of a node."""
    return Floors(
        NOTHING if topic is None else image.config(topic_resource(topic)),
        NOTHING if node_id is None else image.config(broker_resource(node_id)),
        image.cluster_config,
        static,
    )


def topic_resource(name: str) -> ConfigResource:
    """The resource of a topic."""
    return ConfigResource(ResourceType.TOPIC, name)


def broker_resource(node_id: int) -> ConfigResource:
    """The resource of one broker."""
    return ConfigResource(ResourceType.BROKER, str(node_id))


def topic_config(found: Floors) -> TopicConfig:
    """A topic's configuration in force, typed."""
    return msgspec.convert(
        {key: found.topic_value(key)[0] for key in TOPIC_KEYS}, TopicConfig, strict=False
    )


def broker_config(found: Floors) -> BrokerConfig:
    """A broker's configuration in force, typed; the defaults of topics are read through `topic_config`."""
    own = [field.encode_name for field in msgspec.structs.fields(BrokerConfig)]
    return msgspec.convert(
        {key: found.broker_value(key)[0] for key in own}, BrokerConfig, strict=False
    )


def topic_value(found: Floors, key: str) -> Any:
    """One topic key's value in force, typed."""
    return TOPIC_KEYS[key].parse(found.topic_value(key)[0])


def broker_value(found: Floors, key: str) -> Any:
    """One broker key's value in force, typed."""
    return BROKER_KEYS[key].parse(found.broker_value(key)[0])


def describe_topic(found: Floors) -> list[EffectiveValue]:
    """Every key of a topic with its value and source."""
    return [
        EffectiveValue(
            key,
            *found.topic_value(key),
            definition.documentation,
            synonyms=found.topic_synonyms(key),
        )
        for key, definition in TOPIC_KEYS.items()
    ]


def describe_broker(found: Floors) -> list[EffectiveValue]:
    """Every dynamic key of a broker with its value and source."""
    return [
        EffectiveValue(
            key,
            *found.broker_value(key),
            definition.documentation,
            synonyms=found.broker_synonyms(key),
        )
        for key, definition in BROKER_KEYS.items()
    ]


def check(resource: ConfigResource, key: str, value: str | None) -> Definition:
    """Whether `key=value` (None: unset) may be set on a resource. Raises InvalidConfigError."""
    if resource.type == ResourceType.TOPIC:
        definition = lookup(TOPIC_KEYS, key, "topic")
    else:
        definition = lookup(BROKER_KEYS, key, "broker")
        if resource != CLUSTER and key in CLUSTER_ONLY_KEYS:
            raise InvalidConfigError(
                f"{key} holds for the whole cluster and cannot be set on broker {resource.name}; "
                f"set it on all brokers (an empty broker name)"
            )
    if value is not None:
        definition.parse(value)
    return definition


def ignored_static(image: MetadataImage, static: Mapping[str, str]) -> list[str]:
    """Broker keys in `static` that have no effect because the metadata log decides them (SAFETY_KEYS)."""
    found = floors(image, static=static)
    return [
        key
        for key in sorted(_SAFETY_BROKER_KEYS & static.keys())
        if broker_value(found, key) != BROKER_KEYS[key].parse(static[key])
    ]

"""Subscriptions to the metrics of clients (KIP-714): kept and shown. Nothing collects them yet."""

import re
import types
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from kraft.metadata.config_engine import definitions, dotted, nearest
from kraft.metadata.effective_config import ConfigSource, EffectiveValue, Synonym
from kraft.metadata.errors import InvalidConfigError, InvalidRequestError
from kraft.metadata.records import ConfigResource


class ClientMetricsConfig(Struct, frozen=True, kw_only=True, rename=dotted):
    """One subscription."""

    interval_ms: Annotated[
        int, Meta(description="How often clients push their metrics: 100 to 3600000.")
    ] = 300_000
    match: Annotated[
        str,
        Meta(
            description="Which clients: `label=regular expression`, separated by commas; empty: all."
        ),
    ] = ""
    metrics: Annotated[
        str, Meta(description="Which metrics: prefixes of names, separated by commas; empty: none.")
    ] = ""


CLIENT_METRICS_KEYS = types.MappingProxyType(definitions(ClientMetricsConfig))
CLIENT_METRICS_LISTS = frozenset({"match", "metrics"})
INTERVAL_MS = (100, 3_600_000)
LABELS = (
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
)


def check_client_metrics(resource: ConfigResource, values: Mapping[str, str]) -> None:
    """Whether a subscription may be that. Raises InvalidConfigError, InvalidRequestError."""
    if not resource.name:
        raise InvalidRequestError("a subscription to client metrics needs a name")
    for key, text in values.items():
        if key not in CLIENT_METRICS_KEYS:
            raise InvalidRequestError(
                f"unknown configuration of client metrics {key!r}{nearest(key, CLIENT_METRICS_KEYS)}"
            )
        value = CLIENT_METRICS_KEYS[key].parse(text)
        if key == "interval.ms" and not INTERVAL_MS[0] <= value <= INTERVAL_MS[1]:
            raise InvalidRequestError(
                f"interval.ms={value}: between {INTERVAL_MS[0]} and {INTERVAL_MS[1]}"
            )
        if key == "match":
            _check_match(value)


def describe_client_metrics(values: Mapping[str, str]) -> list[EffectiveValue]:
    """Every key of a subscription with its value and source; `values` are its own. A default is no place."""
    described = []
    for key, definition in CLIENT_METRICS_KEYS.items():
        own = (Synonym(key, values[key], ConfigSource.CLIENT_METRICS),) if key in values else ()
        described.append(
            EffectiveValue(
                key,
                own[0].value if own else definition.default_text,
                own[0].source if own else ConfigSource.DEFAULT,
                definition.documentation,
                synonyms=own,
            )
        )
    return described


def _check_match(text: str) -> None:
    for part in filter(None, (each.strip() for each in text.split(","))):
        label, equals, pattern = part.partition("=")
        if not equals or label.strip() not in LABELS:
            raise InvalidConfigError(
                f"match={part!r}: label=pattern, the label one of {', '.join(LABELS)}"
            )
        try:
            re.compile(pattern.strip())
        except re.error as error:
            raise InvalidConfigError(f"match={part!r}: no regular expression: {error}") from error

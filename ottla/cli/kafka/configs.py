"""`ottla kafka-configs`: settings of topics, brokers, groups and client metrics, and quotas."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from ottla.cli.kafka import quotas
from ottla.cli.kafka.entities import (
    BROKERS,
    CLIENT_METRICS,
    GROUPS,
    TOPICS,
    Entities,
    add_options,
    entities,
)
from ottla.cli.kafka.options import Parser, one_of, parser, perform

if TYPE_CHECKING:
    from ottla.client.admin import Admin
    from ottla.v1 import admin_pb2 as pb

TYPES = {
    TOPICS: "RESOURCE_TYPE_TOPIC",
    BROKERS: "RESOURCE_TYPE_BROKER",
    GROUPS: "RESOURCE_TYPE_GROUP",
    CLIENT_METRICS: "RESOURCE_TYPE_CLIENT_METRICS",
}
SOURCES = {
    "topic": "DYNAMIC_TOPIC_CONFIG",
    "broker": "DYNAMIC_BROKER_CONFIG",
    "cluster": "DYNAMIC_DEFAULT_BROKER_CONFIG",
    "static": "STATIC_BROKER_CONFIG",
    "default": "DEFAULT_CONFIG",
    "group": "DYNAMIC_GROUP_CONFIG",
    "client_metrics": "DYNAMIC_CLIENT_METRICS_CONFIG",
}
OWN_SOURCES = {
    TOPICS: "topic",
    BROKERS: "broker",
    GROUPS: "group",
    CLIENT_METRICS: "client_metrics",
}
# What stands in brackets is not cut: a=b,c=[d,e].
_OUTSIDE = r"(?=[^\]]*(?:\[|$))"
_COMMA, _EQUALS = re.compile("," + _OUTSIDE), re.compile(r"\s*=\s*" + _OUTSIDE)


def kafka_configs(context: typer.Context) -> None:
    """Kafka's ConfigCommand."""
    made = parser(
        "kafka-configs",
        "Show and change settings of topics, brokers, groups and client metrics, and quotas of clients and users.",
    )
    one_of(made, "describe", "alter")
    add_options(made)
    made.add_argument("--all", action="store_true")
    made.add_argument("--add-config", metavar="KEY=VALUE,KEY=[A,B]")
    made.add_argument("--delete-config", metavar="KEY,KEY")
    asked = made.parse_args(context.args)
    wanted = entities(made, asked)
    if asked.alter and not (asked.add_config or asked.delete_config):
        made.error("At least one of --add-config or --delete-config must be specified with --alter")
    if asked.describe and (asked.add_config or asked.delete_config):
        made.error("--describe can't be used with --add-config or --delete-config")
    added = _added(made, asked.add_config or "")
    perform(asked.bootstrap_server, lambda doors: _work(doors, wanted, asked, added))


async def _work(
    doors: str, wanted: Entities, asked: argparse.Namespace, added: Mapping[str, str]
) -> int:
    from ottla.client.admin import Admin

    deleted = [each.strip() for each in (asked.delete_config or "").split(",") if each.strip()]
    async with Admin(doors) as admin:
        if wanted.kind in quotas.KINDS:
            if asked.alter:
                return await quotas.alter(admin, wanted, added, deleted)
            return await quotas.describe(admin, wanted)
        if asked.alter:
            return await _alter(admin, wanted, added, deleted)
        return await _describe(admin, wanted, everything=asked.all)


async def _alter(
    admin: "Admin", wanted: Entities, added: Mapping[str, str], deleted: Sequence[str]
) -> int:
    resource = _resource(wanted.kind, wanted.name or "")
    await admin.alter_configs(resource, set_=added, unset=deleted)
    typer.echo(wanted.completed)
    return 0


async def _describe(admin: "Admin", wanted: Entities, *, everything: bool) -> int:
    kind, name = wanted.kind, wanted.name
    known = await _known(admin, kind) if name is None or (name and not everything) else []
    if name and not everything and name not in known:
        typer.echo(f"The {kind[:-1]} '{name}' doesn't exist and doesn't have dynamic config.")
        return 0
    for each in known if name is None else [name]:
        found = await admin.configs(_resource(kind, each))
        if each:
            what = "All" if everything else "Dynamic"
            typer.echo(f"{what} configs for {kind[:-1]} {each} are:")
        else:
            typer.echo(f"Default configs for {kind} in the cluster are:")
        own = OWN_SOURCES[kind] if each else "cluster"
        for entry in sorted(found, key=lambda one: one.name):
            if everything or _source(entry.source) == own:
                typer.echo(_line(entry))
    return 0


async def _known(admin: "Admin", kind: str) -> list[str]:
    """All of a kind; groups that are there and groups that have settings, and last the default of brokers."""
    names = await admin.config_resources(_resource(kind, "").type)
    if kind == GROUPS:
        return sorted({*names, *(each.group_id for each in await admin.groups())})
    return [*names, ""] if kind == BROKERS else names


def _resource(kind: str, name: str) -> "pb.ConfigResource":
    from ottla.v1 import admin_pb2 as pb

    return pb.ConfigResource(type=pb.ResourceType.Value(TYPES[kind]), name=name)


def _line(entry: "pb.ConfigEntry") -> str:
    places = ", ".join(
        f"{SOURCES[_source(each.source)]}:{each.name}={each.value}" for each in entry.synonyms
    )
    return f"  {entry.name}={entry.value} sensitive=false synonyms={{{places}}}"


def _source(number: "pb.ConfigSource.ValueType") -> str:
    from ottla.v1 import admin_pb2 as pb

    return pb.ConfigSource.Name(number).removeprefix("CONFIG_SOURCE_").lower()


def _added(made: Parser, text: str) -> dict[str, str]:
    found = {}
    for entry in _COMMA.split(text) if text else ():
        key, *values = _EQUALS.split(entry)
        if len(values) != 1:
            made.error(
                f"Invalid entity config {entry!r}: all configs to be added must be in the format "
                '"key=val" or "key=[val1,val2]" to group values which contain commas.'
            )
        found[key.strip()] = re.sub(r"[\[\]]", "", values[0]).strip()
    return found

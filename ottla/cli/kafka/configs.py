"""`ottla kafka-configs`: settings of topics and brokers."""

import argparse
import re
from typing import Any

import typer

from ottla.cli.kafka.options import one_of, parser, perform

KINDS = {"topics": "topic", "brokers": "broker"}
SOURCES = {
    "topic": "DYNAMIC_TOPIC_CONFIG",
    "broker": "DYNAMIC_BROKER_CONFIG",
    "cluster": "DYNAMIC_DEFAULT_BROKER_CONFIG",
    "static": "STATIC_BROKER_CONFIG",
    "default": "DEFAULT_CONFIG",
}
DYNAMIC = ("topic", "broker", "cluster")
# a=b, or a=[b,c] for a list.
_ENTRY = re.compile(r"([^=,\s]+)=(\[[^\]]*\]|[^,]*)")


def kafka_configs(context: typer.Context) -> None:
    """Kafka's ConfigCommand, of topics and brokers."""
    made = parser("kafka-configs", "Show and change settings of topics and brokers.")
    one_of(made, "describe", "alter")
    made.add_argument("--entity-type", choices=sorted(KINDS))
    made.add_argument("--entity-name")
    made.add_argument("--entity-default", action="store_true")
    made.add_argument("--topic")
    made.add_argument("--broker")
    made.add_argument("--broker-defaults", action="store_true")
    made.add_argument("--all", action="store_true")
    made.add_argument("--add-config", metavar="KEY=VALUE,KEY=[A,B]")
    made.add_argument("--delete-config", metavar="KEY,KEY")
    asked = made.parse_args(context.args)
    if asked.topic:
        kind, name = "topics", asked.topic
    elif asked.broker or asked.broker_defaults:
        kind, name = "brokers", asked.broker or ""
    else:
        kind, name = asked.entity_type, asked.entity_name or ""
    if kind is None:
        made.error("--entity-type, --topic or --broker is needed")
    if kind == "topics" and not name and asked.alter:
        made.error("--entity-name is needed")
    if asked.alter and not (asked.add_config or asked.delete_config):
        made.error("--alter needs --add-config or --delete-config")
    perform(asked.bootstrap_server, lambda doors: _work(doors, kind, name, asked))


async def _work(doors: str, kind: str, name: str, asked: argparse.Namespace) -> int:
    from ottla.client.admin import Admin
    from ottla.v1 import admin_pb2 as pb

    word = KINDS[kind]
    number = pb.RESOURCE_TYPE_TOPIC if kind == "topics" else pb.RESOURCE_TYPE_BROKER
    async with Admin(doors) as admin:
        if asked.alter:
            resource = pb.ConfigResource(type=number, name=name)
            unset = [each.strip() for each in (asked.delete_config or "").split(",") if each]
            await admin.alter_configs(resource, set_=_entries(asked.add_config or ""), unset=unset)
            typer.echo(f"Completed updating {_config_of(word, name)}.")
            return 0
        names = [name]
        if not name and kind == "topics":
            names = sorted(each.name for each in await admin.topics())
        for each in names:
            found = await admin.configs(pb.ConfigResource(type=number, name=each))
            _show(word, each, found, everything=asked.all)
    return 0


def _config_of(word: str, name: str) -> str:
    return f"config for {word} {name}" if name else f"default config for {word}s in the cluster"


def _show(word: str, name: str, found: Any, *, everything: bool) -> None:
    what = "All" if everything else "Dynamic"
    if name:
        typer.echo(f"{what} configs for {word} {name} are:")
    else:
        typer.echo("Default configs for brokers in the cluster are:")
    for each in found:
        source = _source(each)
        if everything or (source in DYNAMIC and (word != "topic" or source == "topic")):
            typer.echo(
                f"  {each.name}={each.value} sensitive=false synonyms={{{SOURCES[source]}:{each.name}={each.value}}}"
            )


def _source(entry: Any) -> str:
    from ottla.v1 import admin_pb2 as pb

    return pb.ConfigSource.Name(entry.source).removeprefix("CONFIG_SOURCE_").lower()


def _entries(text: str) -> dict[str, str]:
    return {key: value.strip("[]") for key, value in _ENTRY.findall(text)}

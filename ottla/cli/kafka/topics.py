"""`ottla kafka-topics` and `ottla kafka-get-offsets`."""

import argparse
import base64
import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import typer

from ottla.cli.kafka.options import one_of, parser, perform, properties


def kafka_topics(context: typer.Context) -> None:
    """Kafka's TopicCommand."""
    made = parser("kafka-topics", "Make, look at, change and delete topics.")
    one_of(made, "list", "describe", "create", "alter", "delete")
    made.add_argument("--topic", help="A name; for --list, --describe and --delete a pattern.")
    made.add_argument("--topic-id")
    made.add_argument("--partitions", type=int)
    made.add_argument("--replication-factor", type=int)
    made.add_argument("--replica-assignment", default="")
    made.add_argument("--config", action="append", metavar="KEY=VALUE")
    made.add_argument("--delete-config", action="append", metavar="KEY")
    for flag in (
        *("under-replicated-partitions", "unavailable-partitions", "under-min-isr-partitions"),
        *("at-min-isr-partitions", "topics-with-overrides", "exclude-internal"),
        *("if-exists", "if-not-exists"),
    ):
        made.add_argument(f"--{flag}", action="store_true")
    made.add_argument("--partition-size-limit-per-response", type=int)
    asked = made.parse_args(context.args)
    if (asked.create or asked.alter or asked.delete) and not asked.topic:
        made.error("--topic is needed")
    if asked.alter and asked.partitions is None:
        made.error("--alter needs --partitions; settings are changed with kafka-configs")
    if asked.partitions is not None and asked.partitions < 1:
        made.error("The partitions must be greater than 0")
    if asked.replication_factor is not None and not 1 <= asked.replication_factor <= 32767:
        made.error("The replication factor must be between 1 and 32767 inclusive")
    perform(asked.bootstrap_server, lambda doors: _topics(doors, asked))


async def _topics(doors: str, asked: argparse.Namespace) -> int:
    from ottla.client.admin import Admin
    from ottla.client.errors import BrokerError
    from storage.errors import ErrorCode

    async with Admin(doors) as admin:
        if asked.create:
            try:
                await admin.create_topic(
                    asked.topic,
                    partitions=asked.partitions or -1,
                    replication_factor=asked.replication_factor or -1,
                    configs=properties(asked.config),
                    assignments=[
                        [int(node) for node in part.split(":")]
                        for part in asked.replica_assignment.split(",")
                        if part
                    ],
                )
            except BrokerError as error:
                if not (asked.if_not_exists and error.code == ErrorCode.TOPIC_ALREADY_EXISTS):
                    raise
            else:
                typer.echo(f"Created topic {asked.topic}.")
            return 0
        found = [each for each in await admin.topics() if _chosen(each, asked)]
        if not found and (asked.topic or asked.topic_id) and not asked.list:
            if asked.if_exists:
                return 0
            typer.echo(
                f"Error while executing topic command : Topic '{asked.topic or asked.topic_id}' does not exist as "
                f"expected",
                err=True,
            )
            return 1
        for topic in sorted(found, key=lambda each: each.name):
            if asked.list:
                typer.echo(topic.name)
            elif asked.delete:
                await admin.delete_topic(topic.name)
            elif asked.alter:
                await admin.create_partitions(topic.name, asked.partitions)
            else:
                await _describe(admin, topic, asked)
    return 0


def _chosen(topic: Any, asked: argparse.Namespace) -> bool:
    if asked.exclude_internal and topic.internal:
        return False
    if asked.topic_id:
        return bool(_topic_id(topic) == asked.topic_id)
    return asked.topic is None or bool(re.fullmatch(asked.topic, topic.name))


def _topic_id(topic: Any) -> str:
    """Kafka's form of a UUID."""
    return base64.urlsafe_b64encode(UUID(topic.topic_id).bytes).decode().rstrip("=")


async def _describe(admin: Any, topic: Any, asked: argparse.Namespace) -> None:
    configs = {each.name: each for each in await admin.topic_configs(topic.name)}
    minimum = int(configs["min.insync.replicas"].value)
    shown = [each for each in topic.partitions if _wanted(each, asked, minimum)]
    filtered = (
        asked.under_replicated_partitions
        or asked.unavailable_partitions
        or asked.under_min_isr_partitions
        or asked.at_min_isr_partitions
    )
    if asked.topics_with_overrides and not topic.configs:
        return
    if not filtered:
        replicas = len(topic.partitions[0].replicas) if topic.partitions else 0
        settings = ",".join(
            f"{key}={each.value}" for key, each in sorted(configs.items()) if _is_set(each)
        )
        typer.echo(
            f"Topic: {topic.name}\tTopicId: {_topic_id(topic)}\tPartitionCount: {len(topic.partitions)}\t"
            f"ReplicationFactor: {replicas}\tConfigs: {settings}"
        )
    if asked.topics_with_overrides:
        return
    for each in shown:
        leader = each.leader_id if each.leader_id >= 0 else "none"
        typer.echo(
            f"\tTopic: {topic.name}\tPartition: {each.partition}\tLeader: {leader}\tReplicas: {_ids(each.replicas)}\t"
            f"Isr: {_ids(each.isr)}\tElr: {_ids(each.elr)}\tLastKnownElr: "
        )


def _is_set(entry: Any) -> bool:
    """Whether somebody has said it while the cluster runs, for the topic or for all."""
    from ottla.v1 import admin_pb2 as pb

    return entry.source in (
        pb.CONFIG_SOURCE_TOPIC,
        pb.CONFIG_SOURCE_BROKER,
        pb.CONFIG_SOURCE_CLUSTER,
    )


def _wanted(partition: Any, asked: argparse.Namespace, minimum: int) -> bool:
    in_sync = len(partition.isr)
    wanted = True
    if asked.under_replicated_partitions:
        wanted = in_sync < len(partition.replicas)
    elif asked.unavailable_partitions:
        wanted = partition.leader_id < 0
    elif asked.under_min_isr_partitions:
        wanted = in_sync < minimum
    elif asked.at_min_isr_partitions:
        wanted = in_sync == minimum
    return wanted


def _ids(ids: Iterable[int]) -> str:
    return ",".join(str(each) for each in ids)


def kafka_get_offsets(context: typer.Context) -> None:
    """Kafka's GetOffsetShell: topic:partition:offset."""
    made = parser("kafka-get-offsets", "Offsets of partitions.")
    made.add_argument("--topic", help="A pattern.")
    made.add_argument("--topic-partitions", help="PATTERN:0,PATTERN:2-5,...")
    made.add_argument("--partitions", help="0,1,2")
    made.add_argument("--time", default="latest", help="latest, earliest, max-timestamp or ms.")
    made.add_argument("--exclude-internal-topics", action="store_true")
    asked = made.parse_args(context.args)
    if asked.topic_partitions and (asked.topic or asked.partitions):
        made.error("--topic-partitions stands alone")
    try:
        spec, rules = _spec(asked.time), _rules(asked)
    except ValueError as error:
        made.error(str(error))
    perform(asked.bootstrap_server, lambda doors: _offsets(doors, asked, spec, rules))


Rule = tuple[str, range | None]


def _rules(asked: argparse.Namespace) -> list[Rule]:
    if asked.topic_partitions:
        found: list[Rule] = []
        for part in asked.topic_partitions.split(","):
            topic, _, numbers = part.partition(":")
            found.append((topic or ".*", _numbers(numbers)))
        return found
    topic = asked.topic or ".*"
    if not asked.partitions:
        return [(topic, None)]
    return [(topic, _numbers(each)) for each in asked.partitions.split(",")]


def _numbers(text: str) -> range | None:
    """`3`, or `2-5`, whose end is not in it, as Kafka has it."""
    if not text:
        return None
    low, dash, high = text.partition("-")
    if not dash:
        return range(int(low), int(low) + 1)
    return range(int(low or 0), int(high) if high else 2**31)


def _spec(text: str) -> Any:
    from ottla.client.offsets import OffsetSpec

    named = {
        **dict.fromkeys(("latest", "-1"), OffsetSpec.LATEST),
        **dict.fromkeys(("earliest", "-2"), OffsetSpec.EARLIEST),
        **dict.fromkeys(("max-timestamp", "-3"), OffsetSpec.MAX_TIMESTAMP),
    }
    if text in named:
        return named[text]
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp, or a "
            f"specified long format timestamp"
        ) from None


async def _offsets(doors: str, asked: argparse.Namespace, spec: Any, rules: list[Rule]) -> int:
    from ottla.client.admin import Admin

    async with Admin(doors) as admin:
        wanted = [
            (topic.name, each.partition)
            for topic in await admin.topics()
            if not (asked.exclude_internal_topics and topic.internal)
            for each in topic.partitions
            if each.leader_id >= 0 and _matches(topic.name, each.partition, rules)
        ]
        if not wanted:
            typer.echo("Could not match any topic-partitions with the specified filters", err=True)
            return 1
        found = await admin.offsets(dict.fromkeys(wanted, spec))
    for topic_name, partition in sorted(found):
        offset = found[topic_name, partition].offset
        # As Kafka's: no line for a partition that has no record so late.
        if offset >= 0:
            typer.echo(f"{topic_name}:{partition}:{offset}")
    return 0


def _matches(topic: str, partition: int, rules: list[Rule]) -> bool:
    return any(
        re.fullmatch(name, topic) and (numbers is None or partition in numbers)
        for name, numbers in rules
    )

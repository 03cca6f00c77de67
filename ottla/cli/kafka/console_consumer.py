"""`ottla kafka-console-consumer`: lines out."""

import argparse
import random
import re
import sys
from typing import Any

import typer

from ottla.cli.kafka.auto_create import make_missing
from ottla.cli.kafka.options import (
    FILE,
    IGNORED,
    TRUE,
    last_word,
    parser,
    perform,
    properties,
    property_file,
    unescaped,
)
from ottla.client.errors import ClientError
from ottla.client.records import ConsumerRecord

RESETS = {"earliest": "earliest", "latest": "latest", "none": "error"}
NOTHING = "NoOpMessageFormatter"
FORMATTERS = ("DefaultMessageFormatter", NOTHING)
DESERIALIZERS = ("StringDeserializer", "ByteArrayDeserializer", "BytesDeserializer")


def kafka_console_consumer(context: typer.Context) -> None:
    """Kafka's ConsoleConsumer."""
    made = parser("kafka-console-consumer", "Print records.", "--consumer.config")
    made.add_argument("--topic")
    made.add_argument("--include", "--whitelist", help="A pattern of topics.")
    made.add_argument("--partition", type=int)
    made.add_argument("--offset", default="latest", help="earliest, latest or a number.")
    made.add_argument("--from-beginning", action="store_true")
    made.add_argument("--max-messages", type=int)
    made.add_argument("--timeout-ms", type=int)
    made.add_argument("--group")
    made.add_argument("--isolation-level", help=IGNORED)
    for name in ("--property", "--formatter-property"):
        made.add_argument(name, dest="property", action="append", metavar="KEY=VALUE")
    for name in ("--consumer-property", "--command-property"):
        made.add_argument(name, dest="consumer_property", action="append", metavar="KEY=VALUE")
    made.add_argument("--formatter", default=FORMATTERS[0], help=f"One of {', '.join(FORMATTERS)}.")
    made.add_argument("--formatter-config", type=property_file, metavar="FILE", help=FILE)
    for name in ("--key-deserializer", "--value-deserializer"):
        made.add_argument(
            name, default=DESERIALIZERS[0], help=f"Bytes are printed: {', '.join(DESERIALIZERS)}."
        )
    for name in ("--skip-message-on-error", "--enable-systest-events"):
        made.add_argument(name, action="store_true", help=IGNORED)
    asked = made.parse_args(context.args)
    if (asked.topic is None) == (asked.include is None):
        made.error("exactly one of --topic and --include")
    if asked.partition is not None and asked.include is not None:
        made.error("--partition needs --topic")
    if asked.offset not in ("earliest", "latest") and not asked.offset.isdecimal():
        made.error(f"--offset {asked.offset}: earliest, latest or a number")
    asked.formatter = last_word(made, "--formatter", asked.formatter, FORMATTERS)
    asked.property = properties(asked.property, asked.formatter_config)
    for option, name in (
        ("--key-deserializer", asked.key_deserializer),
        ("--value-deserializer", asked.value_deserializer),
        ("key.deserializer", asked.property.get("key.deserializer", DESERIALIZERS[0])),
        ("value.deserializer", asked.property.get("value.deserializer", DESERIALIZERS[0])),
    ):
        last_word(made, option, name, DESERIALIZERS)
    given = properties(asked.consumer_property, asked.config)
    group = asked.group or given.get("group.id")
    commits = given.get("enable.auto.commit", "true" if group else "false").lower()
    if asked.include and not group:
        # A pattern needs a group, and nobody asked for its positions to be kept.
        group = f"console-consumer-{random.randrange(100_000)}"
    reset = given.get(
        "auto.offset.reset", "earliest" if asked.from_beginning or not group else "latest"
    )
    if reset not in RESETS:
        made.error(f"auto.offset.reset={reset}: one of {', '.join(RESETS)}")
    asked.allows_new = given.get("allow.auto.create.topics", "true").lower() != "false"
    if commits not in ("true", "false"):
        made.error(f"enable.auto.commit={commits}: true or false")
    settings = {
        "group_id": group,
        "auto_offset_reset": RESETS[reset],
        "enable_auto_commit": commits == "true",
        "max_block_s": 10.0,
    }
    perform(asked.bootstrap_server, lambda doors: _consume(doors, asked, settings))


async def _consume(doors: str, asked: argparse.Namespace, settings: Any) -> int:
    from ottla.client.consumer import Consumer

    if asked.topic is not None and asked.allows_new:
        await make_missing(doors, asked.topic)
    count = 0
    try:
        async with Consumer(doors, **settings) as consumer:
            await _begin(consumer, asked, settings["group_id"])
            timeout_s = asked.timeout_ms / 1000 if asked.timeout_ms else 3600.0
            while asked.max_messages is None or count < asked.max_messages:
                room = 500 if asked.max_messages is None else asked.max_messages - count
                records = await consumer.poll(timeout_s, min(room, 500))
                if not records and asked.timeout_ms:
                    break
                for record in records:
                    if asked.formatter != NOTHING:
                        sys.stdout.buffer.write(formatted(record, asked.property))
                    count += 1
                sys.stdout.buffer.flush()
    finally:
        typer.echo(f"Processed a total of {count} messages", err=True)
    return 0


async def _begin(consumer: Any, asked: argparse.Namespace, group: str | None) -> None:
    if group and asked.partition is None:
        await consumer.subscribe(re.compile(asked.include) if asked.include else [asked.topic])
        return
    start: Any = "earliest" if asked.from_beginning else asked.offset
    if start not in ("earliest", "latest"):
        start = int(start)
    wanted = await consumer.partitions_of(asked.topic)
    if asked.partition is not None:
        count = len(wanted)
        wanted = [each for each in wanted if each.partition == asked.partition]
        if not wanted:
            raise ClientError(
                f"{asked.topic} has partitions 0 to {count - 1}; there is no partition {asked.partition}"
            )
    consumer.assign(wanted, start=start)


def formatted(record: ConsumerRecord, said: dict[str, str]) -> bytes:
    """As Kafka's DefaultMessageFormatter does."""

    def on(name: str, default: str = "false") -> bool:
        return said.get(name, default) in TRUE

    null = said.get("null.literal", "null").encode()
    between = unescaped(said.get("key.separator", "\\t"))
    parts: list[bytes] = []
    if on("print.timestamp"):
        parts.append(b"CreateTime:%d" % record.timestamp_ms)
    if on("print.partition"):
        parts.append(b"Partition:%d" % record.partition)
    if on("print.offset"):
        parts.append(b"Offset:%d" % record.offset)
    if on("print.headers"):
        headers = [
            key.encode() + b":" + (null if value is None else value)
            for key, value in record.headers
        ]
        separator = unescaped(said.get("headers.separator", ","))
        parts.append(separator.join(headers) if headers else b"NO_HEADERS")
    if on("print.key"):
        parts.append(null if record.key is None else record.key)
    if on("print.value", "true"):
        parts.append(null if record.value is None else record.value)
    return between.join(parts) + unescaped(said.get("line.separator", "\\n"))

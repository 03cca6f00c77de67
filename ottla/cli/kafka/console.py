"""`ottla kafka-console-producer` and `ottla kafka-console-consumer`: lines in, lines out."""

import argparse
import asyncio
import random
import re
import sys
from typing import TYPE_CHECKING, Any

import typer

from ottla.cli.kafka.options import (
    FILE,
    IGNORED,
    last_word,
    parser,
    perform,
    properties,
    property_file,
)
from ottla.client.errors import BrokerError, ClientError
from ottla.client.records import ConsumerRecord
from storage.errors import ErrorCode

if TYPE_CHECKING:
    from ottla.client.admin import Admin

TRUE = ("true", "1", "yes")
ACKS = {"-1": "all", "all": "all", "1": "leader", "0": "none"}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
RESETS = {"earliest": "earliest", "latest": "latest", "none": "error"}
PENDING_MAX = 10_000
READERS = ("LineMessageReader",)
NOTHING = "NoOpMessageFormatter"
FORMATTERS = ("DefaultMessageFormatter", NOTHING)
DESERIALIZERS = ("StringDeserializer", "ByteArrayDeserializer", "BytesDeserializer")
AUTO_CREATE = "auto.create.topics.enable"


def kafka_console_producer(context: typer.Context) -> None:
    """Kafka's ConsoleProducer."""
    made = parser(
        "kafka-console-producer", "Send the lines of standard input.", "--producer.config"
    )
    made.add_argument("--topic", required=True)
    made.add_argument("--sync", action="store_true")
    made.add_argument("--compression-codec", nargs="?", const="gzip", default="none")
    made.add_argument("--request-required-acks", default="all")
    made.add_argument("--timeout", type=float, default=1000, help="Of a batch, in milliseconds.")
    for name in ("--property", "--reader-property"):
        made.add_argument(name, dest="property", action="append", metavar="KEY=VALUE")
    for name in ("--producer-property", "--command-property"):
        made.add_argument(name, dest="producer_property", action="append", metavar="KEY=VALUE")
    for name in (
        *("--batch-size", "--max-block-ms", "--max-memory-bytes", "--max-partition-memory-bytes"),
        *("--message-send-max-retries", "--metadata-expiry-ms", "--request-timeout-ms"),
        *("--retry-backoff-ms", "--socket-buffer-size"),
    ):
        made.add_argument(name, help=IGNORED)
    made.add_argument("--line-reader", default=READERS[0], help=f"{READERS[0]} is all there is.")
    made.add_argument("--reader-config", type=property_file, metavar="FILE", help=FILE)
    asked = made.parse_args(context.args)
    last_word(made, "--line-reader", asked.line_reader, READERS)
    given = properties(asked.producer_property, asked.config)
    acks = given.get("acks", asked.request_required_acks)
    compression = given.get("compression.type", asked.compression_codec)
    if acks not in ACKS:
        made.error(f"acks={acks}: one of {', '.join(ACKS)}")
    if compression not in CODECS:
        made.error(f"compression.type={compression}: one of {', '.join(CODECS)}")
    settings = {"acks": ACKS[acks], "compression": compression, "max_block_s": 10.0}
    perform(asked.bootstrap_server, lambda doors: _produce(doors, asked, settings))


async def _produce(doors: str, asked: argparse.Namespace, settings: Any) -> int:
    from ottla.client.producer import Producer

    said = properties(asked.property, asked.reader_config)
    await _make_missing(doors, asked.topic)
    async with Producer(doors, **settings) as producer:
        pending: list[Any] = []
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            key, value, headers = _parsed(line.rstrip(b"\r\n"), said)
            pending.append(await producer.send(asked.topic, value, key=key, headers=headers))
            if asked.sync or len(pending) >= PENDING_MAX:
                await _all(pending)
        await _all(pending)
    return 0


async def _make_missing(doors: str, topic: str) -> None:
    """Kafka's tools make a topic by asking for it, as `auto.create.topics.enable` says; the gRPC door never does."""
    from ottla.client.admin import Admin
    from ottla.v1 import admin_pb2 as pb

    async with Admin(doors) as admin:
        if await _is_there(admin, topic):
            return
        cluster = await admin.configs(pb.ConfigResource(type=pb.RESOURCE_TYPE_BROKER))
        if any(each.name == AUTO_CREATE and each.value == "true" for each in cluster):
            try:
                await admin.create_topic(topic)
            except BrokerError as error:
                if error.code != ErrorCode.TOPIC_ALREADY_EXISTS:
                    raise


async def _is_there(admin: "Admin", topic: str) -> bool:
    try:
        await admin.topics([topic])
    except BrokerError as error:
        if error.code != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            raise
        return False
    return True


async def _all(pending: list[Any]) -> None:
    for each in pending:
        await each
    pending.clear()


def _parsed(
    line: bytes, said: dict[str, str]
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]:
    """[headers\\t][key\\t]value, as far as asked for."""
    headers: list[tuple[str, bytes | None]] = []
    if said.get("parse.headers") in TRUE:
        found, line = _cut(line, said.get("headers.delimiter", "\\t"), "headers")
        for each in found.split(said.get("headers.separator", ",").encode()):
            name, _, text = each.partition(said.get("headers.key.separator", ":").encode())
            headers.append((name.decode(), text))
    key: bytes | None = None
    if said.get("parse.key") in TRUE:
        key, line = _cut(line, said.get("key.separator", "\\t"), "key")
    nothing = said.get("null.marker")
    marker = None if nothing is None else nothing.encode()
    return (None if key == marker else key), (None if line == marker else line), headers


def _cut(line: bytes, separator: str, what: str) -> tuple[bytes, bytes]:
    head, found, rest = line.partition(_text(separator))
    if not found:
        raise ClientError(f"no {what} found in {line[:60].decode(errors='replace')!r}")
    return head, rest


def _text(said: str) -> bytes:
    return said.replace("\\t", "\t").replace("\\n", "\n").encode()


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
        await _make_missing(doors, asked.topic)
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
    between = _text(said.get("key.separator", "\\t"))
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
        separator = _text(said.get("headers.separator", ","))
        parts.append(separator.join(headers) if headers else b"NO_HEADERS")
    if on("print.key"):
        parts.append(null if record.key is None else record.key)
    if on("print.value", "true"):
        parts.append(null if record.value is None else record.value)
    return between.join(parts) + _text(said.get("line.separator", "\\n"))

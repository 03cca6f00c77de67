"""`ottla kafka-console-producer`: lines in."""

import argparse
import asyncio
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

ACKS = {"-1": "all", "all": "all", "1": "leader", "0": "none"}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PENDING_MAX = 10_000
READERS = ("LineMessageReader",)


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
    await make_missing(doors, asked.topic)
    async with Producer(doors, **settings) as producer:
        pending: list[Any] = []
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            key, value, headers = _parsed(line.rstrip(b"\r\n"), said)
            pending.append(await producer.send(asked.topic, value, key=key, headers=headers))
            if asked.sync or len(pending) >= PENDING_MAX:
                await _all(pending)
        await _all(pending)
    return 0


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
    head, found, rest = line.partition(unescaped(separator))
    if not found:
        raise ClientError(f"no {what} found in {line[:60].decode(errors='replace')!r}")
    return head, rest

"""`ottla produce`, `ottla consume`, `ottla offsets`: records at the terminal."""

import sys
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from ottla.cli import common

Topic = Annotated[str, typer.Argument(metavar="TOPIC")]
# Lines read from standard input at a time, so that a pipe streams and a terminal answers line by line.
PENDING_MAX = 10_000
PATIENCE_S = 2.0


class Codec(StrEnum):
    """Compression of batches."""

    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    LZ4 = "lz4"
    ZSTD = "zstd"


def produce(
    topic: Topic,
    key_separator: Annotated[
        str,
        typer.Option(
            "--key-separator",
            "-k",
            help="Text before it is the key: with ':' a:b is key a, value b.",
        ),
    ] = "",
    partition: Annotated[
        int | None, typer.Option("--partition", "-p", help="By default the key decides.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header", "-H", metavar="KEY=VALUE", help="On every record; may be repeated."
        ),
    ] = None,
    compression: Annotated[Codec, typer.Option("--compression", "-z")] = Codec.NONE,
    acks: Annotated[str, typer.Option(help="all, leader or none.")] = "all",
    max_block: Annotated[
        float, typer.Option(help="Seconds to wait for the topic to be known.")
    ] = 5.0,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Send the lines of standard input, one record each.

    Example: echo 'apple:one' | ottla produce orders -k :
    With --json, prints topic, partition and offset of every record.
    """
    from ottla.client.producer import Producer

    if acks not in ("all", "leader", "none"):
        raise typer.BadParameter("all, leader or none", param_hint="--acks")
    headers = [
        (key, value.encode())
        for key, value in common.parse_assignments("--header", header or []).items()
    ]

    async def work() -> int:
        sent = 0
        settings: Any = {"acks": acks, "compression": compression.value, "max_block_s": max_block}
        async with Producer(bootstrap, **settings) as producer:
            await producer.partitions_for(topic)
            pending: list[Any] = []
            async for line in _lines():
                key, value = _split(line, key_separator, sent)
                pending.append(
                    await producer.send(topic, value, key=key, partition=partition, headers=headers)
                )
                sent += 1
                if len(pending) >= PENDING_MAX:
                    await _settle(producer, pending, json)
            await _settle(producer, pending, json)
        return sent

    sent = common.run(work())
    if not json:
        typer.echo(f"sent {sent} record{'s' * (sent != 1)} to {topic}", err=True)


async def _settle(producer: Any, pending: list[Any], json: bool) -> None:
    for delivery in pending:
        await _patiently(producer, delivery)
        found = await delivery
        if json:
            typer.echo(
                f'{{"topic":"{found.topic}","partition":{found.partition},"offset":{found.offset}}}'
            )
    pending.clear()


async def _patiently(producer: Any, delivery: Any) -> None:
    """Wait for one delivery; when that takes long, say once why."""
    import asyncio

    if delivery.done():
        return
    done, _ = await asyncio.wait([delivery.batch.done], timeout=PATIENCE_S)
    if not done:
        typer.echo(
            f"ottla: waiting for acknowledgement: {producer.trouble or 'no answer yet'}", err=True
        )


async def _lines() -> Any:
    import asyncio

    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        yield line.removesuffix(b"\n")


def _split(line: bytes, separator: str, before: int) -> tuple[bytes | None, bytes]:
    if not separator:
        return None, line
    key, found, value = line.partition(separator.encode())
    if not found:
        common.fail(
            f"line {before + 1}, {line[:60].decode(errors='replace')!r}, has no key separator {separator!r}; the "
            f"{before} before it are sent. Leave --key-separator out for no keys"
        )
    return key, value


def consume(
    topic: Topic,
    partition: Annotated[
        list[int] | None, typer.Option("--partition", "-p", help="May be repeated; all by default.")
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start with the oldest record.")
    ] = False,
    offset: Annotated[
        str,
        typer.Option(
            "--offset",
            "-o",
            help="Where to start: earliest, latest, a number, or -N for the last N.",
        ),
    ] = "",
    timestamp: Annotated[
        str,
        typer.Option(
            "--timestamp",
            "-t",
            help="Start at a time: 2026-11-23T12:00:00 or milliseconds since 1970.",
        ),
    ] = "",
    max_messages: Annotated[
        int | None, typer.Option("--max-messages", "-n", help="Stop after so many.")
    ] = None,
    exit_at_end: Annotated[
        bool, typer.Option("--exit", "-e", help="Stop at the end, do not wait for more.")
    ] = False,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="What to print of a record: %t topic, %p partition, %o offset, %T timestamp (ms), %k key, %v value, "
            "%h headers, %% a percent sign; \\n and \\t as usual.",
        ),
    ] = "%v\\n",
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Print records, from now on or from where you say.

    Examples: ottla consume orders --from-beginning -e; ottla consume orders -o -10 -f '%o %k %v\\n'
    """
    from ottla.cli.printing import Printer
    from ottla.cli.reading import read

    if sum((from_beginning, bool(offset), bool(timestamp))) > 1:
        raise typer.BadParameter("choose one of --from-beginning, --offset, --timestamp")
    start = "earliest" if from_beginning else _start(offset, timestamp)
    printer = Printer(sys.stdout.buffer, "json" if json else format_)
    common.run(
        read(
            bootstrap,
            topic,
            partitions=partition,
            start=start,
            max_messages=max_messages,
            exit_at_end=exit_at_end,
            show=printer.show,
        )
    )


def _start(offset: str, timestamp: str) -> Any:
    if timestamp:
        return ("timestamp", _milliseconds(timestamp))
    if not offset or offset == "latest":
        return "latest"
    if offset == "earliest":
        return "earliest"
    try:
        return int(offset)
    except ValueError:
        raise typer.BadParameter(
            f"{offset!r} is none of earliest, latest, a number, -N", param_hint="--offset"
        ) from None


def _milliseconds(text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1000)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither like 2026-11-23T12:00:00 nor milliseconds",
            param_hint="--timestamp",
        ) from None


def offsets(
    topic: Topic,
    timestamp: Annotated[
        str, typer.Option("--timestamp", "-t", help="Also the first offset at or after this time.")
    ] = "",
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Earliest and latest offset of each partition, and the first one at a time."""
    from ottla.client.admin import Admin
    from ottla.client.offsets import OffsetSpec

    when = _milliseconds(timestamp) if timestamp else None

    async def work() -> list[dict[str, Any]]:
        async with Admin(bootstrap) as admin:
            found = (await admin.topics([topic]))[0]
            numbers = [each.partition for each in found.partitions]
            answers = {}
            for name, spec in _specs(OffsetSpec, when):
                answers[name] = await admin.offsets({(topic, number): spec for number in numbers})
            return [
                {
                    "partition": number,
                    **{name: rows[topic, number].offset for name, rows in answers.items()},
                }
                for number in numbers
            ]

    rows = common.ask(work())
    if json:
        common.print_json(rows)
        return
    columns = list(rows[0]) if rows else ["partition"]
    common.print_table(
        [name.upper() for name in columns], [[row[name] for name in columns] for row in rows]
    )


def _specs(spec: Any, when: int | None) -> Iterator[tuple[str, Any]]:
    yield "earliest", spec.EARLIEST
    yield "latest", spec.LATEST
    if when is not None:
        yield "at_timestamp", when

"""`ottla kafka-consumer-groups`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from ottla.cli.groups import STATES, TYPES
from ottla.cli.kafka.options import IGNORED, one_of, parser, perform

SCENARIOS = ("to-earliest", "to-latest", "to-current")


def kafka_consumer_groups(context: typer.Context) -> None:
    """Kafka's ConsumerGroupCommand."""
    made = parser("kafka-consumer-groups", "List, describe, delete groups; move their positions.")
    one_of(made, "list", "describe", "delete", "reset-offsets", "delete-offsets")
    made.add_argument("--group", action="append", default=[])
    made.add_argument("--all-groups", action="store_true")
    made.add_argument("--topic", action="append", default=[], metavar="TOPIC[:0,1]")
    for flag in ("all-topics", "members", "offsets", "verbose", "dry-run", "execute", "export"):
        made.add_argument(f"--{flag}", action="store_true")
    made.add_argument("--state", nargs="?", const="", default=None)
    made.add_argument("--type", nargs="?", const="", default=None)
    made.add_argument("--timeout", help=IGNORED)
    for flag in SCENARIOS:
        made.add_argument(f"--{flag}", action="store_true")
    made.add_argument("--to-offset", type=int)
    made.add_argument("--shift-by", type=int)
    made.add_argument("--to-datetime", default="")
    made.add_argument("--by-duration", default="")
    made.add_argument("--from-file", type=Path)
    asked = made.parse_args(context.args)
    for name, words, known in (
        ("state", _words(asked.state), STATES),
        ("type", _words(asked.type), TYPES),
    ):
        if not {each.lower() for each in words} <= {each.lower() for each in known}:
            made.error(
                f"Invalid {name} list '{getattr(asked, name)}'. Valid {name}s are: {', '.join(known)}"
            )
    if not asked.list and not asked.group and not asked.all_groups:
        made.error("--group or --all-groups is needed")
    work = (
        _list
        if asked.list
        else _describe
        if asked.describe
        else _delete
        if asked.delete
        else _delete_offsets
    )
    if asked.reset_offsets:
        try:
            wanted = _wanted(asked)
        except typer.BadParameter as error:
            made.error(f"{error.param_hint or '--reset-offsets'}: {error.message}")
        _reset(asked, wanted)
    else:
        perform(asked.bootstrap_server, lambda doors: work(doors, asked))


async def _list(doors: str, asked: argparse.Namespace) -> int:
    from ottla.client.admin import Admin

    async with Admin(doors) as admin:
        found = await admin.groups(_words(asked.state), _words(asked.type))
    if asked.state is None and asked.type is None:
        for each in found:
            typer.echo(each.group_id)
        return 0
    heads = ["GROUP"] + ["TYPE"] * (asked.type is not None) + ["STATE"] * (asked.state is not None)
    _columns(
        heads,
        [
            [
                each.group_id,
                *([each.type.capitalize()] * (asked.type is not None)),
                *([each.state] * (asked.state is not None)),
            ]
            for each in found
        ],
    )
    return 0


async def _describe(doors: str, asked: argparse.Namespace) -> int:
    from ottla.cli.groups import now_ms
    from ottla.client.admin import Admin
    from ottla.client.errors import BrokerError
    from ottla.client.group_survey import survey
    from storage.errors import ErrorCode

    code = 0
    async with Admin(doors) as admin:
        for name in asked.group or [each.group_id for each in await admin.groups()]:
            try:
                facts = await survey(admin, name, now_ms())
            except BrokerError as error:
                if error.code != ErrorCode.GROUP_ID_NOT_FOUND:
                    raise
                typer.echo(f"Error: Consumer group '{name}' does not exist.", err=True)
                code = 1
                continue
            if not facts.members:
                typer.echo(f"\nConsumer group '{name}' has no active members.", err=True)
            _show(facts, asked)
    return code


def _show(facts: Any, asked: argparse.Namespace) -> None:
    typer.echo("")
    if asked.state is not None:
        _columns(
            ("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"),
            [
                (
                    facts.group_id,
                    f"({facts.coordinator})",
                    facts.assignor or "-",
                    facts.state,
                    len(facts.members),
                )
            ],
        )
    elif asked.members:
        _columns(
            ("GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"),
            [
                (facts.group_id, each.member_id, each.host, each.client_id, len(each.partitions))
                for each in facts.members
            ],
        )
    else:
        _columns(
            (
                *("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"),
                *("CONSUMER-ID", "HOST", "CLIENT-ID"),
            ),
            [
                (
                    facts.group_id,
                    *each.where,
                    each.committed if each.committed >= 0 else "-",
                    each.end if each.end >= 0 else "-",
                    "-" if each.lag is None else each.lag,
                    *(
                        (each.member.member_id, each.member.host, each.member.client_id)
                        if each.member
                        else ("-", "-", "-")
                    ),
                )
                for each in facts.partitions
            ],
        )


def _columns(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [list(heads), *([str(each) for each in row] for row in rows)]
    widths = [
        max(10 if head == "PARTITION" else 15, *(len(line[column]) for line in lines))
        for column, head in enumerate(heads)
    ]
    widths[-1] = 0
    for line in lines:
        typer.echo(" ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


async def _delete(doors: str, asked: argparse.Namespace) -> int:
    from ottla.client.admin import Admin
    from ottla.client.errors import BrokerError

    failed: list[str] = []
    done: list[str] = []
    async with Admin(doors) as admin:
        for name in asked.group or [each.group_id for each in await admin.groups()]:
            try:
                await admin.delete_group(name)
                done.append(f"'{name}'")
            except BrokerError as error:
                failed.append(f"* Group '{name}' could not be deleted due to: {error}")
    if failed:
        typer.echo(
            "\n".join(["Error: Deletion of some consumer groups failed:", *failed]), err=True
        )
    if done:
        typer.echo(f"Deletion of requested consumer groups ({', '.join(done)}) was successful.")
    return bool(failed)


async def _delete_offsets(doors: str, asked: argparse.Namespace) -> int:
    from ottla.cli.groups import topics_wanted
    from ottla.client.admin import Admin

    wanted = topics_wanted(asked.topic)
    async with Admin(doors) as admin:
        known = await admin.group_offsets(asked.group[0])
        partitions = [
            each
            for each in known
            if each.topic in wanted
            and (wanted[each.topic] is None or each.partition in (wanted[each.topic] or ()))
        ]
        outcome = await admin.delete_group_offsets(asked.group[0], partitions)
    _columns(
        ("TOPIC", "PARTITION", "STATUS"),
        [
            (*where, f"Error: {error}" if error else "Successful")
            for where, error in outcome.items()
        ],
    )
    return any(outcome.values())


def _reset(asked: argparse.Namespace, wanted: Any) -> None:
    from ottla.cli import reset_offsets

    moves: list[Any] = []

    async def work(doors: str) -> int:
        moves.extend(await reset_offsets.moves(doors, wanted))
        return 0

    perform(asked.bootstrap_server, work)
    if asked.export:
        from ottla.client.offset_reset import exported

        several = len({each.group_id for each in moves}) > 1
        typer.echo(exported(moves, with_group=several), nl=False)
        return
    if not asked.execute and not asked.dry_run:
        typer.echo(
            "WARN: No action will be performed as the --execute option is missing.", err=True
        )
    typer.echo("")
    _columns(
        ("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"),
        [(each.group_id, *each.where, each.after) for each in moves],
    )


def _wanted(asked: argparse.Namespace) -> Any:
    from ottla.cli.reset_offsets import Wanted

    return Wanted.of(
        group=asked.group,
        topic=asked.topic,
        all_topics=asked.all_topics,
        to_earliest=asked.to_earliest,
        to_latest=asked.to_latest,
        to_current=asked.to_current,
        to_offset=asked.to_offset,
        shift_by=asked.shift_by,
        to_datetime=asked.to_datetime,
        by_duration=asked.by_duration,
        from_file=asked.from_file,
        execute=asked.execute,
    )


def _words(text: str | None) -> list[str]:
    return [each.strip() for each in (text or "").split(",") if each.strip()]

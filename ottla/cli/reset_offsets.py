"""`ottla groups reset-offsets`: a plan first, moved only with --execute."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from ottla.cli import common
from ottla.cli.groups import AllGroups, Groups, names, need_groups, now_ms, topics_wanted

Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="TOPIC[:0,1]", help="Where; may be repeated."),
]
AllTopics = Annotated[bool, typer.Option("--all-topics", help="Wherever the group has positions.")]
ToEarliest = Annotated[bool, typer.Option("--to-earliest", help="The first record.")]
ToLatest = Annotated[bool, typer.Option("--to-latest", help="The end.")]
ToCurrent = Annotated[
    bool, typer.Option("--to-current", help="As it is; the end where nothing is committed.")
]
ToOffset = Annotated[int | None, typer.Option(metavar="OFFSET", help="One offset.")]
ShiftBy = Annotated[
    int | None, typer.Option(metavar="N", help="Forward, or back with a negative number.")
]
ToDatetime = Annotated[
    str, typer.Option(metavar="YYYY-MM-DDTHH:MM:SS", help="By time; UTC without a zone.")
]
ByDuration = Annotated[str, typer.Option(metavar="PnDTnHnMnS", help="By time, so long ago.")]
FromFile = Annotated[
    Path | None,
    typer.Option(metavar="CSV", help="What --export has written.", exists=True, dir_okay=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")]
Execute = Annotated[bool, typer.Option("--execute", help="Do it.")]
Export = Annotated[bool, typer.Option("--export", help="Print the plan as CSV for --from-file.")]


def reset_offsets(
    group: Groups = None,
    all_groups: AllGroups = False,
    topic: Topics = None,
    all_topics: AllTopics = False,
    to_earliest: ToEarliest = False,
    to_latest: ToLatest = False,
    to_current: ToCurrent = False,
    to_offset: ToOffset = None,
    shift_by: ShiftBy = None,
    to_datetime: ToDatetime = "",
    by_duration: ByDuration = "",
    from_file: FromFile = None,
    dry_run: DryRun = False,
    execute: Execute = False,
    export: Export = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Move the positions of groups that nobody reads with at the moment.

    Example: ottla groups reset-offsets billing --topic orders --to-datetime 2026-11-01T00:00:00 --execute
    """
    from ottla.client.offset_reset import exported

    need_groups(group, all_groups)
    if dry_run and execute:
        raise typer.BadParameter("--dry-run or --execute")
    found = common.ask(
        moves(
            bootstrap,
            Wanted.of(
                group=group,
                topic=topic,
                all_topics=all_topics,
                to_earliest=to_earliest,
                to_latest=to_latest,
                to_current=to_current,
                to_offset=to_offset,
                shift_by=shift_by,
                to_datetime=to_datetime,
                by_duration=by_duration,
                from_file=from_file,
                execute=execute,
            ),
        )
    )
    several = len({each.group_id for each in found}) > 1
    _show(found, exported(found, with_group=several), export, json)
    if not execute and not dry_run and not export and not json:
        typer.echo("nothing was moved: add --execute to do it", err=True)


class Wanted(NamedTuple):
    """What is to be moved where. groups None: all; time_ms -1: not by time; file: the content of a CSV."""

    groups: list[str] | None
    topics: Mapping[str, list[int] | None]
    scenario: Any
    number: int
    time_ms: int
    file: str | None
    execute: bool

    @classmethod
    def of(cls, **asked: Any) -> "Wanted":
        """From the options of a command line. Ends with usage help."""
        from ottla.client.offset_reset import Scenario

        to_offset, shift_by, from_file = asked["to_offset"], asked["shift_by"], asked["from_file"]
        to_datetime, by_duration = asked["to_datetime"], asked["by_duration"]
        given = {
            Scenario.EARLIEST: asked["to_earliest"],
            Scenario.LATEST: asked["to_latest"],
            Scenario.CURRENT: asked["to_current"],
            Scenario.OFFSET: to_offset is not None,
            Scenario.SHIFT: shift_by is not None,
            Scenario.TIME: bool(to_datetime) + bool(by_duration),
            Scenario.FILE: from_file is not None,
        }
        if sum(given.values()) != 1:
            raise typer.BadParameter(
                "exactly one of --to-earliest, --to-latest, --to-current, --to-offset, --shift-by, --to-datetime, "
                "--by-duration and --from-file"
            )
        scenario = next(each for each, wanted in given.items() if wanted)
        if scenario is not Scenario.FILE and bool(asked["topic"]) == asked["all_topics"]:
            raise typer.BadParameter("name topics with --topic, or give --all-topics")
        return cls(
            asked["group"] or None,
            topics_wanted(asked["topic"] or []),
            scenario,
            to_offset if to_offset is not None else shift_by or 0,
            _time_ms(to_datetime, by_duration),
            from_file.read_text(encoding="utf-8") if from_file is not None else None,
            asked["execute"],
        )


def _time_ms(to_datetime: str, by_duration: str) -> int:
    from ottla.client.offset_reset import datetime_ms, duration_ms

    try:
        if to_datetime:
            return datetime_ms(to_datetime)
        return now_ms() - duration_ms(by_duration) if by_duration else -1
    except ValueError as error:
        hint = "--to-datetime" if to_datetime else "--by-duration"
        raise typer.BadParameter(str(error), param_hint=hint) from None


async def moves(bootstrap: str, asked: Wanted) -> list[Any]:
    """The plan, carried out when that is wanted. Raises ClientError for groups that have members."""
    from ottla.client.admin import Admin
    from ottla.client.offset_reset import imported, planned

    async with Admin(bootstrap) as admin:
        chosen = await names(admin, asked.groups)
        files = imported(asked.file, chosen) if asked.file is not None else {}
        found: list[Any] = []
        for name in chosen:
            await _require_inactive(admin, name)
            committed = await admin.group_offsets(name)
            wanted = (
                list(files.get(name, {}))
                if asked.file is not None
                else await _partitions(admin, asked.topics, committed)
            )
            known = await _known(admin, name, wanted, committed, asked.time_ms)
            found += planned(
                name, asked.scenario, known, number=asked.number, offsets=files.get(name)
            )
        for name in chosen if asked.execute else ():
            after = {each.where: each.after for each in found if each.group_id == name}
            if after:
                await admin.alter_group_offsets(name, after)
        return found


async def _require_inactive(admin: Any, name: str) -> None:
    from ottla.client.errors import BrokerError, ClientError
    from storage.errors import ErrorCode

    try:
        state = (await admin.describe_group(name)).state
    except BrokerError as error:
        if error.code == ErrorCode.GROUP_ID_NOT_FOUND:
            # A group may begin with positions.
            return
        raise
    if state not in ("Empty", "Dead"):
        raise ClientError(
            f"group {name} is {state}: positions are moved only while nobody reads; stop its members first"
        )


async def _partitions(
    admin: Any, topics: Mapping[str, list[int] | None], committed: Mapping[Any, Any]
) -> list[Any]:
    from ottla.client.records import TopicPartition

    if not topics:
        return list(committed)
    found = []
    for topic in await admin.topics(list(topics)):
        numbers = topics[topic.name]
        if numbers is None:
            numbers = [each.partition for each in topic.partitions]
        found += [TopicPartition(topic.name, each) for each in numbers]
    return found


async def _known(
    admin: Any, name: str, wanted: list[Any], committed: Mapping[Any, Any], time_ms: int
) -> dict[Any, Any]:
    from ottla.client.errors import ClientError
    from ottla.client.group_survey import partitions
    from ottla.client.offset_reset import Known

    found = await partitions(admin, wanted, committed, {})
    for each in found:
        if each.leader < 0:
            state = "has no leader at the moment" if each.exists else "does not exist"
            raise ClientError(
                f"{each.where.topic}-{each.where.partition} {state}; choose others with --topic (group {name})"
            )
    by_time = {}
    if time_ms >= 0 and wanted:
        by_time = await admin.offsets(dict.fromkeys(wanted, time_ms))
    return {
        each.where: Known(
            each.committed,
            each.start,
            each.end,
            by_time[each.where].offset if each.where in by_time else -1,
        )
        for each in found
    }


def _show(found: list[Any], csv: str, export: bool, json: bool) -> None:
    if json:
        common.print_json(
            [
                {
                    "group": each.group_id,
                    "topic": each.where.topic,
                    "partition": each.where.partition,
                    "before": each.before if each.before >= 0 else None,
                    "after": each.after,
                    "note": each.note,
                }
                for each in found
            ]
        )
    elif export:
        typer.echo(csv, nl=False)
    else:
        common.print_table(
            ["GROUP", "TOPIC", "PARTITION", "OLD-OFFSET", "NEW-OFFSET"],
            [
                (
                    each.group_id,
                    *each.where,
                    each.before if each.before >= 0 else None,
                    each.after,
                )
                for each in found
            ],
        )
        for each in found:
            if each.note:
                typer.echo(f"{each.where.topic}-{each.where.partition}: {each.note}", err=True)

"""`ottla topics elect`: preferred leaders at once, and the choice of a leader that may lack records."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ottla.cli import common

if TYPE_CHECKING:
    from ottla.client.admin import Admin


def elect(
    partition: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TOPIC[:PARTITION]]...", help="None: wherever it is needed."),
    ] = None,
    unclean: Annotated[
        bool,
        typer.Option(
            "--unclean",
            help="Where there is no leader, take any live replica, even one that lacks acknowledged records: THEY ARE "
            "LOST THEN.",
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before an unclean election.")
    ] = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Elect preferred leaders now; with --unclean, a leader where none is left that has everything.

    Examples: ottla topics elect; ottla topics elect orders; ottla topics elect --unclean risky:0

    Exit code 1 if an election failed; one that was not needed is no failure.
    """
    named = [_parse(each) for each in partition or []]

    async def work() -> list[dict[str, Any]]:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            return await _elect(admin, named, unclean=unclean, yes=yes)

    rows = common.run(work())
    if json:
        common.print_json(rows)
    elif not rows:
        typer.echo("no partition needs an election")
    else:
        common.print_table(
            ["PARTITION", "LEADER", "RESULT"],
            [
                (f"{row['topic']}-{row['partition']}", row["leader"], row["error"] or row["result"])
                for row in rows
            ],
        )
    if any(row["result"] == "failed" for row in rows):
        raise typer.Exit(1)


async def _elect(
    admin: "Admin", named: Sequence[tuple[str, int | None]], *, unclean: bool, yes: bool
) -> list[dict[str, Any]]:
    topics = await admin.topics(sorted({topic for topic, _ in named}))
    whole = {topic for topic, number in named if number is None}
    single = [(topic, number) for topic, number in named if number is not None]
    needing = [
        (topic.name, each.partition)
        for topic in topics
        for each in topic.partitions
        if (each.leader_id < 0 if unclean else each.leader_id != each.replicas[0])
        and (not named or topic.name in whole)
    ]
    wanted = list(dict.fromkeys(single + needing))
    if not wanted:
        return []
    if unclean and not yes:
        _ask(wanted)
    return [_row(each) for each in await admin.elect_leaders(wanted, unclean=unclean)]


def _ask(wanted: Sequence[tuple[str, int]]) -> None:
    names = ", ".join(f"{topic}-{number}" for topic, number in wanted)
    typer.echo(
        f"Unclean election in {names}: records that only the dead replicas hold are lost for good.",
        err=True,
    )
    if not sys.stdin.isatty():
        common.fail(
            "an unclean election was not confirmed: standard input is no terminal; give --yes"
        )
    if not typer.confirm("Lose them?", err=True):
        common.fail("nothing was changed")


def _row(found: Any) -> dict[str, Any]:
    from storage.errors import ErrorCode

    if found.error.code == ErrorCode.ELECTION_NOT_NEEDED:
        result = "not needed"
    else:
        result = "failed" if found.error.message else "elected"
    return {
        "topic": found.topic,
        "partition": found.partition,
        "leader": found.leader_id if result == "elected" else None,
        "result": result,
        "error": found.error.message or None,
    }


def _parse(text: str) -> tuple[str, int | None]:
    topic, colon, number = text.partition(":")
    if not colon:
        return topic, None
    if not number.isdigit() or not topic:
        raise typer.BadParameter(f"{text!r} is not like orders or orders:0")
    return topic, int(number)

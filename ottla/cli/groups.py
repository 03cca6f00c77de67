"""`ottla groups`: who reads what, how far, and why it is not moving; positions moved and forgotten."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ottla.cli import common

app = typer.Typer(no_args_is_help=True, help="Consumer groups: look at them, move their positions.")

Groups = Annotated[
    list[str] | None, typer.Argument(metavar="[GROUP]...", help="None: see --all-groups.")
]
AllGroups = Annotated[bool, typer.Option("--all-groups", help="Every group that there is.")]
READS = "Stable"
STATES = (
    *("Empty", "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling"),
    *("Stable", "Dead"),
)
TYPES = ("classic", "consumer")


@app.command(name="list")
def list_(
    state: Annotated[
        str,
        typer.Option(metavar="STATE[,STATE]", help="Only these, as Stable or Empty, any case."),
    ] = "",
    type_: Annotated[
        str, typer.Option("--type", metavar="TYPE[,TYPE]", help="Only these: classic, consumer.")
    ] = "",
    verbose: Annotated[bool, typer.Option(help="With type, state and protocol.")] = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Names of all groups.

    Example: ottla groups list --state empty
    """
    from ottla.client.admin import Admin

    states, types = words_of("--state", state, STATES), words_of("--type", type_, TYPES)

    async def work() -> list[Any]:
        async with Admin(bootstrap) as admin:
            return await admin.groups(states, types)

    found = common.ask(work())
    if json:
        common.print_json(
            [
                {
                    "group": each.group_id,
                    "type": each.type,
                    "state": each.state,
                    "protocol_type": each.protocol_type,
                }
                for each in found
            ]
        )
    elif verbose or state or type_:
        common.print_table(
            ["GROUP", "TYPE", "STATE", "PROTOCOL"],
            [(each.group_id, each.type, each.state, each.protocol_type or "-") for each in found],
        )
    else:
        for each in found:
            typer.echo(each.group_id)


@app.command()
def describe(
    group: Groups = None,
    all_groups: AllGroups = False,
    offsets: Annotated[
        bool, typer.Option("--offsets", help="Positions and lag; what is shown anyway.")
    ] = False,
    members: Annotated[
        bool, typer.Option("--members", help="Members instead of positions.")
    ] = False,
    state: Annotated[
        bool, typer.Option("--state", help="State, coordinator and assignor instead.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option(help="More: partitions of members, epochs and times of positions.")
    ] = False,
    sample_s: Annotated[
        float,
        typer.Option(help="Look twice, so many seconds apart, at a group that has lag; 0: once."),
    ] = 1.0,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Positions, lag and readers of groups, and why a group is not moving.

    Example: ottla groups describe billing
    """
    from ottla.cli.groups_output import as_json, print_group
    from ottla.client.admin import Admin
    from ottla.client.group_diagnosis import diagnose
    from ottla.client.group_survey import survey

    need_groups(group, all_groups)
    if sum((offsets, members, state)) > 1:
        raise typer.BadParameter("one of --offsets, --members and --state")

    async def work() -> list[Any]:
        async with Admin(bootstrap) as admin:
            first = [await survey(admin, name, now_ms()) for name in await names(admin, group)]
            lagging = [each for each in first if each.lag and each.state == READS]
            if not lagging or sample_s <= 0:
                return [(each, diagnose(each)) for each in first]
            await asyncio.sleep(sample_s)
            found = []
            for each in first:
                if each not in lagging:
                    found.append((each, diagnose(each)))
                    continue
                again = await survey(admin, each.group_id, now_ms())
                found.append((again, diagnose(again, each)))
            return found

    found = common.ask(work())
    if json:
        common.print_json([as_json(facts, why) for facts, why in found])
        return
    part = "members" if members else "state" if state else "offsets"
    for facts, why in found:
        print_group(facts, why, part, verbose=verbose)


@app.command()
def delete(
    group: Groups = None,
    all_groups: AllGroups = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Delete groups without members, and their positions.

    Example: ottla groups delete billing
    """
    from ottla.client.admin import Admin
    from ottla.client.errors import BrokerError

    need_groups(group, all_groups)

    async def work() -> list[tuple[str, str]]:
        results = []
        async with Admin(bootstrap) as admin:
            for name in await names(admin, group):
                try:
                    await admin.delete_group(name)
                except BrokerError as error:
                    results.append((name, str(error)))
                else:
                    results.append((name, ""))
        return results

    _report_each(common.ask(work()), "deleted", json=json)


@app.command(name="delete-offsets")
def delete_offsets(
    group: Annotated[str, typer.Argument(metavar="GROUP")],
    topic: Annotated[
        list[str],
        typer.Option("--topic", metavar="TOPIC[:0,1]", help="Whose positions; may be repeated."),
    ],
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Forget a group's positions in topics that no member of it reads.

    Example: ottla groups delete-offsets billing --topic orders:0,1
    """
    from ottla.client.admin import Admin
    from ottla.client.errors import ClientError

    wanted = topics_wanted(topic)

    async def work() -> list[tuple[str, str]]:
        async with Admin(bootstrap) as admin:
            known = await admin.group_offsets(group)
            partitions = [
                each
                for each in known
                if each.topic in wanted
                and (wanted[each.topic] is None or each.partition in (wanted[each.topic] or ()))
            ]
            if not partitions:
                raise ClientError(f"group {group} has no positions there")
            outcome = await admin.delete_group_offsets(group, partitions)
            return [
                (f"{where.topic}-{where.partition}", str(refusal or ""))
                for where, refusal in outcome.items()
            ]

    _report_each(common.ask(work()), "deleted", json=json)


def _report_each(results: Sequence[tuple[str, str]], done: str, *, json: bool) -> None:
    """What became of each; exit code 1 when one was refused."""
    if json:
        common.print_json([{"name": name, done: not why, "error": why} for name, why in results])
    for name, why in results:
        if why:
            typer.echo(f"ottla: {name}: {why}", err=True)
        elif not json:
            typer.echo(f"{done} {name}")
    if any(why for _, why in results):
        raise typer.Exit(1)


def need_groups(group: Sequence[str] | None, all_groups: bool) -> None:
    """Ends with usage help unless some are named, or all."""
    if bool(group) == all_groups:
        raise typer.BadParameter("name groups, or give --all-groups")


async def names(admin: Any, group: Sequence[str] | None) -> list[str]:
    """Those that are named, or all that there are."""
    return list(group) if group else [each.group_id for each in await admin.groups()]


def topics_wanted(topic: Sequence[str]) -> dict[str, list[int] | None]:
    """Topic -> partitions, None for all. Ends with usage help."""
    from ottla.client.offset_reset import chosen

    try:
        return dict(chosen(each) for each in topic)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--topic") from None


def words_of(hint: str, text: str, known: Sequence[str]) -> list[str]:
    """Words with commas between, each of them a known one in any case. Ends with usage help."""
    words = [each.strip() for each in text.split(",") if each.strip()]
    for each in words:
        if each.lower() not in [one.lower() for one in known]:
            raise typer.BadParameter(f"{each!r} is none of {', '.join(known)}", param_hint=hint)
    return words


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000

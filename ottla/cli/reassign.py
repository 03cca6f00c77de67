"""`ottla topics reassign` and `ottla topics reassignments`: replicas move between brokers, and how far they are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ottla.cli import common

if TYPE_CHECKING:
    from ottla.client.admin import Admin

POLL_S = 0.2
Moves = dict[tuple[str, int], list[int]]


def reassign(
    topic: Annotated[
        str, typer.Argument(metavar="[TOPIC]", help="With --move-off it may be left out: all.")
    ] = "",
    partition: Annotated[int | None, typer.Option("--partition", "-p", min=0)] = None,
    replicas: Annotated[
        str,
        typer.Option(
            "--replicas", metavar="4,2,3", help="The wanted brokers, the preferred leader first."
        ),
    ] = "",
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Give up the move of --partition that is under way.")
    ] = False,
    move_off: Annotated[
        int | None,
        typer.Option("--move-off", metavar="NODE", help="Move every replica away from this node."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until the moves are done; Ctrl-C lets them go on.")
    ] = False,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Move partitions to other brokers. New replicas catch up and join the ISR, then the old ones go.

    Examples: ottla topics reassign orders --partition 1 --replicas 4,2,3; ottla topics reassign --move-off 1 --wait

    `ottla topics reassignments` shows what is under way. Exit code 1 if one was refused.
    """
    if move_off is None:
        if not topic or partition is None or bool(replicas) == cancel:
            raise typer.BadParameter(
                "give TOPIC, --partition and one of --replicas and --cancel; or --move-off NODE"
            )
        wanted: Moves = {(topic, partition): _ids(replicas)}
    elif partition is not None or replicas or cancel:
        raise typer.BadParameter("--move-off stands alone, or with TOPIC")

    async def work() -> list[dict[str, Any]]:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            moves = wanted if move_off is None else await _off(admin, move_off, topic)
            answers = await admin.reassign_many(moves) if moves else []
            rows: list[dict[str, Any]] = [
                {
                    "topic": each.topic,
                    "partition": each.partition,
                    "replicas": moves[each.topic, each.partition],
                    "error": each.error.message or None,
                }
                for each in answers
            ]
            if wait:
                await _wait(
                    admin, {(row["topic"], row["partition"]) for row in rows if not row["error"]}
                )
            return rows

    rows = common.run(work()) if wait else common.ask(work())
    _show(rows, cancel=cancel, waited=wait, json=json)
    if any(row["error"] for row in rows):
        raise typer.Exit(1)


def _show(rows: Sequence[Mapping[str, Any]], *, cancel: bool, waited: bool, json: bool) -> None:
    if json:
        common.print_json(rows)
        return
    for row in rows:
        name = f"{row['topic']}-{row['partition']}"
        if row["error"]:
            typer.echo(f"ottla: {row['error']}", err=True)
        elif cancel:
            typer.echo(f"{name}: the move is cancelled")
        else:
            done = "is on" if waited else "moves to"
            typer.echo(f"{name} {done} {_text(row['replicas'])}")
    if not rows:
        typer.echo("nothing to move")
    elif not cancel and not waited and not all(row["error"] for row in rows):
        typer.echo("`ottla topics reassignments` shows how far it is")


def reassignments(
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP, json: common.Json = False
) -> None:
    """Moves of partitions that are under way, and which new replicas have caught up."""

    async def work() -> list[dict[str, Any]]:
        from ottla.client.admin import Admin

        async with Admin(bootstrap) as admin:
            return await _ongoing(admin)

    rows = common.ask(work())
    if json:
        common.print_json(rows)
    elif not rows:
        typer.echo("nothing moves")
    else:
        common.print_table(
            ["PARTITION", "REPLICAS", "ADDING", "REMOVING", "CAUGHT UP"],
            [
                (
                    f"{row['topic']}-{row['partition']}",
                    _text(row["replicas"]),
                    _text(row["adding"]) or "-",
                    _text(row["removing"]) or "-",
                    f"{len(row['caught_up'])} of {len(row['adding'])}",
                )
                for row in rows
            ],
        )


async def _ongoing(admin: "Admin") -> list[dict[str, Any]]:
    """From the topics and not the list of reassignments, because they have the ISR of the same moment."""
    return [
        {
            "topic": topic.name,
            "partition": each.partition,
            "replicas": list(each.replicas),
            "adding": list(each.adding_replicas),
            "removing": list(each.removing_replicas),
            "caught_up": [broker for broker in each.adding_replicas if broker in each.isr],
        }
        for topic in await admin.topics()
        for each in topic.partitions
        if each.adding_replicas or each.removing_replicas
    ]


async def _off(admin: "Admin", node: int, topic: str) -> Moves:
    from ottla.cli.move_off import Held, NoRoomError, moves_off

    brokers = (await admin.describe_cluster()).brokers
    if node not in {each.node_id for each in brokers}:
        known = _text([each.node_id for each in brokers])
        common.fail(f"--move-off {node}: there is no node {node} in the cluster; there are {known}")
    racks = {each.node_id: each.rack for each in brokers if not each.fenced}
    chosen = {each.name for each in await admin.topics([topic])} if topic else None
    everything = [
        Held(each.name, one.partition, list(one.replicas))
        for each in await admin.topics()
        for one in each.partitions
    ]
    held = [each for each in everything if chosen is None or each.topic in chosen]
    try:
        return moves_off(node, held, racks, everything)
    except NoRoomError as error:
        common.fail(str(error))


async def _wait(admin: "Admin", mine: set[tuple[str, int]]) -> None:
    import asyncio

    with common.progress_bar("moving", len(mine)) as progress:
        left = mine
        while left:
            moving = {(row["topic"], row["partition"]) for row in await _ongoing(admin)}
            progress(len(left - moving))
            left = left & moving
            if left:
                await asyncio.sleep(POLL_S)


def _ids(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",") if each]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not like 4,2,3", param_hint="--replicas") from None


def _text(ids: Sequence[int]) -> str:
    return ",".join(map(str, ids))

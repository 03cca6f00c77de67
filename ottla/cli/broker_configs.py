"""`ottla cluster configs`: settings of all brokers, or of one, looked at and changed while they run."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ottla.cli import common


def configs(
    broker: Annotated[
        int | None,
        typer.Option("--broker", metavar="NODE", help="One broker; by default what holds for all."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a setting; may be repeated."),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            "--unset",
            metavar="KEY",
            help="Take a setting back: what lies below it holds again; may be repeated.",
        ),
    ] = None,
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Show every broker setting with its value and source, or change some while the brokers run.

    Example: ottla cluster configs --set log.retention.ms=3600000 --unset num.partitions

    Sources, the first that is set wins: broker (this one), cluster (all brokers), static (the node's file, environment
    and --set), default. Only the broker itself knows its static ones: ask with --broker.
    """
    from ottla.client.admin import Admin
    from ottla.v1 import admin_pb2

    resource = admin_pb2.ConfigResource(
        type=admin_pb2.RESOURCE_TYPE_BROKER, name="" if broker is None else str(broker)
    )
    changes = common.parse_assignments("--set", set_ or [])

    async def work() -> Any:
        async with Admin(bootstrap) as admin:
            if changes or unset:
                await admin.alter_configs(resource, set_=changes, unset=unset or [])
                return None
            return await admin.configs(resource)

    found = common.ask(work())
    if found is not None:
        print_configs(found, json=json)
        return
    whose = "all brokers" if broker is None else f"broker {broker}"
    common.report(
        json,
        {"broker": broker, "set": changes, "unset": unset or []},
        *(f"set {key}={value} for {whose}" for key, value in changes.items()),
        *(f"unset {key} for {whose}" for key in unset or []),
    )


def print_configs(entries: Sequence[Any], *, json: bool) -> None:
    """Settings with value and source; entries: ottla.v1.ConfigEntry."""
    from ottla.v1 import admin_pb2

    rows = [
        (
            each.name,
            each.value,
            admin_pb2.ConfigSource.Name(each.source).removeprefix("CONFIG_SOURCE_").lower(),
        )
        for each in entries
    ]
    if json:
        common.print_json(
            [{"name": key, "value": value, "source": source} for key, value, source in rows]
        )
    else:
        common.print_table(["SETTING", "VALUE", "SOURCE"], rows)

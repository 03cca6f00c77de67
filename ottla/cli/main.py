"""The program `ottla`: its commands, put together."""

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

# gRPC's core prints raw lines of its own, and asks for this when it is loaded; our errors say it better.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from ottla.cli import (
    bench,
    broker_configs,
    cluster,
    common,
    demo,
    elect,
    groups,
    health,
    kafka,
    local,
    reassign,
    records,
    reset_offsets,
    server,
    topics,
)
from ottla.cli.kafka.options import PASS_ON

app = typer.Typer(
    name="ottla",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ottla: a distributed log that elects, replicates and fails over.",
    epilog="Exit codes: 0 done; 1 refused, failed or not healthy, with the reason on standard error; 2 wrong usage; "
    "130 interrupted. Commands that print facts take --json, also those that change something.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ottla {version('ottla')}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


app.command()(server.server)
app.command()(demo.demo)
app.command()(health.health)
topics.app.command()(reassign.reassign)
topics.app.command()(reassign.reassignments)
topics.app.command()(elect.elect)
cluster.cluster_app.command()(broker_configs.configs)
app.add_typer(local.app, name="local")
app.add_typer(topics.app, name="topics")
groups.app.command()(reset_offsets.reset_offsets)
app.add_typer(groups.app, name="groups")
app.command()(records.produce)
app.command()(records.consume)
app.command()(records.offsets)
for name, tool in kafka.TOOLS.items():
    app.command(name, context_settings=PASS_ON, rich_help_panel="Kafka's own names")(tool)
app.add_typer(cluster.cluster_app, name="cluster")
app.add_typer(cluster.quorum_app, name="quorum")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point. Whatever happens, a person reads words and no traceback."""
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the last resort
        sys.exit(common.said(error))

"""The program `ottla`: its commands, put together."""

import typer

from ottla.cli import (
    bench,
    broker_configs,
    cluster,
    demo,
    elect,
    health,
    local,
    reassign,
    records,
    server,
    topics,
)

app = typer.Typer(
    name="ottla",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ottla: a distributed log that elects, replicates and fails over.",
    epilog="Exit codes: 0 done; 1 refused, failed or not healthy, with the reason on standard error; 2 wrong usage; "
    "130 interrupted. Commands that print facts take --json, also those that change something.",
)
app.command()(server.server)
app.command()(demo.demo)
app.command()(health.health)
topics.app.command()(reassign.reassign)
topics.app.command()(reassign.reassignments)
topics.app.command()(elect.elect)
cluster.cluster_app.command()(broker_configs.configs)
app.add_typer(local.app, name="local")
app.add_typer(topics.app, name="topics")
app.command()(records.produce)
app.command()(records.consume)
app.command()(records.offsets)
app.add_typer(cluster.cluster_app, name="cluster")
app.add_typer(cluster.quorum_app, name="quorum")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point."""
    app()

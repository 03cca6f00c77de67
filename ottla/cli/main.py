"""The program `ottla`: its commands, put together."""

import typer

from ottla.cli import demo, local, server

app = typer.Typer(
    name="ottla",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ottla: a distributed log that elects, replicates and fails over.",
)
app.command()(server.server)
app.command()(demo.demo)
app.add_typer(local.app, name="local")


def main() -> None:
    """Entry point."""
    app()

"""Options as Kafka's tools take them, and running what they ask for."""

import argparse
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import typer

from ottla.cli import common

PASS_ON: dict[str, Any] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
"""For typer: everything after the name goes to `parser`."""
IGNORED = "Taken, and without effect."


class Parser(argparse.ArgumentParser):
    """Exit code 1 for wrong usage, as Kafka's tools have it."""

    def error(self, message: str) -> NoReturn:
        """Tell, and end."""
        self.print_usage()
        self.exit(1, f"{self.prog}: {message}\n")


def parser(name: str, about: str) -> Parser:
    """With what all of Kafka's tools take."""
    made = Parser(f"ottla {name}", description=about, allow_abbrev=False)
    made.add_argument(
        "--bootstrap-server",
        "--broker-list",
        required=True,
        metavar="HOST:PORT[,HOST:PORT]",
        help="Kafka or gRPC listeners of nodes.",
    )
    made.add_argument("--command-config", metavar="FILE", help=IGNORED)
    return made


def one_of(made: argparse.ArgumentParser, *names: str) -> None:
    """Exactly one of these actions."""
    actions = made.add_mutually_exclusive_group(required=True)
    for name in names:
        actions.add_argument(f"--{name}", action="store_true")


def properties(given: list[str] | None) -> dict[str, str]:
    """`key=value` words."""
    cut = (each.partition("=") for each in given or [])
    return {key: value for key, _, value in cut}


def perform(bootstrap: str, work: Callable[[str], Coroutine[Any, Any, int]]) -> None:
    """Find the gRPC doors and work; exits with what `work` returns."""
    from ottla.cli.kafka.bootstrap import grpc_doors

    async def both() -> int:
        return await work(await grpc_doors(bootstrap))

    code = common.run(both())
    if code:
        raise typer.Exit(code)

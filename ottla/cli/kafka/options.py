"""Options as Kafka's tools take them, and running what they ask for."""

import argparse
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
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
TRUE = ("true", "1", "yes")
"""What a property that is switched on may say."""
FILE = "Settings, a line each: key=value."


class Parser(argparse.ArgumentParser):
    """Exit code 1 for wrong usage, as Kafka's tools have it."""

    def error(self, message: str) -> NoReturn:
        """Tell, and end."""
        self.print_usage()
        self.exit(1, f"{self.prog}: {message}\n")


def parser(name: str, about: str, *config_names: str) -> Parser:
    """With what all of Kafka's tools take. config_names: other names of --command-config, for tools that heed it."""
    made = Parser(f"ottla {name}", description=about, allow_abbrev=False)
    made.add_argument(
        "--bootstrap-server",
        "--broker-list",
        required=True,
        metavar="HOST:PORT[,HOST:PORT]",
        help="Kafka or gRPC listeners of nodes.",
    )
    names = ("--command-config", *config_names)
    if config_names:
        made.add_argument(*names, dest="config", type=property_file, metavar="FILE", help=FILE)
    else:
        made.add_argument(*names, metavar="FILE", help=IGNORED)
    return made


def one_of(made: argparse.ArgumentParser, *names: str) -> None:
    """Exactly one of these actions."""
    actions = made.add_mutually_exclusive_group(required=True)
    for name in names:
        actions.add_argument(f"--{name}", action="store_true")


def properties(given: list[str] | None, config: Mapping[str, str] | None = None) -> dict[str, str]:
    """`key=value` words, on top of what a file says."""
    cut = (each.partition("=") for each in given or ())
    return {**(config or {}), **{key: value for key, _, value in cut}}


def property_file(path: str) -> dict[str, str]:
    """For argparse: the `key=value` lines of a file. Raises ArgumentTypeError."""
    try:
        lines = [each.strip() for each in Path(path).read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read: {error}") from error
    said = properties([each for each in lines if each and each[0] not in "#!"])
    return {key.strip(): value.strip() for key, value in said.items()}


def last_word(made: argparse.ArgumentParser, option: str, given: str, known: Sequence[str]) -> str:
    """The simple name of one of Kafka's classes, which tools take with its package or without."""
    name = given.rpartition(".")[2]
    if name not in known:
        made.error(f"{option} {given}: one of {', '.join(known)}")
    return name


def unescaped(said: str) -> bytes:
    """A separator as it is typed."""
    return said.replace("\\t", "\t").replace("\\n", "\n").encode()


def perform(bootstrap: str, work: Callable[[str], Coroutine[Any, Any, int]]) -> None:
    """Find the gRPC doors and work; exits with what `work` returns."""
    from ottla.cli.kafka.bootstrap import grpc_doors

    async def both() -> int:
        return await work(await grpc_doors(bootstrap))

    code = common.run(both())
    if code:
        raise typer.Exit(code)

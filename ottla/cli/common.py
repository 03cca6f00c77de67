"""What all commands share: options, output, errors, exit codes.

Exit codes: 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage, 130 interrupted.
"""

import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn, TypeVar

import grpc.aio
import msgspec
import typer

from ottla.client.errors import plain_reason
from storage.errors import OttlaError

T = TypeVar("T")

PATIENCE_S = 2.0

Bootstrap = Annotated[
    str,
    typer.Option(
        "--bootstrap",
        envvar="OTTLA_BOOTSTRAP",
        metavar="HOST:PORT[,HOST:PORT]",
        help="gRPC doors of one or more nodes; the others are found through them.",
        show_default=True,
    ),
]
DEFAULT_BOOTSTRAP = "127.0.0.1:19091,127.0.0.1:19092,127.0.0.1:19093"
Json = Annotated[bool, typer.Option("--json", help="Print facts as JSON, for programs.")]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; refusals become one line on standard error and exit code 1."""
    return run_with(asyncio.run, work)


def ask(work: Coroutine[Any, Any, T]) -> T:
    """`run` for a question that is answered at once: when it is not, a person at a terminal is told."""

    async def patiently() -> T:
        notice = asyncio.get_running_loop().call_later(PATIENCE_S, _still_waiting)
        try:
            return await work
        finally:
            notice.cancel()

    return run(patiently())


def _still_waiting() -> None:
    if sys.stderr.isatty():
        typer.echo("ottla: no answer yet, still waiting (Ctrl-C gives up)", err=True)


def run_with(runner: Callable[[Coroutine[Any, Any, T]], T], work: Coroutine[Any, Any, T]) -> T:
    """`run` with another runner than asyncio's."""
    try:
        return runner(work)
    except (
        BaseExceptionGroup,
        OttlaError,
        grpc.aio.AioRpcError,
        KeyboardInterrupt,
        OSError,
    ) as error:
        _end(error)


def guarded(work: Callable[[], T]) -> T:
    """The same for work that needs no loop."""
    try:
        return work()
    except (OttlaError, OSError, KeyboardInterrupt) as error:
        _end(error)


def _end(error: BaseException) -> NoReturn:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, KeyboardInterrupt):
        raise typer.Exit(130)
    if isinstance(error, BrokenPipeError):
        # The reader of our output has enough, as `head` has: nothing more is to be written, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0)
    if isinstance(error, grpc.aio.AioRpcError):
        fail(plain_reason(error))
    if isinstance(error, OttlaError | OSError):
        fail(str(error) or type(error).__name__)
    raise error


def said(error: Exception) -> int:
    """Tell a person about an error that no command expected; returns the exit code."""
    try:
        _end(error)
    except typer.Exit as end:
        return end.exit_code
    except Exception as bug:  # noqa: BLE001 - the last resort
        debug = os.environ.get("OTTLA_DEBUG")
        if debug:
            traceback.print_exception(bug)
        hint = "" if debug else "; with OTTLA_DEBUG=1 it shows where"
        typer.echo(f"ottla: this is a bug of Ottla: {type(bug).__name__}: {bug}{hint}", err=True)
        return 1


def fail(message: str) -> NoReturn:
    """One line on standard error, exit code 1."""
    typer.echo(f"ottla: {message}", err=True)
    raise typer.Exit(1)


def print_json(value: Any) -> None:
    """Structs, tuples and plain values as JSON."""
    data = msgspec.json.encode(msgspec.to_builtins(value, enc_hook=_named))
    sys.stdout.buffer.write(msgspec.json.format(data, indent=2) + b"\n")
    sys.stdout.buffer.flush()


def report(json: bool, facts: Any, *lines: str) -> None:
    """What was done: as JSON for programs, or in words."""
    if json:
        print_json(facts)
    else:
        for line in lines:
            typer.echo(line)


def _named(value: Any) -> Any:
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under headings; nothing but a heading when there are none."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    Console(soft_wrap=False).print(table)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how much more is done. On standard error, when it is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A sign of life for what has no known end. On standard error, when it is a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def parse_assignments(option: str, assignments: Sequence[str]) -> dict[str, str]:
    """`key=value` words. Ends with usage help when one is none."""
    found = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{assignment!r} is not key=value", param_hint=option)
        found[key.strip()] = value.strip()
    return found

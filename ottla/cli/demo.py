"""`ottla demo`: see a failover."""

from pathlib import Path
from typing import Annotated

import typer

from ottla.cli import common


def demo(
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            exists=True,
            dir_okay=False,
            help="Any file; by default one that comes with Python.",
        ),
    ] = None,
) -> None:
    """Stream a file through three nodes, kill the leader in the middle, and compare what comes out with the file.

    Exit code 0 only if every byte came out, once and in order.
    """
    from rich.console import Console

    from ottla.demo.run import default_file, demo

    if not common.run(demo(file or default_file(), Console(soft_wrap=True))):
        raise typer.Exit(1)

"""`ottla server`: one node in the foreground."""

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ottla.cli import common


def server(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="A TOML file of settings; `ottla local init` writes examples."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One setting; may be repeated. It wins over all others.",
        ),
    ] = None,
) -> None:
    """Run one node in the foreground.

    Settings come from: built-in defaults, then the --config file, then the environment (OTTLA_NODE_ID=1 is
    node.id=1), then --set. A first SIGTERM or Ctrl-C moves leaderships away and stops; a second one stops at once.
    """
    # A node's log is for those who look for bugs, too.
    os.environ.setdefault("OTTLA_DEBUG", "1")
    common.guarded(lambda: _serve(config, set_ or []))


def _serve(config: Path | None, assignments: list[str]) -> None:
    from cluster.config import load
    from cluster.logging import configure

    settings = load(config, os.environ, assignments)
    configure(settings.log_level, settings.log_format)

    import uvloop

    from cluster.node import Node

    async def main() -> None:
        node = Node(settings)
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop_now)
            node.stop()

        def stop_now() -> None:
            os._exit(1)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        try:
            await node.run()
        except Exception as error:  # noqa: BLE001 - told to a person, whatever it is
            _leave(common.said(error))
        _leave(0)

    # What the imports have made stays: a full collection, of which everybody waits for the end, need not look at it.
    gc.collect()
    gc.freeze()
    uvloop.run(main())


def _leave(exit_code: int) -> NoReturn:
    """End the process without the interpreter's own clean-up: all that must be on disk is there, and the clean-up may
    wait for ever for the polling thread of grpc.aio (grpc #40989).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)

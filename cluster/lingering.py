"""What a node is still waiting for: a stop that hangs can only be understood from the inside."""

import asyncio
from collections.abc import Iterator
from types import CoroutineType
from typing import Any

import structlog

log = structlog.get_logger("node")


def tell_what_lingers() -> None:
    """One line in the log for each task of this loop, with the places where it waits, the outermost first."""
    for task in asyncio.all_tasks():
        log.error("not stopped yet", task=task.get_name(), waits_at=" > ".join(_places(task)))


def _places(task: asyncio.Task[Any]) -> Iterator[str]:
    waiting: object = task.get_coro()
    while isinstance(waiting, CoroutineType):
        code = waiting.cr_code
        line = waiting.cr_frame.f_lineno if waiting.cr_frame is not None else code.co_firstlineno
        yield f"{code.co_qualname}:{line}"
        waiting = waiting.cr_await
    if waiting is not None:
        yield type(waiting).__name__

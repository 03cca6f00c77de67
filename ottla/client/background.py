"""The tasks behind a client: supervised, and failing loudly."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Background:
    """A task group that lives from `start` to `stop`, in a task of its own.

    When a task fails all end, `failed` is called with the cause, and `check` raises it in the next user of the client.
    """

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        self._name = name
        self._failed = failed
        self._error: BaseException | None = None
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begin to supervise."""
        started = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._supervise(started), name=self._name)
        await started.wait()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something until `stop`."""
        assert self._group is not None, "spawn before start"
        if self._stopping.is_set() or self._error is not None:
            work.close()
            return
        self._group.create_task(work)

    def check(self) -> None:
        """Raise what a task has died of."""
        if self._error is not None:
            raise self._error

    async def stop(self) -> None:
        """Cancel everything and wait for it."""
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _supervise(self, started: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                started.set()
                await self._stopping.wait()
        except* Exception as errors:  # noqa: BLE001 - kept, reported and raised by check()
            self._error = errors.exceptions[0]
            self._failed(self._error)

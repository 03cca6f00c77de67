"""Long work in small steps, so that others on the loop are not kept waiting.

Such work is a generator: each `yield` ends a step, the returned value is the result. `at_once` runs it through where
nobody waits (a worker thread, a start); `in_turn` lets the loop turn after every step.
"""

import asyncio
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]

BATCHES_PER_STEP = 256
"""Batches whose headers are looked at in one step: well below a millisecond."""


def at_once(steps: Steps[T]) -> T:
    """The result. Raises what the work raises."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def in_turn(steps: Steps[T], still_good: Callable[[], bool]) -> T | None:
    """The result, or None once `still_good` says that the ground of the work has changed. Raises what it raises."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        await asyncio.sleep(0)
        if not still_good():
            steps.close()
            return None

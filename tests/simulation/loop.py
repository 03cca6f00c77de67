"""An asyncio loop whose time is virtual: when nothing is ready it jumps to the next timer.

No selector, no threads: whatever would wait for the outside world is a mistake of the test and fails at once.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class DeadlockError(AssertionError):
    """Everybody waits and no timer is set."""


class _Clockwork:
    """Stands where the selector stands: waiting is moving the clock."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError(
                "nothing is ready and nothing is scheduled: everybody waits for ever"
            )
        self.now_s += timeout
        return []


class _Task(asyncio.Task[Any]):
    """Hashed by its number: the sets in which asyncio keeps tasks are then in the same order in every run."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class SimLoop(asyncio.BaseEventLoop):
    """Deterministic: ready callbacks run in order, timers by time and then by the order in which they were set."""

    def __init__(self, started_s: float = 1000.0) -> None:
        super().__init__()
        self._selector = _Clockwork()
        self._selector.now_s = started_s
        self._clock_resolution = 1e-9
        self._tasks_made = 0
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.errors.append(context))

    def time(self) -> float:
        """Virtual seconds."""
        return self._selector.now_s

    def hold_up(self, seconds: float) -> None:
        """Nothing runs for so long, as when the machine gives its cores to others."""
        self._selector.now_s += seconds

    def create_task(
        self, coro: Any, *, name: Any = None, context: Any = None
    ) -> "asyncio.Task[Any]":
        """As ever, but with tasks that can be told apart by number."""
        self._tasks_made += 1
        return _Task(self._tasks_made, coro, loop=self, name=name, context=context)

    def _process_events(self, _event_list: object) -> None:
        """There are no events of the outside world."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""

    def run_in_executor(self, *_: Any) -> Any:  # type: ignore[override]
        """Threads have no place in a simulation."""
        raise AssertionError("a thread was asked for inside the simulation")


def simulate(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a fresh SimLoop. Exceptions nobody looked at fail it, too."""
    loop = SimLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        result = runner.run(work)
    assert not loop.errors, f"unhandled: {loop.errors[0]}"
    return result

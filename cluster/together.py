"""Several things that live and end together, inside a task that goes on afterwards.

`asyncio.TaskGroup` is for tasks that end with their group. In Python 3.11.2 (Debian 12) a failing group can leave a
request for cancellation on its parent task, and a later `asyncio.timeout` there then ends the task instead of raising
TimeoutError. A loop that connects, fails and tries again must therefore not hold a group in its own task.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until_first_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all at once until one returns or fails; then cancel the others and wait for them.

    Raises what failed, the first one's error first; nothing when one has returned.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in tasks if task.done() and not task.cancelled()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in failed:
        task.result()
    for task in tasks:
        if not task.cancelled():
            task.result()


def cancelled_by_us() -> bool:
    """In the handler of a CancelledError: whether this task was asked to end.

    grpc.aio raises CancelledError also when a call or its channel was closed elsewhere. Taken for our own cancellation
    it would end a task that nobody wanted to end, without a word (`asyncio.TaskGroup` says nothing either).
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

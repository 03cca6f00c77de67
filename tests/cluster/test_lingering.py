"""A stop that hangs says where."""

import asyncio

import structlog.testing

from cluster.lingering import tell_what_lingers


def test_each_task_is_named_with_the_places_where_it_waits() -> None:
    async def inner() -> None:
        await asyncio.get_running_loop().create_future()

    async def outer() -> None:
        await inner()

    async def run() -> None:
        task = asyncio.create_task(outer(), name="the one that hangs")
        await asyncio.sleep(0)
        with structlog.testing.capture_logs() as said:
            tell_what_lingers()
        task.cancel()
        (found,) = [each for each in said if each["task"] == "the one that hangs"]
        outside, inside, at_last = found["waits_at"].split(" > ")
        assert "outer:" in outside
        assert "inner:" in inside
        assert at_last == "FutureIter"

    asyncio.run(run())

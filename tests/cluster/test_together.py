"""Several things that end together."""

import asyncio

import pytest

from cluster.together import until_first_ends
from tests.simulation.loop import simulate


def test_the_first_to_end_ends_the_others() -> None:
    async def run() -> None:
        ended: list[str] = []

        async def waits() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0.1)
                ended.append("waits")

        async def returns() -> None:
            await asyncio.sleep(0.1)

        async def fails() -> None:
            raise ValueError("first")

        began_s = asyncio.get_running_loop().time()
        await until_first_ends(waits(), returns())
        assert ended == ["waits"]
        with pytest.raises(ValueError, match="first"):
            await until_first_ends(waits(), fails())
        assert ended == ["waits", "waits"]
        assert asyncio.get_running_loop().time() - began_s < 1

    simulate(run())


def test_who_is_cancelled_takes_all_along() -> None:
    """A2: nothing is left running that nobody waits for."""

    async def run() -> None:
        ended: list[int] = []

        async def waits(number: int) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append(number)

        task = asyncio.get_running_loop().create_task(until_first_ends(waits(1), waits(2)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert ended == [1, 2]

    simulate(run())

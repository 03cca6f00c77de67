"""The reserve on the disk (bugs.md S7)."""

import asyncio

import pytest

from cluster.replication.disk_guard import POLL_S, DiskGuard
from storage.errors import DiskFullError, ErrorCode
from tests.cluster.replication.replicas import append, disk, lead, replica
from tests.simulation.loop import simulate


def test_below_the_reserve_nothing_is_appended_and_it_ends_by_itself() -> None:
    async def run() -> None:
        small = disk()
        guard = DiskGuard(small, reserve_bytes=1000)
        watching = asyncio.get_running_loop().create_task(guard.run())
        partition = replica(1, on=small, guard=guard)
        lead(partition, 1, isr=(1,), min_isr=1)
        append(partition, b"a")
        small.capacity = small.used_bytes() + 999
        await asyncio.sleep(2 * POLL_S)
        with pytest.raises(DiskFullError, match="t-0 takes no records") as raised:
            append(partition, b"b")
        assert raised.value.code == ErrorCode.KAFKA_STORAGE_ERROR
        assert small.free_bytes() == 999
        small.capacity = None
        await asyncio.sleep(2 * POLL_S)
        assert append(partition, b"b") == 1
        watching.cancel()

    simulate(run())

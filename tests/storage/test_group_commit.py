"""Many appends, one sync; and what a failed one means."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from storage.errors import LogOfflineError
from storage.group_commit import GroupCommit
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch, run

Story = Callable[[GroupCommit, SimDisk, list[PartitionLog]], Awaitable[None]]


def play(story: Story, *, logs: int = 3, config: LogConfig | None = None) -> list[object]:
    """Run a story beside a group commit; returns what it called back, in order."""
    events: list[object] = []

    async def stage() -> None:
        disk = SimDisk(random.Random(0), sync_seconds=(0.001, 0.002))
        all_logs = [PartitionLog.create(disk, f"t-{n}", config or LogConfig()) for n in range(logs)]
        commit = GroupCommit(
            disk,
            on_flushed=lambda log: events.append((log.folder, log.flushed_offset)),
            on_error=lambda log, error: events.append((log.folder, type(error))),
        )
        async with asyncio.TaskGroup() as group:
            runner = group.create_task(commit.run())
            await story(commit, disk, all_logs)
            runner.cancel()

    run(stage())
    return events


def test_many_appends_to_many_logs_cost_one_sync() -> None:
    async def story(commit: GroupCommit, disk: SimDisk, logs: list[PartitionLog]) -> None:
        for log in logs * 10:
            log.append_as_leader(batch(b"v"), 0, NOW_MS)
            commit.request(log)
        await asyncio.gather(*(commit.flushed(log, 10) for log in logs))
        assert commit.syncs == disk.syncs == 1

    assert play(story) == [("t-0", 10), ("t-1", 10), ("t-2", 10)]


def test_what_is_appended_during_a_sync_waits_for_the_next() -> None:
    async def story(commit: GroupCommit, _: SimDisk, logs: list[PartitionLog]) -> None:
        log = logs[0]
        log.append_as_leader(batch(b"v"), 0, NOW_MS)
        commit.request(log)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.append_as_leader(batch(b"v"), 0, NOW_MS)
        await commit.flushed(log, 1)
        assert log.flushed_offset == 1
        await commit.flushed(log, 2)
        assert commit.syncs == 2

    assert play(story) == [("t-0", 1), ("t-0", 2)]


def test_a_new_segment_is_synced_after_the_one_before_it() -> None:
    async def story(commit: GroupCommit, _: SimDisk, logs: list[PartitionLog]) -> None:
        for _number in range(6):
            logs[0].append_as_leader(batch(b"v"), 0, NOW_MS)
        await commit.flushed(logs[0], 6)

    events = play(story, logs=1, config=LogConfig(segment_bytes=150))
    assert events == [("t-0", 2), ("t-0", 4), ("t-0", 6)]


def test_a_failed_sync_fences_every_log_in_it_and_the_others_go_on() -> None:
    """S1: nobody can tell whose bytes were lost."""

    async def story(commit: GroupCommit, disk: SimDisk, logs: list[PartitionLog]) -> None:
        disk.fail_next_sync()
        for log in logs[:2]:
            log.append_as_leader(batch(b"v"), 0, NOW_MS)
        waits = [commit.flushed(log, 1) for log in logs[:2]]
        results = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(result) for result in results] == [LogOfflineError] * 2
        with pytest.raises(LogOfflineError):
            await commit.flushed(logs[0], 1)
        logs[2].append_as_leader(batch(b"v"), 0, NOW_MS)
        await commit.flushed(logs[2], 1)

    assert play(story) == [("t-0", LogOfflineError), ("t-1", LogOfflineError), ("t-2", 1)]


def test_a_log_closed_while_someone_waits_ends_the_wait() -> None:
    async def story(commit: GroupCommit, _: SimDisk, logs: list[PartitionLog]) -> None:
        logs[0].append_as_leader(batch(b"v"), 0, NOW_MS)
        async with asyncio.TaskGroup() as group:
            group.create_task(expect_offline(commit.flushed(logs[0], 1)))
            await asyncio.sleep(0)
            await logs[0].close(clean=False)

    assert play(story) == [("t-0", LogOfflineError)]


async def expect_offline(waiting: Awaitable[None]) -> None:
    """It ends with the log's error."""
    with pytest.raises(LogOfflineError):
        await waiting


def test_a_log_cut_below_what_is_waited_for_ends_the_wait() -> None:
    async def story(commit: GroupCommit, _: SimDisk, logs: list[PartitionLog]) -> None:
        log = logs[0]
        for _number in range(3):
            log.append_as_leader(batch(b"v"), 0, NOW_MS)
        async with asyncio.TaskGroup() as group:
            group.create_task(commit.flushed(log, 3))
            await asyncio.sleep(0)
            log.truncate_to(1)
        assert log.flushed_offset <= 1

    play(story)


def test_a_sync_proves_nothing_about_what_was_written_after_a_cut() -> None:
    """S5, R11: the offsets are the same, the bytes are others."""
    log = PartitionLog.create(SimDisk(random.Random(1)), "t-0", LogConfig())
    log.append_as_leader(batch(b"a", b"b"), 1, NOW_MS)
    log.append_as_leader(batch(b"c", b"d"), 1, NOW_MS)
    ticket = log.begin_flush()
    log.truncate_to(2)
    log.append_as_leader(batch(b"x", b"y"), 2, NOW_MS)
    log.complete_flush(ticket)
    assert log.synced_offset == 2


def test_flush_os_asks_for_no_sync() -> None:
    async def story(commit: GroupCommit, disk: SimDisk, logs: list[PartitionLog]) -> None:
        logs[0].append_as_leader(batch(b"v"), 0, NOW_MS)
        commit.request(logs[0])
        await commit.flushed(logs[0], 1)
        await asyncio.sleep(0.01)
        assert disk.syncs == 0

    play(story, config=LogConfig(flush="os"))

"""A node's data folder: whose it is, and what is in it. The S rows are in test_storage_bugs."""

import asyncio
import errno
import random

import pytest

from storage.errors import DataDirectoryError
from storage.log_config import LogConfig
from storage.log_directory import LogDirectory, LogIdentity, LogKey
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch, run, values_of

CONFIG = LogConfig()
OLD, NEW = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(0))


async def loaded(disk: SimDisk) -> LogDirectory:
    """Opened by node 1 of cluster c."""
    directory = await LogDirectory.open(disk, node_id=1, cluster_id="c")
    await directory.load(lambda _: CONFIG, now_ms=NOW_MS)
    return directory


def test_two_processes_cannot_use_one_folder(disk: SimDisk) -> None:
    directory = run(LogDirectory.open(disk, node_id=1))
    with pytest.raises(DataDirectoryError, match="in use"):
        run(LogDirectory.open(disk, node_id=1))
    run(directory.close())
    run(LogDirectory.open(disk, node_id=1))


def test_another_nodes_folder_is_refused_and_the_lock_given_back(disk: SimDisk) -> None:
    run(run(LogDirectory.open(disk, node_id=1)).close())
    with pytest.raises(DataDirectoryError, match="belongs to node 1, this is node 2"):
        run(LogDirectory.open(disk, node_id=2))
    run(LogDirectory.open(disk, node_id=1))


def test_the_cluster_may_become_known_later_and_never_changes(disk: SimDisk) -> None:
    directory = run(LogDirectory.open(disk, node_id=1))
    assert directory.meta.cluster_id is None
    run(directory.set_cluster_id("c"))
    with pytest.raises(DataDirectoryError, match="belongs to cluster c, this is cluster d"):
        run(directory.set_cluster_id("d"))
    run(directory.close())
    with pytest.raises(DataDirectoryError, match="cluster"):
        run(LogDirectory.open(disk, node_id=1, cluster_id="d"))
    assert run(LogDirectory.open(disk, node_id=1)).meta.cluster_id == "c"


def test_a_folder_that_cannot_be_written_says_so(disk: SimDisk) -> None:
    disk.fail_writes = errno.EACCES
    with pytest.raises(DataDirectoryError, match="not writable"):
        run(LogDirectory.open(disk, node_id=1))


@pytest.mark.parametrize("how", ["close", "kill", "crash"])
def test_logs_come_back_with_their_identity(disk: SimDisk, how: str) -> None:
    async def story() -> None:
        directory = await loaded(disk)
        for partition in range(3):
            log = await directory.create_log(LogIdentity("my.topic-1", OLD, partition), CONFIG)
            log.append_as_leader(batch(b"%d" % partition), 0, NOW_MS)
            await log.checkpoint()
        if how == "close":
            await directory.close()
        elif how == "kill":
            disk.kill()
        else:
            disk.crash()
        directory = await loaded(disk)
        assert directory.was_clean == (how == "close")
        assert not directory.failed
        for partition in range(3):
            found = directory.get(OLD, partition)
            assert found is not None
            assert values_of(found) == [b"%d" % partition]
            assert found.flushed_offset == 1
            assert directory.identities[LogKey(OLD, partition)].topic_name == "my.topic-1"

    run(story())


def test_after_loading_everything_that_was_found_is_durable(disk: SimDisk) -> None:
    async def story() -> None:
        directory = await loaded(disk)
        log = await directory.create_log(LogIdentity("t", OLD, 0), CONFIG)
        log.append_as_leader(batch(b"written, not synced"), 0, NOW_MS)
        disk.kill()
        directory = await loaded(disk)
        assert directory.logs[LogKey(OLD, 0)].flushed_offset == 1
        disk.crash()
        directory = await loaded(disk)
        assert directory.logs[LogKey(OLD, 0)].log_end_offset == 1

    run(story())


def test_a_recreated_topic_has_nothing_of_the_deleted_one(disk: SimDisk) -> None:
    """I8, KAFKA-12257: the UUID is the identity, the name is not."""

    async def story() -> None:
        directory = await loaded(disk)
        log = await directory.create_log(LogIdentity("t", OLD, 0), CONFIG)
        log.append_as_leader(batch(b"old"), 0, NOW_MS)
        with pytest.raises(DataDirectoryError, match="another log"):
            await directory.create_log(LogIdentity("t", NEW, 0), CONFIG)
        await directory.delete_log(OLD, 0)
        assert directory.get(OLD, 0) is None
        fresh = await directory.create_log(LogIdentity("t", NEW, 0), CONFIG)
        assert values_of(fresh) == []
        disk.crash()
        directory = await loaded(disk)
        assert list(directory.logs) == [LogKey(NEW, 0)]

    run(story())


def test_deleted_logs_are_removed_in_the_background_also_after_a_restart(disk: SimDisk) -> None:
    async def story() -> None:
        directory = await loaded(disk)
        await directory.create_log(LogIdentity("t", OLD, 0), CONFIG)
        await directory.delete_log(OLD, 0)
        assert any(name.endswith("-delete") for name in disk.list(""))
        disk.crash()
        directory = await loaded(disk)
        async with asyncio.TaskGroup() as group:
            removals = group.create_task(directory.run_removals())
            while any(name.endswith("-delete") for name in disk.list("")):  # noqa: ASYNC110
                await asyncio.sleep(0)
            removals.cancel()

    run(story())


def test_a_long_topic_name_can_be_deleted(disk: SimDisk) -> None:
    async def story() -> None:
        directory = await loaded(disk)
        await directory.create_log(LogIdentity("t" * 249, OLD, 0), CONFIG)
        await directory.delete_log(OLD, 0)
        assert all(len(name) <= 255 for name in disk.list(""))

    run(story())


def test_a_creation_cut_short_by_a_power_loss_is_begun_again() -> None:
    for seed in range(40):
        disk = SimDisk(random.Random(seed))

        async def story(disk: SimDisk = disk) -> None:
            directory = await loaded(disk)
            disk.on_step = lambda _: disk.crash()
            with pytest.raises(Exception, match="crashed"):
                await directory.create_log(LogIdentity("t", OLD, 0), CONFIG)
            disk.on_step = None
            directory = await loaded(disk)
            assert not directory.failed
            if directory.get(OLD, 0) is None:
                await directory.create_log(LogIdentity("t", OLD, 0), CONFIG)

        run(story())


def test_the_metadata_log_lives_beside_the_topics(disk: SimDisk) -> None:
    async def story() -> None:
        directory = await loaded(disk)
        log = await directory.open_extra("metadata", CONFIG, now_ms=NOW_MS, start_offset=1)
        log.append_as_follower(batch(b"entry", base_offset=1, leader_epoch=1))
        await log.checkpoint()
        disk.crash()
        directory = await loaded(disk)
        assert not directory.logs
        assert not directory.failed
        log = await directory.open_extra("metadata", CONFIG, now_ms=NOW_MS)
        assert (log.log_start_offset, log.flushed_offset) == (1, 2)
        await directory.close()

    run(story())


def test_a_failed_close_is_no_clean_shutdown(disk: SimDisk) -> None:
    async def story() -> None:
        directory = await loaded(disk)
        log = await directory.create_log(LogIdentity("t", OLD, 0), CONFIG)
        log.append_as_leader(batch(b"v"), 0, NOW_MS)
        disk.fail_next_sync()
        await directory.close()
        assert list(directory.failed) == ["t-0"]
        assert not (await loaded(disk)).was_clean

    run(story())

"""The simulated disk forgets what a real one may forget, and nothing else."""

import asyncio
import random

import pytest

from tests.simulation.disk import SimDisk, SimFile


def test_synced_bytes_survive_and_of_the_rest_a_torn_prefix() -> None:
    outcomes = set()
    for seed in range(200):
        disk = SimDisk(random.Random(seed))
        file = disk.open("f", create=True)
        file.append(b"synced")
        asyncio.run(disk.sync([file]))
        file.append(b"first")
        file.append(b"second")
        disk.crash()
        content = disk.read_file("f")
        assert content.startswith(b"synced")
        assert len(content) <= len(b"syncedfirstsecond")
        outcomes.add(content)
    assert b"synced" in outcomes
    assert b"syncedfirstsecond" in outcomes
    assert any(content.endswith(b"\0") for content in outcomes)
    assert len(outcomes) > 20


def test_names_that_were_not_synced_may_be_gone_or_as_they_were() -> None:
    outcomes = set()
    for seed in range(100):
        disk = SimDisk(random.Random(seed))
        asyncio.run(disk.write_atomic("old", b"x"))
        disk.rename("old", "new")
        disk.open("extra", create=True)
        disk.crash()
        outcomes.add(tuple(disk.list("")))
    assert outcomes == {("old",), ("new",), ("extra", "new")}


def test_a_failed_sync_loses_its_bytes_though_a_later_one_succeeds() -> None:
    """ATC'20: the pages are clean, the retry has nothing to write."""
    disk = SimDisk(random.Random(0))
    file = disk.open("f", create=True)
    disk.fail_next_sync()
    file.append(b"doomed")
    with pytest.raises(OSError, match="simulated failure"):
        asyncio.run(disk.sync([file]))
    assert bytes(file.read(0, 6)) == b"doomed"
    asyncio.run(disk.sync([file]))
    disk.crash()
    assert disk.read_file("f") == bytes(6)


def test_what_is_appended_during_a_sync_is_not_covered_by_it() -> None:
    lost = False
    for seed in range(30):
        disk = SimDisk(random.Random(seed), sync_seconds=(0.0, 0.0))
        file = disk.open("f", create=True)
        file.append(b"before")

        async def story(disk: SimDisk = disk, file: SimFile = file) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(disk.sync([file]))
                await asyncio.sleep(0)
                file.append(b"during")

        asyncio.run(story())
        disk.crash()
        assert disk.read_file("f").startswith(b"before")
        lost = lost or disk.read_file("f") != b"beforeduring"
    assert lost


def test_handles_are_dead_after_a_crash() -> None:
    disk = SimDisk(random.Random(0))
    file = disk.open("f", create=True)
    disk.crash()
    with pytest.raises(OSError, match="crashed"):
        file.append(b"x")
    with pytest.raises(OSError, match="crashed"):
        file.read(0, 1)


def test_a_sync_under_way_in_a_crash_never_returns_well() -> None:
    disk = SimDisk(random.Random(0))
    file = disk.open("f", create=True)
    disk.on_step = lambda _: disk.crash()
    with pytest.raises(OSError, match="crashed"):
        asyncio.run(disk.sync([file]))


def test_equal_seeds_forget_the_same() -> None:
    def story(seed: int) -> dict[str, bytes]:
        disk = SimDisk(random.Random(seed))
        for number in range(5):
            disk.make_folder(f"d{number}")
            disk.open(f"d{number}/f", create=True).append(b"x" * 50)
        disk.crash()
        return disk.files()

    assert story(7) == story(7)
    assert len({tuple(story(seed).items()) for seed in range(20)}) > 5

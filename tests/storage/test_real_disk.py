"""RealDisk on the file system of this machine, and SimDisk beside it: the same calls, the same answers."""

import asyncio
import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import file_sync, real_disk
from storage.disk import Disk
from storage.errors import DataDirectoryError
from storage.real_disk import RealDisk
from tests.simulation.disk import SimDisk
from tests.storage.batches import run


@pytest.fixture(params=["real", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Either disk."""
    if request.param == "simulated":
        yield SimDisk(random.Random(0))
        return
    real = RealDisk(tmp_path)
    yield real
    real.close()


def test_files_grow_are_read_and_cut(disk: Disk) -> None:
    disk.make_folder("a/b")
    file = disk.open("a/b/f", create=True)
    file.append(b"hello ")
    file.append(memoryview(b"world"))
    assert (file.size, file.path) == (11, "a/b/f")
    assert bytes(file.read(6, 100)) == b"world"
    assert bytes(file.read(0, 5)) == b"hello"
    assert bytes(file.read(11, 5)) == b""
    file.truncate(4)
    file.append(b"!")
    run(disk.sync([file]))
    assert disk.read_file("a/b/f") == b"hell!"
    assert disk.open("a/b/f").size == 5
    file.close()
    with pytest.raises(OSError, match="closed"):
        file.append(b"x")


def test_names_are_listed_renamed_and_removed(disk: Disk) -> None:
    assert list(disk.list("nowhere")) == []
    disk.make_folder("a")
    disk.make_folder("a")
    for name in ("z", "b"):
        disk.open(f"a/{name}", create=True).close()
    assert list(disk.list("a")) == ["b", "z"]
    disk.rename("a/z", "a/y")
    disk.rename("a", "c")
    run(disk.sync_folder(""))
    assert list(disk.list("c")) == ["b", "y"]
    assert disk.exists("c/y")
    assert not disk.exists("a")
    run(disk.remove("c/y"))
    run(disk.remove("c"))
    run(disk.remove("c"))
    assert not disk.exists("c")
    with pytest.raises(FileNotFoundError):
        disk.open("c/y")
    with pytest.raises(FileNotFoundError):
        disk.read_file("nothing")
    with pytest.raises(FileNotFoundError):
        disk.rename("nothing", "something")


def test_small_files_are_replaced_whole(disk: Disk) -> None:
    run(disk.write_atomic("f", b"one"))
    run(disk.write_atomic("f", b"two"))
    assert disk.read_file("f") == b"two"
    assert list(disk.list("")) == ["f"]
    assert disk.free_bytes() > 0


def test_a_lock_is_held_once(disk: Disk) -> None:
    lock = disk.lock(".lock")
    with pytest.raises(DataDirectoryError, match="in use"):
        disk.lock(".lock")
    lock.close()
    disk.lock(".lock").close()


def test_a_lock_names_the_process_that_holds_it(tmp_path: Path) -> None:
    code = (
        "import sys; from storage.real_disk import RealDisk; lock = RealDisk(sys.argv[1]).lock('.lock');"
        "print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        disk = RealDisk(tmp_path)
        with pytest.raises(DataDirectoryError, match=f"pid {holder.pid}"):
            disk.lock(".lock")
        holder.stdin.close()
        holder.wait(10)
        disk.lock(".lock").close()
        disk.close()


@pytest.mark.parametrize("syncfs", [True, False])
def test_many_files_are_synced_in_one_go(
    tmp_path: Path, syncfs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("sync_file_system", "sync_data", "sync_path"):
        real = getattr(file_sync, name)

        def call(what: object, name: str = name, real: object = real) -> None:
            calls.append(name)
            real(what)  # type: ignore[operator]

        monkeypatch.setattr(real_disk, name, call)
    disk = RealDisk(tmp_path)
    disk._syncfs = disk._syncfs and syncfs
    files = [disk.open(f"f{number}", create=True) for number in range(20)]
    for file in files:
        file.append(b"x")
    run(disk.sync(files))
    if disk._syncfs:
        assert calls == ["sync_file_system"]
    else:
        assert calls.count("sync_data") == 20
    calls.clear()
    run(disk.sync(files[:2]))
    assert calls == ["sync_data"] * 2
    disk.close()


def test_a_new_files_folder_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[str] = []
    monkeypatch.setattr(real_disk, "sync_path", lambda path: folders.append(Path(path).name))
    disk = RealDisk(tmp_path)
    disk.make_folder("a/b")
    file = disk.open("a/b/f", create=True)
    run(disk.sync([file]))
    assert sorted(folders) == sorted([tmp_path.name, "a", "b"])
    run(disk.sync([file]))
    assert len(folders) == 3
    disk.rename("a/b/f", "a/b/g")
    run(disk.sync([file]))
    assert folders[3:] == ["b"]
    disk.close()


def test_a_failed_folder_sync_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = RealDisk(tmp_path)
    file = disk.open("f", create=True)

    def fail(path: str) -> None:
        raise OSError(errno.EIO, "no", path)

    monkeypatch.setattr(real_disk, "sync_path", fail)
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            run(disk.sync([file]))
    disk.close()


def test_a_partial_write_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S7: the disk fills up in the middle of a batch."""
    disk = RealDisk(tmp_path)
    file = disk.open("f", create=True)
    file.append(b"whole")
    write, calls = os.write, [0]

    def short(fd: int, data: bytes) -> int:
        calls[0] += 1
        if calls[0] > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, bytes(data)[:3])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        file.append(b"partial")
    monkeypatch.undo()
    assert file.size == 5
    file.append(b"!")
    assert disk.read_file("f") == b"whole!"
    disk.close()


def test_a_file_closed_during_its_sync_keeps_its_descriptor_until_the_end(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.open("f", create=True)

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(disk.sync([file]))
            await asyncio.sleep(0)
            file.close()
            assert file._fd >= 0
        assert file._fd == -1
        await disk.sync([file])

    run(story())
    disk.close()


def test_a_cancelled_sync_waits_for_its_threads(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.open("f", create=True)

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(disk.sync([file]))
            await asyncio.sleep(0)
            task.cancel()
        assert file._pins == 0

    run(story())
    disk.close()


def test_a_data_folder_that_cannot_be_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match="can't be used"):
        RealDisk(tmp_path / "file" / "data")

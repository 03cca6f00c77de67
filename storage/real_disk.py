"""The Disk of a running node: a folder of the operating system's file system."""

import asyncio
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import aiofiles

from storage.disk import Buffer, DiskFile, DiskLock
from storage.errors import DataDirectoryError
from storage.file_sync import have_syncfs, sync_data, sync_file_system, sync_path

T = TypeVar("T")

SYNC_THREADS = 4
SYNCFS_FROM_FILES = 9
"""From so many dirty files on one `syncfs` is cheaper than a `fdatasync` for each (DESIGN.md, measured)."""


class RealFile:
    """An open file; its descriptor stays open while a sync works on it."""

    __slots__ = ("_closing", "_fd", "_path", "_pins", "_size")

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._pins = 0
        self._closing = False

    @property
    def path(self) -> str:
        """Relative to the disk's root, as it was opened."""
        return self._path

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    def append(self, data: Buffer) -> None:
        """Add bytes at the end: all or none. Raises OSError."""
        length = len(data)
        written = os.write(self._usable(), data)
        if written != length:
            self._append_rest(memoryview(data)[written:])
        self._size += length

    def _append_rest(self, rest: memoryview) -> None:
        try:
            while rest:
                written = os.write(self._fd, rest)
                if not written:
                    raise OSError(errno.EIO, "the system wrote nothing", self._path)
                rest = rest[written:]
        except OSError as error:
            self._cut_back(error)
            raise

    def _cut_back(self, cause: OSError) -> None:
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            raise OSError(
                errno.EIO, f"a partial write could not be undone: {error}", self._path
            ) from cause

    def read(self, position: int, length: int) -> memoryview:
        """Up to `length` bytes from `position`. Raises OSError."""
        data = os.pread(self._usable(), length, position)
        if len(data) == length or position + len(data) >= self._size:
            return memoryview(data)
        return self._read_rest(data, position, length)

    def _read_rest(self, data: bytes, position: int, length: int) -> memoryview:
        parts = [data]
        got = len(data)
        while got < length:
            parts.append(os.pread(self._fd, length - got, position + got))
            got += len(parts[-1])
            if not parts[-1]:
                break
        return memoryview(b"".join(parts))

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes. Raises OSError."""
        os.ftruncate(self._usable(), size)
        self._size = size

    def close(self) -> None:
        """Give the descriptor back, after the sync that may be working on it."""
        self._closing = True
        self._close_if_free()

    def pin(self) -> int | None:
        """Keep the descriptor open for a sync; None when the file is closed."""
        if self._closing:
            return None
        self._pins += 1
        return self._fd

    def unpin(self) -> None:
        """The sync is done."""
        self._pins -= 1
        self._close_if_free()

    def _close_if_free(self) -> None:
        if self._closing and not self._pins and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _usable(self) -> int:
        if self._closing:
            raise OSError(errno.EBADF, "the file is closed", self._path)
        return self._fd


class RealLock:
    """An flock on a file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        """Give the lock back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class RealDisk:
    """A Disk in the folder `root`, which is made when missing. Raises DataDirectoryError.

    Syncs run in threads of its own. It belongs to one event loop.
    """

    def __init__(self, root: Path | str, *, sync_threads: int = SYNC_THREADS) -> None:
        self.root = Path(root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise DataDirectoryError(
                f"data folder {self.root} can't be used: {error.strerror}; name a folder that user {os.getuid()} "
                "can write to"
            ) from error
        self._threads = ThreadPoolExecutor(sync_threads, thread_name_prefix="disk")
        self._name_changes: dict[str, int] = {}
        self._names_synced: dict[str, int] = {}
        self._temporary = count()
        self._syncfs = have_syncfs()

    def close(self) -> None:
        """Wait for syncs under way and give the threads back. Open files stay open."""
        self._threads.shutdown(wait=True)
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    def open(self, path: str, *, create: bool = False) -> RealFile:
        """Open a file for reading and appending. Raises FileNotFoundError, OSError."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        full = self._full(path)
        try:
            return RealFile(path, os.open(full, flags))
        except FileNotFoundError:
            if not create:
                raise
        file = RealFile(path, os.open(full, flags | os.O_CREAT, 0o644))
        self._names_changed(path)
        return file

    def list(self, path: str) -> Sequence[str]:
        """Sorted names in a folder; empty when there is no such folder. Raises OSError."""
        try:
            return sorted(os.listdir(self._full(path)))
        except FileNotFoundError:
            return []

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        return os.path.exists(self._full(path))

    def make_folder(self, path: str) -> None:
        """Make a folder and its parents. Raises OSError."""
        full = self._full(path)
        if os.path.isdir(full):
            return
        if _parent(path) != path:
            self.make_folder(_parent(path))
        os.mkdir(full)
        self._names_changed(path)

    def read_file(self, path: str) -> bytes:
        """A small file, whole. Raises FileNotFoundError, OSError."""
        with open(self._full(path), "rb") as file:  # noqa: PTH123 - one small cold file
            return file.read()

    def rename(self, source: str, target: str) -> None:
        """Atomically. Raises OSError."""
        os.rename(self._full(source), self._full(target))
        self._names_changed(source)
        self._names_changed(target)

    async def sync(self, files: Sequence[DiskFile]) -> None:
        """One group commit; see Disk.sync. Raises OSError."""
        pinned: list[tuple[RealFile, int]] = []
        folders: dict[str, int] = {}
        for file in files:
            assert isinstance(file, RealFile)
            fd = file.pin()
            if fd is not None:
                pinned.append((file, fd))
            folders |= self._dirty_folders(file.path)
        try:
            await self._sync_all([fd for _, fd in pinned], sorted(folders))
        finally:
            for file, _ in pinned:
                file.unpin()
        self._names_synced |= folders

    def _names_changed(self, path: str) -> None:
        folder = _parent(path)
        self._name_changes[folder] = self._name_changes.get(folder, 0) + 1

    def _dirty_folders(self, path: str) -> dict[str, int]:
        """Folders above `path` whose names may not be durable, with the number of changes made so far.

        A folder that this process has not synced yet is one: the process before may have died before it did.
        """
        dirty: dict[str, int] = {}
        while path:
            path = _parent(path)
            changes = self._name_changes.get(path, 0)
            if self._names_synced.get(path, -1) < changes:
                dirty[path] = changes
        return dirty

    async def _sync_all(self, fds: Sequence[int], folders: Sequence[str]) -> None:
        if len(fds) + len(folders) >= SYNCFS_FROM_FILES and self._syncfs:
            await self._run([partial(sync_file_system, self._root_fd)])
            return
        await self._run([partial(sync_data, fd) for fd in fds])
        await self._run([partial(sync_path, self._full(name)) for name in folders])

    async def work(self, job: Callable[[], T]) -> T:
        """Run long work in a thread; see Disk.work."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, job)
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise
        return future.result()

    async def _run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """All jobs in the threads; waits for every one, also when cancelled, then raises the first error."""
        batch = _Batch(asyncio.get_running_loop(), len(jobs))
        for job in jobs:
            self._threads.submit(batch.work, job)
        try:
            await batch.over()
        except asyncio.CancelledError:
            # The descriptors are in use until the threads are done.
            await batch.over()
            raise
        if batch.error is not None:
            raise batch.error

    async def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable. Raises OSError."""
        folders = self._dirty_folders(f"{path}/")
        await self._sync_all([], sorted(folders | {path: 0}))
        self._names_synced |= folders

    async def write_atomic(self, path: str, data: Buffer) -> None:
        """Replace a small file. Raises OSError; then the old content stands."""
        temporary = f"{self._full(path)}.{next(self._temporary)}.tmp"
        try:
            async with aiofiles.open(temporary, "wb", executor=self._threads) as file:
                await file.write(data)
                await file.flush()
                fd = file.fileno()
                await self._run([partial(os.fsync, fd)])
            os.replace(temporary, self._full(path))
            self._names_changed(path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        await self.sync_folder(_parent(path))

    async def remove(self, path: str) -> None:
        """Remove a file or folder, durably; no error when it is gone. Raises OSError."""
        full = self._full(path)
        await self._run([partial(_remove, full)])
        self._names_changed(path)
        await self.sync_folder(_parent(path))

    def lock(self, path: str) -> DiskLock:
        """Lock a file against other processes. Raises DataDirectoryError naming the holder, OSError."""
        fd = os.open(self._full(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.write(fd, b"%d\n" % os.getpid())
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise DataDirectoryError(
                f"data folder {self.root} is in use by the process with pid {holder}; stop it, or give this node "
                "a folder of its own"
            ) from None
        except OSError:
            os.close(fd)
            raise
        return RealLock(fd)

    def free_bytes(self) -> int:
        """Room left for us on this disk. Raises OSError."""
        facts = os.statvfs(self.root)
        return facts.f_bavail * facts.f_frsize

    def total_bytes(self) -> int:
        """Size of the volume. Raises OSError."""
        facts = os.statvfs(self.root)
        return facts.f_blocks * facts.f_frsize

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}" if path else str(self.root)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _remove(full: str) -> None:
    with suppress(FileNotFoundError):
        if os.path.isdir(full) and not os.path.islink(full):
            shutil.rmtree(full)
        else:
            os.unlink(full)


class _Batch:
    """Jobs in threads and one who waits for all of them. It takes one turn of the loop, where `run_in_executor` and
    `asyncio.wait` take four: this is the way of every acknowledgement.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, jobs: int) -> None:
        self.error: Exception | None = None
        self._loop = loop
        self._left = jobs
        self._waiter: asyncio.Future[None] | None = None

    def work(self, job: Callable[[], None]) -> None:
        """In a thread."""
        error: Exception | None = None
        try:
            job()
        except Exception as caught:  # noqa: BLE001 - it is raised where the batch is waited for
            error = caught
        self._loop.call_soon_threadsafe(self._one_done, error)

    async def over(self) -> None:
        """Wait until the last one is done."""
        if self._left:
            self._waiter = self._loop.create_future()
            await self._waiter

    def _one_done(self, error: Exception | None) -> None:
        self._left -= 1
        self.error = self.error or error
        if not self._left and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

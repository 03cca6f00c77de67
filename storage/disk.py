"""The Disk seam: every touch of a disk in Ottla goes through it, so that the simulator can stand in its place.

Appends and reads are synchronous (they meet the page cache: about 20 us for 64 KB); what waits for the platter
(`sync`, `write_atomic`, removals) is awaited and never runs on the event loop. All paths are relative to the
disk's root, with `/` between names.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
Buffer = bytes | bytearray | memoryview


class DiskFile(Protocol):
    """An append-only file, open for reading and appending."""

    @property
    def path(self) -> str:
        """Relative to the disk's root, as it was opened: a later rename does not show."""
        ...

    @property
    def size(self) -> int:
        """Bytes in the file, synced or not."""
        ...

    def append(self, data: Buffer) -> None:
        """Add bytes at the end: all of them, or none and OSError (a partial write is cut off again)."""
        ...

    def read(self, position: int, length: int) -> memoryview:
        """Up to `length` bytes from `position`; fewer at the end of the file. Raises OSError."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes. Raises OSError."""
        ...

    def close(self) -> None:
        """Give the file back to the system. Does not sync."""
        ...


class DiskLock(Protocol):
    """A lock on a data directory, held until closed or until the process is gone."""

    def close(self) -> None:
        """Give the lock back."""
        ...


class Disk(Protocol):
    """One data directory's disk."""

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        """Open a file, making it (and not its folders) when `create`. Raises FileNotFoundError, OSError."""
        ...

    def list(self, path: str) -> Sequence[str]:
        """Sorted names in a folder; empty when there is no such folder."""
        ...

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there."""
        ...

    def make_folder(self, path: str) -> None:
        """Make a folder and its parents; durable with the first sync of a file in it."""
        ...

    def read_file(self, path: str) -> bytes:
        """A small file, whole. Raises FileNotFoundError, OSError."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Atomically; durable only after `sync_folder` of the parent."""
        ...

    async def sync(self, files: Sequence[DiskFile]) -> None:
        """Make durable what had been appended to (or cut off) these files when the call was made, names included.

        One call is one group commit: the implementation picks the cheapest way. Raises OSError; after that nothing
        may be assumed about the bytes since the last successful sync (Rebello et al., ATC'20).
        """
        ...

    async def sync_folder(self, path: str) -> None:
        """Make the names in a folder durable."""
        ...

    async def write_atomic(self, path: str, data: Buffer) -> None:
        """Replace a small file: temporary file, fsync, rename, fsync of the folder. Old or new, never between."""
        ...

    async def remove(self, path: str) -> None:
        """Remove a file or a whole folder; no error when it is gone already. Durable when it returns."""
        ...

    async def work(self, job: Callable[[], T]) -> T:
        """Run long work on this disk's files beside the loop; nobody else may touch what it touches meanwhile.

        Waits for its end also when cancelled. Raises what it raises.
        """
        ...

    def lock(self, path: str) -> DiskLock:
        """Lock a file against other processes. Raises DataDirectoryError naming the holder, OSError."""
        ...

    def free_bytes(self) -> int:
        """Room left for us on this disk."""
        ...

    def total_bytes(self) -> int:
        """Size of the volume, others' files included."""
        ...

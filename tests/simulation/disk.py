"""A disk in memory that forgets what a real one may forget.

What is not synced may be gone after `crash`: of each file a random prefix of the appends and cuts since its last
sync survives, the next append torn (cut short, or its rest zero or garbage); of each folder a random prefix of the
names made, renamed and removed since it was synced. A failed sync loses its bytes for good though they can still
be read, as Linux does it (Rebello et al., ATC'20).
"""

import asyncio
import errno
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from storage.disk import Buffer, DiskFile, DiskLock
from storage.errors import DataDirectoryError
from tests.simulation.disk_nodes import FileNode, Folder, fresh_root

T = TypeVar("T")


class SimFile:
    """A handle; dead after a crash."""

    def __init__(self, disk: "SimDisk", path: str, node: FileNode) -> None:
        self._disk = disk
        self._path = path
        self.node = node
        self._life = disk.life
        self._open = True

    @property
    def path(self) -> str:
        """As it was opened."""
        return self._path

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return len(self.node.content)

    def append(self, data: Buffer) -> None:
        """All or none. Raises OSError."""
        self._check()
        self._disk.check_write(self._path, len(data))
        self.node.append(bytes(data))

    def read(self, position: int, length: int) -> memoryview:
        """Up to `length` bytes. Raises OSError."""
        self._check()
        self._disk.check_read(self._path)
        return memoryview(bytes(self.node.content[position : position + length]))

    def truncate(self, size: int) -> None:
        """Cut the file. Raises OSError."""
        self._check()
        self._disk.check_write(self._path, 0)
        self.node.truncate(size)

    def close(self) -> None:
        """No more use of this handle."""
        self._open = False

    def _check(self) -> None:
        if self._life != self._disk.life:
            raise OSError(errno.EIO, "the machine crashed since this file was opened", self._path)
        if not self._open:
            raise OSError(errno.EBADF, "the file is closed", self._path)


class SimLock:
    """A held lock."""

    def __init__(self, disk: "SimDisk", path: str) -> None:
        self._disk = disk
        self._path = path

    def close(self) -> None:
        """Give it back."""
        self._disk.locked.discard(self._path)


class SimDisk:
    """Implements storage.disk.Disk. All chance comes from `rng`; `sync_seconds` is the range a sync takes.

    Faults: `capacity` bytes (ENOSPC beyond), `fail_sync_in` n: the n-th sync from now fails with EIO,
    `fail_every_sync` k: every k-th does, `fail_writes`: an errno for appends, `fail_reads`: an errno for reads,
    `failing`: the beginning of paths whose every sync fails ("" for all), as on a disk that is dying,
    `on_step`: called before every durable step with its name, so that a test can crash between any two.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        sync_seconds: tuple[float, float] = (0.0, 0.0),
        capacity: int | None = None,
    ) -> None:
        self._rng = rng
        self.sync_seconds = sync_seconds
        self.capacity = capacity
        self.fail_sync_in = 0
        self.fail_every_sync = 0
        self.fail_writes = 0
        self.fail_reads = 0
        self.failing: str | None = None
        self.on_step: Callable[[str], None] | None = None
        self.life = 0
        self.syncs = 0
        self.locked: set[str] = set()
        self._root = fresh_root()

    # Faults.

    def fail_next_sync(self) -> None:
        """The next sync raises EIO and loses what it was to save."""
        self.fail_sync_in = 1

    def crash(self) -> None:
        """Power loss: see the module. Handles are dead, locks free, syncs under way raise."""
        self.life += 1
        self.locked.clear()
        self._root.crash(self._rng)

    def kill(self) -> None:
        """The process dies, the machine does not: handles are dead, nothing written is lost."""
        self.life += 1
        self.locked.clear()

    def flip_bit(self, path: str, position: int, bit: int = 0) -> None:
        """Damage one bit of a file, for good."""
        node = self._file(path)
        for content in (node.content, node.durable):
            if position < len(content):
                content[position] ^= 1 << bit

    def overwrite(self, path: str, content: bytes) -> None:
        """Replace a file's bytes behind everyone's back, durably."""
        node = self._file(path)
        node.replace(content)

    def used_bytes(self) -> int:
        """Bytes in all files."""
        return sum(len(node.content) for node in self._root.files())

    def files(self) -> dict[str, bytes]:
        """Every file by path, as it is read now."""
        return {path: bytes(node.content) for path, node in sorted(self._root.walk(""))}

    def check_write(self, path: str, size: int) -> None:
        """Raises what a write would."""
        if self.fail_writes:
            raise OSError(self.fail_writes, "simulated write error", path)
        if self.capacity is not None and size and self.used_bytes() + size > self.capacity:
            raise OSError(errno.ENOSPC, "No space left on device", path)

    def check_read(self, path: str) -> None:
        """Raises what a read would."""
        if self.fail_reads:
            raise OSError(self.fail_reads, "simulated read error", path)

    # Disk.

    def open(self, path: str, *, create: bool = False) -> SimFile:
        """See Disk.open."""
        folder, name = self._folder_of(path)
        node = folder.entries.get(name)
        if node is None and create:
            if self.fail_writes:
                raise OSError(self.fail_writes, "simulated write error", path)
            node = FileNode(folder)
            folder.link(name, node)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        if not isinstance(node, FileNode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        return SimFile(self, path, node)

    def list(self, path: str) -> Sequence[str]:
        """See Disk.list."""
        node = self._root.find(path)
        return sorted(node.entries) if isinstance(node, Folder) else []

    def exists(self, path: str) -> bool:
        """See Disk.exists."""
        return self._root.find(path) is not None

    def make_folder(self, path: str) -> None:
        """See Disk.make_folder."""
        folder = self._root
        for name in path.split("/"):
            node = folder.entries.get(name)
            if node is None:
                if self.fail_writes:
                    raise OSError(self.fail_writes, "simulated write error", path)
                node = Folder(folder)
                folder.link(name, node)
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", path)
            folder = node

    def read_file(self, path: str) -> bytes:
        """See Disk.read_file."""
        self.check_read(path)
        return bytes(self._file(path).content)

    def rename(self, source: str, target: str) -> None:
        """See Disk.rename; within one folder."""
        folder, old = self._folder_of(source)
        other, new = self._folder_of(target)
        assert folder is other, "the simulated disk renames within a folder"
        if self.fail_writes:
            raise OSError(self.fail_writes, "simulated write error", source)
        if old not in folder.entries:
            raise FileNotFoundError(errno.ENOENT, "No such file", source)
        folder.rename(old, new)

    async def sync(self, files: Sequence[DiskFile]) -> None:
        """See Disk.sync."""
        nodes = []
        for file in files:
            assert isinstance(file, SimFile)
            nodes.append((file.node, file.node.mark, file.node.folder.path_marks()))
        await self._platter(f"sync {[file.path for file in files]}", [node for node, _, _ in nodes])
        for node, mark, marks in nodes:
            node.saved(mark)
            for folder, names in marks:
                folder.saved(names)

    async def sync_folder(self, path: str) -> None:
        """See Disk.sync_folder."""
        folder = self._root.find(path)
        if not isinstance(folder, Folder):
            return
        marks = folder.path_marks()
        await self._platter(f"sync_folder {path}", [])
        for ancestor, names in marks:
            ancestor.saved(names)

    async def write_atomic(self, path: str, data: Buffer) -> None:
        """See Disk.write_atomic."""
        self.check_write(path, len(data))
        content, early = bytes(data), self._rng.random() < 0.5
        if not early:
            await self._platter(f"write_atomic {path}", [])
        folder, name = self._folder_of(path)
        node = FileNode(folder)
        node.replace(content)
        folder.link(name, node)
        for ancestor, names in folder.path_marks():
            ancestor.saved(names)
        if early:
            await self._platter(f"write_atomic {path}", [])

    async def remove(self, path: str) -> None:
        """See Disk.remove."""
        if self._root.find(path) is None:
            return
        await self._platter(f"remove {path}", [])
        folder, name = self._folder_of(path)
        if name in folder.entries:
            folder.unlink(name)
        for ancestor, names in folder.path_marks():
            ancestor.saved(names)

    async def work(self, job: Callable[[], T]) -> T:
        """See Disk.work; here the loop waits, so that equal seeds make equal runs."""
        return job()

    def lock(self, path: str) -> DiskLock:
        """See Disk.lock."""
        if path in self.locked:
            raise DataDirectoryError(f"{path} is in use by another simulated process")
        self.open(path, create=True)
        self.locked.add(path)
        return SimLock(self, path)

    def free_bytes(self) -> int:
        """See Disk.free_bytes."""
        return 2**40 if self.capacity is None else max(0, self.capacity - self.used_bytes())

    def total_bytes(self) -> int:
        """See Disk.total_bytes."""
        return 2**40 if self.capacity is None else self.capacity

    async def _platter(self, step: str, nodes: Sequence[FileNode]) -> None:
        """One durable step: takes its time, may fail, and never ends in another life."""
        life = self.life
        if self.on_step is not None:
            self.on_step(step)
        await asyncio.sleep(self._rng.uniform(*self.sync_seconds))
        if life != self.life:
            raise OSError(errno.EIO, f"the machine crashed during {step}")
        self.syncs += 1
        if self._fails() or self._is_dying(step):
            for node in nodes:
                node.lose_pending()
            raise OSError(errno.EIO, f"simulated failure of {step}")

    def _is_dying(self, step: str) -> bool:
        paths = step.partition(" ")[2].strip("[]").split(", ")
        return self.failing is not None and any(
            path.strip("'").startswith(self.failing) for path in paths
        )

    def _fails(self) -> bool:
        if self.fail_every_sync and self.syncs % self.fail_every_sync == 0:
            return True
        if self.fail_sync_in:
            self.fail_sync_in -= 1
            return not self.fail_sync_in
        return False

    def _folder_of(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        folder = self._root.find(parent)
        if not isinstance(folder, Folder):
            raise FileNotFoundError(errno.ENOENT, "No such folder", path)
        return folder, name

    def _file(self, path: str) -> FileNode:
        node = self._root.find(path)
        if not isinstance(node, FileNode):
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return node

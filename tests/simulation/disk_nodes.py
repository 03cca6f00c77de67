"""Files and folders of the simulated disk: what they hold, and what of it is durable."""

import random
from collections.abc import Iterator

Op = bytes | int
"""Since the last sync: bytes appended, or the size the file was cut to."""


class FileNode:
    """An inode. `pending` are the changes since `durable`; `lost` ranges were dropped by a failed sync."""

    def __init__(self, folder: "Folder") -> None:
        self.folder = folder
        self.content = bytearray()
        self.durable = bytearray()
        self.pending: list[Op] = []
        self.doomed: list[tuple[int, int]] = []
        self.settled_ops = 0

    @property
    def mark(self) -> int:
        """How many changes there were ever, for `saved`."""
        return self.settled_ops + len(self.pending)

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self.content += data
        self.pending.append(data)

    def truncate(self, size: int) -> None:
        """Cut to `size`."""
        del self.content[size:]
        self.pending.append(size)

    def replace(self, data: bytes) -> None:
        """Other content, durably."""
        self.content[:] = self.durable[:] = data
        self._settle(len(self.pending))

    def saved(self, mark: int) -> None:
        """The changes before `mark` are durable now."""
        count = max(0, mark - self.settled_ops)
        for op in self.pending[:count]:
            _apply(self.durable, op)
        self._settle(count)

    def _settle(self, count: int) -> None:
        self.settled_ops += count
        del self.pending[:count]

    def lose_pending(self) -> None:
        """A sync failed: the pages count as clean, a later sync saves nothing of them."""
        for op in self.pending:
            start = len(self.durable)
            _apply(self.durable, op)
            if isinstance(op, bytes):
                self.doomed.append((start, start + len(op)))
        self._settle(len(self.pending))

    def crash(self, rng: random.Random) -> None:
        """Only what is durable and a torn prefix of the rest survives."""
        keep = rng.randint(0, len(self.pending))
        for op in self.pending[:keep]:
            _apply(self.durable, op)
        if keep < len(self.pending):
            self._tear(self.pending[keep], rng)
        for start, end in self.doomed:
            stop = min(end, len(self.durable))
            if start < stop:
                self.durable[start:stop] = bytes(stop - start)
        self.content[:] = self.durable
        self._settle(len(self.pending))
        self.doomed.clear()

    def _tear(self, op: Op, rng: random.Random) -> None:
        if isinstance(op, int):
            return
        whole = rng.randint(0, len(op))
        rest = rng.choice(("gone", "zero", "garbage"))
        self.durable += op[:whole]
        missing = len(op) - whole
        if rest == "zero":
            self.durable += bytes(missing)
        elif rest == "garbage":
            self.durable += rng.randbytes(missing)


def _apply(content: bytearray, op: Op) -> None:
    if isinstance(op, int):
        del content[op:]
    else:
        content += op


NameOp = tuple[str, str, "FileNode | Folder | None"]
"""("link", name, node), ("unlink", name, None) or ("rename <old name>", new name, node)."""


class Folder:
    """A directory inode."""

    def __init__(self, parent: "Folder | None") -> None:
        self.parent = parent
        self.entries: dict[str, FileNode | Folder] = {}
        self.durable: dict[str, FileNode | Folder] = {}
        self.pending: list[NameOp] = []
        self.settled_ops = 0

    def link(self, name: str, node: "FileNode | Folder") -> None:
        """Make or replace a name."""
        self._do(("link", name, node))

    def unlink(self, name: str) -> None:
        """Remove a name."""
        self._do(("unlink", name, None))

    def rename(self, old: str, new: str) -> None:
        """One atomic change."""
        self._do((f"rename {old}", new, self.entries[old]))

    def _do(self, op: NameOp) -> None:
        _apply_name(self.entries, op)
        self.pending.append(op)

    def saved(self, mark: int) -> None:
        """The changes of names before `mark` are durable."""
        count = max(0, mark - self.settled_ops)
        for op in self.pending[:count]:
            _apply_name(self.durable, op)
        self.settled_ops += count
        del self.pending[:count]

    def path_marks(self) -> list[tuple["Folder", int]]:
        """This folder and those above it, each with the number of changes made so far."""
        marks, folder = [], self
        while True:
            marks.append((folder, folder.settled_ops + len(folder.pending)))
            if folder.parent is None:
                return marks
            folder = folder.parent

    def crash(self, rng: random.Random) -> None:
        """Only a prefix of the changes of names survives, here and below."""
        self.saved(self.settled_ops + rng.randint(0, len(self.pending)))
        self.settled_ops += len(self.pending)
        self.pending.clear()
        self.entries = dict(self.durable)
        for _, node in sorted(self.entries.items()):
            node.crash(rng)

    def find(self, path: str) -> "FileNode | Folder | None":
        """The node at a path below this folder."""
        node: FileNode | Folder | None = self
        for name in filter(None, path.split("/")):
            node = node.entries.get(name) if isinstance(node, Folder) else None
        return node

    def walk(self, prefix: str) -> Iterator[tuple[str, FileNode]]:
        """(path, file) of everything below."""
        for name, node in self.entries.items():
            if isinstance(node, Folder):
                yield from node.walk(f"{prefix}{name}/")
            else:
                yield f"{prefix}{name}", node

    def files(self) -> Iterator[FileNode]:
        """Every file below."""
        return (node for _, node in self.walk(""))


def _apply_name(entries: "dict[str, FileNode | Folder]", op: NameOp) -> None:
    kind, name, node = op
    if kind.startswith("rename "):
        entries.pop(kind.removeprefix("rename "), None)
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def fresh_root() -> Folder:
    """An empty disk."""
    return Folder(None)

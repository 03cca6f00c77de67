"""Snapshots of the metadata on disk, `<index>-<term>.checkpoint`: a head that describes and checks what follows.

    head length 4 | head: a checkpoint record of SnapshotMeta | the state machine's bytes
A file under this name is whole and durable: it is written under another name first (bug R10).
"""

from zlib import crc32

import msgspec

from kraft.raft.membership import Membership
from kraft.raft.messages import SnapshotMeta
from storage import checkpoint
from storage.disk import Disk, DiskFile
from storage.errors import UnreadableFileError

SUFFIX = ".checkpoint"
PART_SUFFIX = ".checkpoint.part"
VERSION = 1
_LENGTH_BYTES = 4


def describe(index: int, term: int, membership: Membership, data: bytes) -> SnapshotMeta:
    """The identity of a snapshot with these bytes."""
    return SnapshotMeta(index, term, membership, len(data), crc32(data))


def file_name(snapshot: SnapshotMeta) -> str:
    """As Kafka names them: digits that sort."""
    return f"{snapshot.index:020d}-{snapshot.term:010d}{SUFFIX}"


def head(snapshot: SnapshotMeta) -> bytes:
    """What stands before the state machine's bytes."""
    record = checkpoint.encode(msgspec.msgpack.encode(snapshot), VERSION)
    return len(record).to_bytes(_LENGTH_BYTES, "big") + record


def find(disk: Disk, folder: str) -> list[str]:
    """Names of the snapshots in a folder, the latest last."""
    names = []
    for name in disk.list(folder):
        index, dash, term = name.removesuffix(SUFFIX).partition("-")
        if name.endswith(SUFFIX) and dash and index.isdigit() and term.isdigit():
            names.append(name)
    return sorted(names)


class SnapshotFile:
    """A whole snapshot, open for reading."""

    def __init__(self, disk: Disk, path: str) -> None:
        """Raises UnreadableFileError when the head is damaged or bytes are missing, OSError."""
        self.path = path
        self._file: DiskFile = disk.open(path)
        length = int.from_bytes(self._file.read(0, _LENGTH_BYTES), "big")
        version, record = checkpoint.decode(self._file.read(_LENGTH_BYTES, length), path)
        if version != VERSION:
            raise UnreadableFileError(
                f"{path} is a snapshot of version {version}, this release reads {VERSION}"
            )
        try:
            self.meta = msgspec.msgpack.decode(record, type=SnapshotMeta)
        except msgspec.DecodeError as error:
            raise UnreadableFileError(f"{path} is damaged: {error}") from error
        self._start = _LENGTH_BYTES + length
        if self._file.size != self._start + self.meta.size_bytes:
            raise UnreadableFileError(
                f"{path} is damaged: {self._file.size} bytes instead of {self._start + self.meta.size_bytes}"
            )

    def read(self, offset: int, length: int) -> bytes:
        """A piece of the state machine's bytes. Raises OSError."""
        return bytes(self._file.read(self._start + offset, length))

    def data(self) -> bytes:
        """All of them, checked. Raises UnreadableFileError, OSError."""
        data = self.read(0, self.meta.size_bytes)
        if len(data) != self.meta.size_bytes or crc32(data) != self.meta.checksum:
            raise UnreadableFileError(
                f"{self.path} is damaged: its checksum does not match. Remove this node from the quorum, "
                f"empty its metadata folder and add it again; the other nodes have the same state"
            )
        return data

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

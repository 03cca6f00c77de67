"""Durable Raft state on a partition log. This is the one bridge between two vocabularies:

    Raft's index is the log's offset, Raft's term is its leader epoch, and entries begin at offset 1.

An entry is one record batch with one record whose value is the entry's kind (one byte) and its data; so a cut never
splits a batch. Term and vote are one atomic record (bugs R1, R2). Snapshots lie beside the log (`kraft.snapshot_file`).
"""

import errno
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from kraft import snapshot_file
from kraft.raft.messages import Entry, EntryKind, HardState, SnapshotMeta
from kraft.raft.ready import ChunkReceived, ChunkToSend, Persist, Restored
from kraft.snapshot_file import SnapshotFile
from storage import checkpoint
from storage.disk import Disk, DiskFile
from storage.errors import DiskFullError, LogDamagedError, UnreadableFileError
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog
from storage.record_batch import iter_headers
from storage.records import BatchBuilder, decode_batch

FOLDER = "__cluster_metadata-0"
HARD_STATE_FILE = "quorum-state"
HARD_STATE_VERSION = 1
FIRST_INDEX = 1
_READ_BYTES = 1 << 20


class RaftStore:
    """One node's log, vote and snapshots. One caller at a time may be inside `persist` or `compact`."""

    def __init__(
        self,
        disk: Disk,
        folder: str,
        log: PartitionLog,
        hard_state: HardState,
        snapshot: SnapshotFile | None,
    ) -> None:
        """Use `open`."""
        self._disk = disk
        self._folder = folder
        self._log = log
        self._hard_state = hard_state
        self._snapshot = snapshot
        self._receiving: tuple[SnapshotMeta, DiskFile] | None = None
        # Received whole, each with its install on the way.
        self._received: dict[SnapshotMeta, DiskFile] = {}

    @classmethod
    async def open(
        cls, disk: Disk, folder: str = FOLDER, *, segment_bytes: int = 4 << 20, wall_ms: int = 0
    ) -> "RaftStore":
        """Open or create, finish what a crash left half done, and make everything found durable.

        Raises UnreadableFileError, LogDamagedError, LogOfflineError, OSError. Nothing unreadable is ever removed.
        """
        disk.make_folder(folder)
        hard_state = _read_hard_state(disk, folder)
        names = snapshot_file.find(disk, folder)
        snapshot = SnapshotFile(disk, f"{folder}/{names[-1]}") if names else None
        config = LogConfig(segment_bytes=segment_bytes, retention_ms=-1, max_message_bytes=1 << 30)
        if any(name.endswith(".log") for name in disk.list(folder)):
            log = await disk.work(
                lambda: PartitionLog.open(disk, folder, config, clean=False, now_ms=wall_ms)
            )
        else:
            start = snapshot.meta.index + 1 if snapshot else FIRST_INDEX
            log = PartitionLog.create(disk, folder, config, start, now_ms=wall_ms)
        store = cls(disk, folder, log, hard_state, snapshot)
        store._reconcile()
        await store._flush()
        await store._remove_leftovers(names)
        return store

    def _reconcile(self) -> None:
        """An install that crashed after the snapshot was named has left the old log behind (bug R10)."""
        log, meta = self._log, self._snapshot.meta if self._snapshot else None
        first = FIRST_INDEX if meta is None else meta.index + 1
        if log.log_start_offset > first:
            raise LogDamagedError(
                f"{self._folder}: entries {first} to {log.log_start_offset - 1} are in no snapshot and not in the log"
            )
        if meta is None or log.log_start_offset == first:
            return
        if log.log_end_offset < first or log.epoch_at(meta.index) != meta.term:
            log.truncate_fully_and_start_at(first)

    async def _remove_leftovers(self, snapshots: Sequence[str]) -> None:
        for name in snapshots[:-1]:
            await self._disk.remove(f"{self._folder}/{name}")
        for name in self._disk.list(self._folder):
            if name.endswith(snapshot_file.PART_SUFFIX):
                await self._disk.remove(f"{self._folder}/{name}")

    # What is there.

    @property
    def notes(self) -> Sequence[str]:
        """What opening the log had to do, for the operator (a torn tail was cut)."""
        return self._log.notes

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The latest snapshot."""
        return self._snapshot.meta if self._snapshot else None

    def restored(self) -> Restored:
        """What the consensus core starts from. Raises LogDamagedError, LogOfflineError."""
        return Restored(
            hard_state=self._hard_state, snapshot=self.snapshot, entries=self._read_entries()
        )

    def _read_entries(self) -> list[Entry]:
        log, entries = self._log, list[Entry]()
        offset = log.log_start_offset
        while offset < log.log_end_offset:
            data = log.read(offset, _READ_BYTES, end_offset=log.log_end_offset)
            for position, header in iter_headers(data):
                record = next(decode_batch(data, position))
                value = record.value or b""
                kind = EntryKind(value[0])
                entries.append(
                    Entry(header.base_offset, header.partition_leader_epoch, kind, value[1:])
                )
            offset = entries[-1].index + 1
        return entries

    def snapshot_data(self) -> bytes:
        """The latest snapshot's bytes, checked. Raises UnreadableFileError, OSError."""
        assert self._snapshot is not None, "there is no snapshot"
        return self._snapshot.data()

    def read_chunk(self, chunk: ChunkToSend) -> bytes | None:
        """A piece of a snapshot for a follower; None when that snapshot is not here any more. Raises OSError."""
        if self._snapshot is None or self._snapshot.meta != chunk.snapshot:
            return None
        data = self._snapshot.read(chunk.offset, chunk.length)
        return data if len(data) == chunk.length else None

    # Making it so.

    async def persist(self, persists: deque[Persist]) -> None:
        """Make these durable, in order, with one sync of the log; what is written is taken from `persists`.

        After DiskFullError the same deque may be given again. After any other error nothing may be acknowledged any
        more. Raises DiskFullError, LogOfflineError, OSError.
        """
        states = [each.hard_state for each in persists if each.hard_state is not None]
        with _naming_full_disk(self._folder):
            if states:
                await self._write_hard_state(states[-1])
            while persists:
                await self._write(persists[0])
                persists.popleft()
            await self._flush()

    async def _write(self, persist: Persist) -> None:
        if persist.snapshot is not None:
            await self._install(persist.snapshot)
        if persist.truncate_from is not None:
            self._log.truncate_to(persist.truncate_from)
        if persist.entries:
            self._append(persist.entries)

    async def _write_hard_state(self, state: HardState) -> None:
        path = f"{self._folder}/{HARD_STATE_FILE}"
        await checkpoint.write(self._disk, path, msgspec.msgpack.encode(state), HARD_STATE_VERSION)
        self._hard_state = state

    def _append(self, entries: Sequence[Entry]) -> None:
        assert entries[0].index == self._log.log_end_offset, (
            f"entry {entries[0].index} cannot stand at offset {self._log.log_end_offset}"
        )
        self._log.append_as_follower(b"".join(_batch(entry) for entry in entries))

    async def _flush(self) -> None:
        log = self._log
        while log.needs_flush:
            ticket = log.begin_flush()
            try:
                await self._disk.sync(ticket.files)
            except OSError as error:
                raise log.fail_flush(ticket, error) from error
            except BaseException:
                log.abandon_flush(ticket)
                raise
            log.complete_flush(ticket)

    # Snapshots.

    def write_chunk(self, chunk: ChunkReceived) -> None:
        """Keep a piece of the leader's snapshot, not yet durably. Raises OSError."""
        if chunk.offset == 0:
            self._drop_receiving()
            file = self._disk.open(self._part_path(chunk.snapshot), create=True)
            file.truncate(0)
            file.append(snapshot_file.head(chunk.snapshot))
            self._receiving = (chunk.snapshot, file)
        assert self._receiving is not None
        snapshot, file = self._receiving
        assert snapshot == chunk.snapshot, f"chunk of {chunk.snapshot} while receiving {snapshot}"
        file.append(chunk.data)
        if chunk.offset + len(chunk.data) == snapshot.size_bytes:
            self._received[snapshot] = file
            self._receiving = None

    async def _install(self, snapshot: SnapshotMeta) -> None:
        """The received snapshot gets its name, durably, and only then the old log goes (bug R10)."""
        path = f"{self._folder}/{snapshot_file.file_name(snapshot)}"
        file = self._received.get(snapshot)
        if file is not None:
            await self._disk.sync([file])
            self._disk.rename(self._part_path(snapshot), path)
            file.close()
            del self._received[snapshot]
        await self._disk.sync_folder(self._folder)
        self._log.truncate_fully_and_start_at(snapshot.index + 1)
        await self._flush()
        await self._use(SnapshotFile(self._disk, path))

    async def save_snapshot(self, snapshot: SnapshotMeta, data: bytes) -> None:
        """Write an own snapshot durably; nothing is taken from the log yet. Raises DiskFullError, OSError."""
        path = f"{self._folder}/{snapshot_file.file_name(snapshot)}"
        with _naming_full_disk(path):
            await self._disk.write_atomic(path, snapshot_file.head(snapshot) + data)
        await self._use(SnapshotFile(self._disk, path))

    async def _use(self, file: SnapshotFile) -> None:
        """The later snapshot stays, the other goes."""
        old = self._snapshot
        if old is not None and old.meta.index >= file.meta.index:
            old, file = file, old
        self._snapshot = file
        if old is not None and old.path != file.path:
            old.close()
            await self._disk.remove(old.path)

    async def compact(self, first_index: int) -> None:
        """The log begins at `first_index` now; whole segments before it are deleted. Raises LogOfflineError."""
        log = self._log
        if not log.log_start_offset < first_index <= log.log_end_offset:
            return
        assert self._snapshot is not None and first_index <= self._snapshot.meta.index + 1, (  # noqa: PT018
            f"the log cannot begin at {first_index} with the snapshot {self.snapshot}"
        )
        log.advance_log_start(first_index)
        await log.delete_segments(log.expired_segments(log.clock_ms, log.log_start_offset))

    async def close(self) -> None:
        """Close all files. Raises OttlaError when the last checkpoint fails."""
        self._drop_receiving()
        if self._snapshot is not None:
            self._snapshot.close()
        await self._log.close()

    def _drop_receiving(self) -> None:
        """What is left of the file is removed at the next start."""
        if self._receiving is not None:
            file = self._receiving[1]
            self._receiving = None
            file.truncate(0)
            file.close()

    def _part_path(self, snapshot: SnapshotMeta) -> str:
        name = snapshot_file.file_name(snapshot).removesuffix(snapshot_file.SUFFIX)
        return f"{self._folder}/{name}{snapshot_file.PART_SUFFIX}"


@contextmanager
def _naming_full_disk(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"no room to write {path}; make some, nothing was lost") from error


def _batch(entry: Entry) -> bytes:
    builder = BatchBuilder()
    builder.append(0, None, bytes((entry.kind,)) + entry.data)
    return builder.build(base_offset=entry.index, leader_epoch=entry.term)


def _read_hard_state(disk: Disk, folder: str) -> HardState:
    """Raises UnreadableFileError: a forgotten vote is never guessed (bug R1)."""
    path = f"{folder}/{HARD_STATE_FILE}"
    found = checkpoint.read(disk, path)
    if found is None:
        return HardState()
    version, payload = found
    if version != HARD_STATE_VERSION:
        raise UnreadableFileError(
            f"{path} has version {version}; this release reads {HARD_STATE_VERSION}"
        )
    try:
        return msgspec.msgpack.decode(payload, type=HardState)
    except msgspec.DecodeError as error:
        raise UnreadableFileError(f"{path} is damaged: {error}") from error

"""The task that waits for the disk on behalf of the driver: log first, snapshots beside it."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from kraft.raft.messages import SnapshotMeta
from kraft.raft.ready import Persist
from kraft.store import RaftStore
from storage.errors import DiskFullError

log = structlog.get_logger("raft")

DISK_FULL_PAUSE_S = 0.5

Saved = Callable[[SnapshotMeta], int]


class StoreWriter:
    """One `persist` at a time, with everything that came meanwhile. What the core hands out bounds its queue."""

    def __init__(self, store: RaftStore, progressed: Callable[[], None]) -> None:
        """`progressed` is called when `persisted_sequence` has risen."""
        self.persisted_sequence = 0
        self.saving_snapshot = False
        self._store = store
        self._progressed = progressed
        self._persists: deque[Persist] = deque()
        self._compact_to: int | None = None
        self._snapshot: tuple[SnapshotMeta, bytes, Saved] | None = None
        self._log_work = asyncio.Event()
        self._snapshot_work = asyncio.Event()
        self._stopping = False

    def persist(self, persist: Persist) -> None:
        """Take one to the disk."""
        self._persists.append(persist)
        self._log_work.set()

    def save_snapshot(self, snapshot: SnapshotMeta, data: bytes, saved: Saved) -> None:
        """Write a snapshot; then ask `saved` where the log may begin, and cut it there."""
        assert not self.saving_snapshot, "one snapshot at a time"
        self.saving_snapshot = True
        self._snapshot = (snapshot, data, saved)
        self._snapshot_work.set()

    def stop(self) -> None:
        """Let `run` end when what it has is done."""
        self._stopping = True
        self._log_work.set()
        self._snapshot_work.set()

    async def run(self) -> None:
        """Work until stopped. Raises what the store raises; then nothing more is durable."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_log())
            tasks.create_task(self._write_snapshots())

    async def _write_log(self) -> None:
        while True:
            await self._log_work.wait()
            self._log_work.clear()
            while self._persists:
                taken, self._persists = self._persists, deque()
                last = taken[-1].sequence
                await self._persist(taken)
                self.persisted_sequence = last
                self._progressed()
            if self._compact_to is not None:
                first_index, self._compact_to = self._compact_to, None
                await self._compact(first_index)
                self.saving_snapshot = False
            if self._stopping and not self._persists:
                return

    async def _persist(self, taken: deque[Persist]) -> None:
        """A full disk is waited for: nothing is acknowledged meanwhile, and nothing was lost."""
        while True:
            try:
                await self._store.persist(taken)
            except DiskFullError as error:
                log.warning("metadata log waits for room on the disk", reason=str(error))
                if self._stopping:
                    raise
                await asyncio.sleep(DISK_FULL_PAUSE_S)
            else:
                return

    async def _compact(self, first_index: int) -> None:
        try:
            await self._store.compact(first_index)
        except DiskFullError as error:
            log.warning("the metadata log was not shortened: the disk is full", reason=str(error))

    async def _write_snapshots(self) -> None:
        while True:
            await self._snapshot_work.wait()
            self._snapshot_work.clear()
            if self._snapshot is not None:
                (snapshot, data, saved), self._snapshot = self._snapshot, None
                await self._save(snapshot, data, saved)
            if self._stopping:
                return

    async def _save(self, snapshot: SnapshotMeta, data: bytes, saved: Saved) -> None:
        try:
            await self._store.save_snapshot(snapshot, data)
        except DiskFullError as error:
            log.warning("no snapshot: the disk is full", reason=str(error))
            self.saving_snapshot = False
            return
        self._compact_to = saved(snapshot)
        self._log_work.set()

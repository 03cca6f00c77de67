"""One node's data folder: whose it is, that nobody else uses it, and the partition logs in it.

    .lock                         held while a process uses the folder
    node.meta                     node id and cluster id
    .clean-shutdown               the last process closed every log; removed before anything is loaded
    <topic name>-<partition>/     a log; `partition.meta` holds the topic's UUID, which is its identity (KAFKA-12257)
    <...>.<uuid>-delete/          a deleted log, on its way out

A log that can't be read stays as it is, listed in `failed`: nothing is deleted because it was unreadable.
"""

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from storage import checkpoint
from storage.disk import Disk, DiskLock
from storage.errors import DataDirectoryError, LogOfflineError, OttlaError, UnreadableFileError
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog

LOCK_FILE = ".lock"
META_FILE = "node.meta"
CLEAN_FILE = ".clean-shutdown"
IDENTITY_FILE = "partition.meta"
DELETED_SUFFIX = "-delete"
META_VERSION = 1
CLOSING_AT_ONCE = 8
_NAME_MAX = 255
_LOG_FOLDER = re.compile(r".+-\d+")


class LogIdentity(msgspec.Struct, frozen=True):
    """Which partition a log holds. `topic_id` is a UUID in its text form."""

    topic_name: str
    topic_id: str
    partition: int

    @property
    def folder(self) -> str:
        """Where the log lies."""
        return f"{self.topic_name}-{self.partition}"


class NodeMeta(msgspec.Struct, frozen=True):
    """Whose data folder it is; the cluster is None until the first election chose its id."""

    node_id: int
    cluster_id: str | None


class LogKey(NamedTuple):
    """A log's identity as a key."""

    topic_id: str
    partition: int


class LogDirectory:
    """Use `open`, then `load`, then the logs; `close` at the end.

    logs: by (topic UUID, partition). failed: folder -> why its log could not be opened.
    """

    def __init__(self, disk: Disk, lock: DiskLock, meta: NodeMeta, *, was_clean: bool) -> None:
        """Use `open`."""
        self.disk = disk
        self.meta = meta
        self.was_clean = was_clean
        self.logs: dict[LogKey, PartitionLog] = {}
        self.identities: dict[LogKey, LogIdentity] = {}
        self.failed: dict[str, OttlaError] = {}
        self._lock = lock
        self._extra: list[PartitionLog] = []
        self._removals: dict[str, None] = {}
        self._removal_wanted = asyncio.Event()

    @classmethod
    async def open(
        cls, disk: Disk, *, node_id: int, cluster_id: str | None = None
    ) -> "LogDirectory":
        """Lock the folder and make sure that it is this node's. Nothing is loaded yet.

        Raises DataDirectoryError (in use, not writable, another node's or cluster's), UnreadableFileError.
        """
        try:
            lock = disk.lock(LOCK_FILE)
        except OSError as error:
            raise DataDirectoryError(
                f"the data folder is not writable: {error}; give this user the right to write there, or set "
                "another folder"
            ) from error
        try:
            meta = await _claim(disk, node_id, cluster_id)
            was_clean = disk.exists(CLEAN_FILE)
            # Gone for good before anything is loaded: a crash while loading is no clean shutdown (KAFKA-10471).
            await disk.remove(CLEAN_FILE)
        except OSError as error:
            lock.close()
            raise DataDirectoryError(f"the data folder is not writable: {error}") from error
        except BaseException:
            lock.close()
            raise
        return cls(disk, lock, meta, was_clean=was_clean)

    async def set_cluster_id(self, cluster_id: str) -> None:
        """The cluster's id became known. Raises DataDirectoryError when the folder is another cluster's, OSError."""
        self.meta = await _claim(self.disk, self.meta.node_id, cluster_id)

    async def load(self, config_for: Callable[[LogIdentity], LogConfig], *, now_ms: int) -> None:
        """Open every log in the folder and make durable what the last process left unsynced.

        Logs that can't be opened end up in `failed`. Raises LogOfflineError when that sync fails.
        """
        for folder in self.disk.list(""):
            if folder.endswith(DELETED_SUFFIX):
                self._remove_later(folder)
                continue
            try:
                identity = self._identity(folder)
                if identity is not None:
                    await self._open_log(folder, identity, config_for(identity), now_ms)
            except OttlaError as error:
                self.failed[folder] = error
        await self._flush(list(self.logs.values()))

    def _identity(self, folder: str) -> LogIdentity | None:
        """None for a folder that is no log, or one whose making was cut short before anything was in it."""
        if not _LOG_FOLDER.fullmatch(folder):
            return None
        path = f"{folder}/{IDENTITY_FILE}"
        found = checkpoint.read(self.disk, path)
        if found is not None:
            try:
                return msgspec.json.decode(found[1], type=LogIdentity)
            except msgspec.DecodeError as error:
                raise UnreadableFileError(f"{path} is damaged: {error}") from error
        return None

    async def _open_log(
        self, folder: str, identity: LogIdentity, config: LogConfig, now_ms: int
    ) -> PartitionLog:
        key = LogKey(identity.topic_id, identity.partition)
        if key in self.logs:
            raise DataDirectoryError(
                f"{folder} and {self.logs[key].folder} both hold partition {identity.partition} of topic "
                f"{identity.topic_id}"
            )
        log = await self._opened(folder, config, now_ms)
        self.logs[key] = log
        self.identities[key] = identity
        return log

    async def _opened(self, folder: str, config: LogConfig, now_ms: int) -> PartitionLog:
        """After a crash everything since the last checkpoint is read."""
        return await self.disk.work(
            lambda: PartitionLog.open(
                self.disk, folder, config, clean=self.was_clean, now_ms=now_ms
            )
        )

    async def _flush(self, logs: list[PartitionLog]) -> None:
        dirty = [log for log in logs if log.flush_state.dirty]
        while dirty:
            tickets = [(log, log.begin_flush()) for log in dirty]
            try:
                await self.disk.sync([file for _, ticket in tickets for file in ticket.files])
            except OSError as error:
                failures = [log.fail_flush(ticket, error) for log, ticket in tickets]
                raise LogOfflineError(f"the logs could not be synced: {error}") from failures[0]
            for log, ticket in tickets:
                log.complete_flush(ticket)
            dirty = [log for log in dirty if log.flush_state.dirty]

    def get(self, topic_id: str, partition: int) -> PartitionLog | None:
        """The log of a partition, if this node has one."""
        return self.logs.get(LogKey(topic_id, partition))

    async def create_log(
        self, identity: LogIdentity, config: LogConfig, *, start_offset: int = 0, now_ms: int = 0
    ) -> PartitionLog:
        """A new, empty log. Raises DataDirectoryError when its folder is taken, LogOfflineError, DiskFullError."""
        key, folder = LogKey(identity.topic_id, identity.partition), identity.folder
        assert key not in self.logs, f"{folder} is there already"
        if self.disk.exists(f"{folder}/{IDENTITY_FILE}"):
            raise DataDirectoryError(
                f"folder {folder} holds another log; delete that one before making one for topic {identity.topic_id}"
            )
        log = PartitionLog.create(self.disk, folder, config, start_offset, now_ms=now_ms)
        self.logs[key], self.identities[key] = log, identity
        try:
            data = checkpoint.encode(msgspec.json.encode(identity), META_VERSION)
            await self.disk.write_atomic(f"{folder}/{IDENTITY_FILE}", data)
        except OSError as error:
            self._forget(key)
            raise log.fence("create", error) from error
        return log

    async def open_extra(
        self, folder: str, config: LogConfig, *, now_ms: int, start_offset: int = 0
    ) -> PartitionLog:
        """A log that is no topic's (the metadata log), made when missing; its content is durable on return.

        Raises as PartitionLog.open and `load`.
        """
        if self.disk.exists(f"{folder}/{IDENTITY_FILE}"):
            log = await self._opened(folder, config, now_ms)
            await self._flush([log])
        else:
            log = PartitionLog.create(self.disk, folder, config, start_offset, now_ms=now_ms)
            try:
                data = checkpoint.encode(b"{}", META_VERSION)
                await self.disk.write_atomic(f"{folder}/{IDENTITY_FILE}", data)
            except OSError as error:
                raise log.fence("create", error) from error
        self._extra.append(log)
        return log

    async def delete_log(self, topic_id: str, partition: int) -> None:
        """Take a log out of use at once; its files go in the background. No error when there is none.

        Raises LogOfflineError.
        """
        key = LogKey(topic_id, partition)
        log = self.logs.get(key)
        if log is None:
            return
        self._forget(key)
        await log.close(clean=False)
        suffix = f".{topic_id}{DELETED_SUFFIX}"
        target = log.folder[: _NAME_MAX - len(suffix)] + suffix
        try:
            self.disk.rename(log.folder, target)
            await self.disk.sync_folder("")
        except OSError as error:
            raise LogOfflineError(f"{log.folder} could not be deleted: {error}") from error
        self._remove_later(target)

    def _forget(self, key: LogKey) -> None:
        self.logs.pop(key, None)
        self.identities.pop(key, None)

    def _remove_later(self, folder: str) -> None:
        self._removals[folder] = None
        self._removal_wanted.set()

    async def run_removals(self) -> None:
        """Remove deleted logs until cancelled; for one supervised task. What can't be removed is left for the next
        start and listed in `failed`."""
        while True:
            await self._removal_wanted.wait()
            self._removal_wanted.clear()
            while self._removals:
                folder = next(iter(self._removals))
                try:
                    await self.disk.remove(folder)
                except OSError as error:
                    self.failed[folder] = LogOfflineError(f"{folder} can't be removed: {error}")
                self._removals.pop(folder, None)

    async def close(self, *, clean: bool = True) -> None:
        """Close every log and, when all went well, note that the next start need not recover."""
        try:
            slots = asyncio.Semaphore(CLOSING_AT_ONCE)
            async with asyncio.TaskGroup() as group:
                closing = [
                    group.create_task(self._close_log(log, clean, slots))
                    for log in [*self.logs.values(), *self._extra]
                ]
            if clean and all(task.result() for task in closing):
                await self.disk.write_atomic(CLEAN_FILE, b"")
        except OSError as error:
            raise DataDirectoryError(f"the clean shutdown could not be noted: {error}") from error
        finally:
            self._lock.close()

    async def _close_log(self, log: PartitionLog, clean: bool, slots: asyncio.Semaphore) -> bool:
        """Whether the next start may trust the log."""
        good = clean and log.offline is None
        async with slots:
            try:
                await log.close(clean=clean)
            except OttlaError as error:
                self.failed[log.folder] = error
                good = False
        return good


async def _claim(disk: Disk, node_id: int, cluster_id: str | None) -> NodeMeta:
    """Check the folder's owner, or become it. Raises DataDirectoryError, UnreadableFileError, OSError."""
    found = checkpoint.read(disk, META_FILE)
    meta = NodeMeta(node_id, cluster_id)
    if found is not None:
        try:
            meta = msgspec.json.decode(found[1], type=NodeMeta)
        except msgspec.DecodeError as error:
            raise UnreadableFileError(f"{META_FILE} is damaged: {error}") from error
        if meta.node_id != node_id:
            raise DataDirectoryError(
                f"the data folder belongs to node {meta.node_id}, this is node {node_id}; check node.id and the "
                "folder"
            )
        if cluster_id is None or meta.cluster_id == cluster_id:
            return meta
        if meta.cluster_id is not None:
            raise DataDirectoryError(
                f"the data folder belongs to cluster {meta.cluster_id}, this is cluster {cluster_id}; "
                "nothing was changed"
            )
        meta = NodeMeta(node_id, cluster_id)
    await checkpoint.write(disk, META_FILE, msgspec.json.encode(meta), META_VERSION)
    return meta

"""The log of one partition: append, read, cut, and how far it is durable. The metadata log uses it too.

Nothing here waits: bytes go to the page cache at once, and `begin_flush`/`complete_flush` (driven by GroupCommit)
tell how far they are on the disk. Work that waits is in `storage.log_maintenance`, reached through this class.
"""

import errno
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter

from storage import compactor, log_append, log_lookup, log_maintenance
from storage.compactor import CompactionResult
from storage.disk import Buffer, Disk
from storage.errors import (
    DiskFullError,
    InvalidRecordError,
    LogOfflineError,
    OffsetOutOfRangeError,
)
from storage.leader_epochs import EpochEnd, LeaderEpochs
from storage.log_append import AppendInfo
from storage.log_config import LogConfig
from storage.log_flush import FlushState, FlushTicket
from storage.log_lookup import TimestampedOffset
from storage.log_recovery import RecoveredLog, recover
from storage.log_replay import CutFacts, facts_of_cut
from storage.producer_state import ProducerStates
from storage.record_batch import BatchHeader
from storage.retention import SegmentFacts, expired
from storage.segment import RELATIVE_OFFSET_MAX, Placed, Segment
from storage.segment_name import SegmentName

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_EMPTY = memoryview(b"")
_base_offset = attrgetter("base_offset")


class PartitionLog:
    """Offsets in [log_start_offset, log_end_offset); those below flushed_offset are durable.

    `offline` is the error that fenced the log: after it no append and no flush succeeds until the log is opened
    anew (KAFKA-10778); reads are still tried. `notes` tells what opening had to do (a torn tail was cut).
    """

    def __init__(self, disk: Disk, folder: str, config: LogConfig, found: RecoveredLog) -> None:
        """Use `open` or `create`."""
        self.disk = disk
        self.folder = folder
        self.config = config
        self.segments = found.segments
        self.void = found.void
        """Files that are no longer part of the log; they go when the newest segment's name is durable."""
        self.cuts = 0
        """How often the log was cut."""
        self.flush_state = FlushState(folder, self.segments, found.synced_offset)
        self.epochs = found.epochs
        self.producers = found.producers
        self.log_start_offset = found.log_start_offset
        self.log_end_offset = self.segments[-1].end_offset
        self.first_dirty_offset = found.first_dirty_offset
        self.gaps = found.gaps
        self.notes = found.notes
        self.saved = found.saved
        self.offline: LogOfflineError | None = None
        self.sequence = found.sequence
        self.clock_ms = 0  # The last wall-clock time anyone told this log.
        self.maintenance = log_maintenance.MaintenanceGate()

    @classmethod
    def open(
        cls, disk: Disk, folder: str, config: LogConfig, *, clean: bool, now_ms: int
    ) -> "PartitionLog":
        """Open what lies in `folder`; `clean`: the last process closed it. `now_ms` is wall clock.

        After an unclean start the bytes past the last checkpoint count as not durable until the next flush.
        Raises LogDamagedError, UnreadableFileError, LogOfflineError for an IO error.
        """
        try:
            found = recover(disk, folder, config, clean=clean, now_ms=now_ms)
        except OSError as error:
            raise LogOfflineError(f"{folder} cannot be opened: {error}") from error
        log = cls(disk, folder, config, found)
        log.clock_ms = now_ms
        if found.dropped:
            log.roll(now_ms)
        return log

    @classmethod
    def create(
        cls, disk: Disk, folder: str, config: LogConfig, start_offset: int = 0, *, now_ms: int = 0
    ) -> "PartitionLog":
        """An empty log that begins at `start_offset`; durable with its first flush. Raises LogOfflineError."""
        name = SegmentName(start_offset, 0, resets=True, gaps=config.compacts)
        path = f"{folder}/{name.file_name}"
        try:
            disk.make_folder(folder)
            file = disk.open(path, create=True)
        except OSError as error:
            raise LogOfflineError(f"{folder} cannot be created: {error}") from error
        segment = Segment(disk, folder, name, file, config.index_interval_bytes)
        segment.created_ms = segment.last_append_ms = now_ms
        if file.size:
            raise LogOfflineError(f"{path} holds {file.size} bytes: it is not a new log")
        found = RecoveredLog(
            segments=[segment],
            void=[],
            log_start_offset=start_offset,
            synced_offset=start_offset,
            sequence=0,
            first_dirty_offset=start_offset,
            gaps=config.compacts,
            epochs=LeaderEpochs(),
            producers=ProducerStates(),
        )
        log = cls(disk, folder, config, found)
        log.clock_ms = now_ms
        return log

    # What it is.

    @property
    def flushed_offset(self) -> int:
        """Everything before it survives a power loss; with flush="os", what Kafka would promise: the log end."""
        return self.log_end_offset if self.config.flush == "os" else self.flush_state.synced_offset

    @property
    def synced_offset(self) -> int:
        """Everything before it was fsynced, whatever `flush` says."""
        return self.flush_state.synced_offset

    @property
    def needs_flush(self) -> bool:
        """Whether group commit has work here."""
        return self.config.flush == "sync" and self.offline is None and self.flush_state.dirty

    @property
    def latest_epoch(self) -> int:
        """The newest leader epoch known to the log, -1 for none."""
        return self.epochs.latest_epoch

    @property
    def size_bytes(self) -> int:
        """Bytes of records."""
        return sum(segment.size for segment in self.segments)

    @property
    def active(self) -> Segment:
        """The segment that takes appends."""
        return self.segments[-1]

    def unchanged(self) -> Callable[[], bool]:
        """Tells later whether the segments of now are still the log's, uncut: what was read of them is true then."""
        cuts, segments = self.cuts, list(self.segments)
        return lambda: (self.cuts, self.segments[: len(segments)]) == (cuts, segments)

    def reconfigure(self, config: LogConfig) -> None:
        """Go on with other settings."""
        self.config = config
        self.gaps = self.gaps or config.compacts

    # Appending.

    def append_as_leader(self, batches: Buffer, leader_epoch: int, now_ms: int) -> AppendInfo:
        """Check batches, give them offsets, append them: all or nothing. `now_ms` is wall clock.

        Raises CorruptBatchError, InvalidRecordError, InvalidTimestampError, BatchTooLargeError,
        UnsupportedCompressionError, OutOfOrderSequenceError, InvalidProducerEpochError, UnknownProducerIdError,
        DiskFullError (retriable as it is), LogOfflineError.
        """
        self._check_online()
        assert leader_epoch >= self.latest_epoch, (leader_epoch, self.latest_epoch)
        config = self.config
        data = log_append.recompressed(bytearray(batches), config.compression_type)
        checked = log_append.validated(data, config, now_ms)
        known = log_append.find_duplicate(checked, self.producers)
        if known is not None:
            return AppendInfo(known[0], known[1], True, -1)
        stamp = now_ms if config.message_timestamp_type == "LogAppendTime" else -1
        base = self.log_end_offset
        placed = log_append.place(data, checked, base, leader_epoch, stamp)
        self._write(data, placed, now_ms)
        self.epochs.assign(leader_epoch, base)
        for (_, header), place in zip(checked, placed, strict=True):
            if header.producer_id >= 0:
                self.producers.update(header, place[1], now_ms)
        return AppendInfo(base, self.log_end_offset, False, stamp)

    def append_as_follower(self, batches: Buffer, now_ms: int | None = None) -> AppendInfo:
        """Append batches that have their offsets and epochs. Offsets may be missing (compaction), never go back.

        Raises CorruptBatchError, InvalidRecordError, DiskFullError, LogOfflineError.
        """
        self._check_online()
        now = self.clock_ms if now_ms is None else now_ms
        headers = log_append.in_order(batches, self.log_end_offset, self.folder)
        self._check_first_epoch(headers[0][1])
        placed = [(p, h.base_offset, h.last_offset, h.max_timestamp) for p, h in headers]
        if not self.active.name.gaps and log_append.has_gaps(headers, self.log_end_offset):
            self.gaps = True
            self.roll(now)
        self._write(batches, placed, now)
        for _, header in headers:
            self.epochs.assign(header.partition_leader_epoch, header.base_offset)
            self.producers.update(header, header.base_offset, now)
        return AppendInfo(headers[0][1].base_offset, self.log_end_offset, False, -1)

    def _check_first_epoch(self, header: BatchHeader) -> None:
        # Epochs noted at the log's end wrote nothing: a leader that never appended.
        epoch = header.partition_leader_epoch
        if epoch != self.latest_epoch:
            self.epochs.truncate_from_end(self.log_end_offset)
        if epoch < self.latest_epoch:
            raise InvalidRecordError(
                f"{self.folder}: batch at offset {header.base_offset} has epoch {epoch}, below {self.latest_epoch}"
            )

    def _write(self, data: Buffer, placed: list[Placed], now_ms: int) -> None:
        active = self._room_for(len(data), placed[-1][2], now_ms)
        with self.fencing("append to", clean=NO_SPACE):
            active.append(data, placed)
        active.last_append_ms = self.clock_ms = now_ms
        self.log_end_offset = placed[-1][2] + 1

    def _room_for(self, size: int, last_offset: int, now_ms: int) -> Segment:
        active, config = self.segments[-1], self.config
        if active.size and (
            active.size + size > config.segment_bytes
            or now_ms - active.created_ms >= config.segment_ms
            or last_offset - active.base_offset > RELATIVE_OFFSET_MAX
            or active.index_bytes >= config.segment_index_bytes
        ):
            return self.roll(now_ms)
        if not active.size:
            active.created_ms = now_ms
        return active

    def roll(self, now_ms: int) -> Segment:
        """Begin a new segment at the log end. Raises DiskFullError, LogOfflineError."""
        self._check_online()
        return self._begin_segment(self.log_end_offset, now_ms, resets=False)

    def _begin_segment(self, base_offset: int, now_ms: int, *, resets: bool) -> Segment:
        provisional = not resets and self.flush_state.synced_offset < base_offset
        name = SegmentName(base_offset, self.sequence + 1, 0, resets, self.gaps, provisional)
        with self.fencing("begin a segment of", clean=NO_SPACE):
            file = self.disk.open(f"{self.folder}/{name.file_name}", create=True)
        segment = Segment(self.disk, self.folder, name, file, self.config.index_interval_bytes)
        segment.created_ms = segment.last_append_ms = now_ms
        self.sequence += 1
        if not resets and len(self.producers):
            segment.snapshot = self.producers.encode()
        self.segments.append(segment)
        return segment

    # Reading.

    def read(
        self, offset: int, max_bytes: int, *, end_offset: int, min_one_batch: bool = True
    ) -> memoryview:
        """Whole batches from the one that holds `offset` on, none that ends at or past `end_offset`; maybe empty.

        Their CRCs were checked. The first may begin before `offset`. With `min_one_batch` the first is returned
        even above `max_bytes`. Raises OffsetOutOfRangeError, LogDamagedError, LogOfflineError.
        """
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise OffsetOutOfRangeError(
                f"{self.folder}: offset {offset} is outside {self.log_start_offset} to {self.log_end_offset}"
            )
        end = min(end_offset, self.log_end_offset)
        if offset >= end:
            return _EMPTY
        epochs = (self.epochs.epoch_at(offset), self.epochs.epoch_at(end - 1))
        for index in range(self.segment_index(offset), len(self.segments)):
            segment = self.segments[index]
            if segment.base_offset >= end:
                break
            with self.fencing("read"):
                data = segment.read(
                    max(offset, segment.base_offset),
                    max_bytes,
                    end_offset=end,
                    min_one=min_one_batch,
                    epochs=epochs,
                )
            if len(data) or segment.end_offset > offset:
                return data
        return _EMPTY

    def segment_index(self, offset: int) -> int:
        """Index of the segment that holds `offset`, the first one for an offset before all."""
        if self.segments[-1].base_offset <= offset:
            return len(self.segments) - 1
        return max(0, bisect_right(self.segments, offset, key=_base_offset) - 1)

    def end_offset_for_epoch(self, epoch: int) -> EpochEnd:
        """The largest epoch known that is not above `epoch` and where it ended; -1, -1 when unknown (KIP-279)."""
        return self.epochs.end_offset_for(epoch, self.log_end_offset)

    def epoch_at(self, offset: int) -> int:
        """The leader epoch (the term) that wrote `offset`, -1 when unknown."""
        return self.epochs.epoch_at(offset)

    def assign_leader_epoch(self, epoch: int) -> None:
        """This node leads in `epoch` from here on, even before it appends anything (KIP-101)."""
        self.epochs.assign(epoch, self.log_end_offset)

    async def offset_for_timestamp(
        self, timestamp_ms: int, *, end_offset: int
    ) -> TimestampedOffset | None:
        """The first record at or after a time, below `end_offset`. Raises LogDamagedError, LogOfflineError."""
        return await log_lookup.offset_for_timestamp(self, timestamp_ms, end_offset)

    async def max_timestamp(self, *, end_offset: int) -> TimestampedOffset | None:
        """The record with the largest timestamp below `end_offset`. Raises LogDamagedError, LogOfflineError."""
        return await log_lookup.max_timestamp(self, end_offset)

    # Cutting.

    def truncate_to(self, offset: int, known: CutFacts | None = None) -> None:
        """Drop what lies at or after `offset`, and the batch that spans it. `known`: see `log_replay.before_cut`.

        It is durable with the next flush; until then a power loss may bring all of it back, never a mixture.
        Raises LogDamagedError, DiskFullError, LogOfflineError.
        """
        self._check_online()
        if offset < self.log_start_offset:
            self.truncate_fully_and_start_at(offset)
            return
        if offset >= self.log_end_offset:
            self.epochs.truncate_from_end(offset)
            return
        keep = self.segment_index(offset)
        segment = self.segments[keep]
        with self.fencing("read"):
            end = segment.cut_point(offset)[0]
            if end < self.log_start_offset:
                # The batch that spans the log's start goes: nothing is left.
                self.truncate_fully_and_start_at(self.log_start_offset)
                return
            # Also of a cut segment the producers must be known before it is cut.
            facts = facts_of_cut(self, offset, known)
            self._begin_segment(end, self.clock_ms, resets=False)
            segment.cut(end, facts.newest)
        self._drop(keep if end == segment.base_offset else keep + 1)
        self.producers = facts.producers
        self.active.snapshot = self.producers.encode() if len(self.producers) else None
        self._ends_at(end)

    def truncate_fully_and_start_at(self, offset: int) -> None:
        """Drop everything and begin again, empty, at `offset`. Raises DiskFullError, LogOfflineError."""
        self._check_online()
        self._begin_segment(offset, self.clock_ms, resets=True)
        self._drop(0)
        self.producers = ProducerStates()
        self._ends_at(offset)
        self.log_start_offset = self.flush_state.synced_offset = offset
        self.epochs.clear()
        self.first_dirty_offset = offset

    def _drop(self, first: int) -> None:
        """All segments from `first` on but the newest are void now."""
        for segment in self.segments[first:-1]:
            self.void.append(segment.name)
            segment.file.close()
        del self.segments[first:-1]

    def _ends_at(self, offset: int) -> None:
        self.cuts += 1
        self.log_end_offset = offset
        self.flush_state.cut(offset)
        self.epochs.truncate_from_end(offset)
        self.first_dirty_offset = min(self.first_dirty_offset, offset)

    def advance_log_start(self, offset: int) -> bool:
        """Records below `offset` are gone for readers; durable with the next `checkpoint`. Returns whether it moved.

        Raises OffsetOutOfRangeError beyond the log end.
        """
        if offset > self.log_end_offset:
            raise OffsetOutOfRangeError(
                f"{self.folder}: the log can't start at {offset}, it ends at {self.log_end_offset}"
            )
        if offset <= self.log_start_offset:
            return False
        self.log_start_offset = offset
        self.epochs.truncate_from_start(offset)
        self.first_dirty_offset = max(self.first_dirty_offset, offset)
        return True

    # Durability.

    def begin_flush(self) -> FlushTicket:
        """What the next sync must cover. Raises LogOfflineError."""
        self._check_online()
        return self.flush_state.begin()

    def complete_flush(self, ticket: FlushTicket) -> None:
        """The ticket's files are synced. Raises LogOfflineError."""
        if self.offline is not None:
            self.flush_state.forget(ticket)
            return
        with self.fencing("publish a segment of"):
            self.flush_state.complete(ticket)

    def fail_flush(self, ticket: FlushTicket, error: OSError) -> LogOfflineError:
        """The sync failed: nothing is known about the bytes since the last good one, so the log is fenced."""
        self.flush_state.forget(ticket)
        return self.fence("sync", error)

    def abandon_flush(self, ticket: FlushTicket) -> None:
        """The sync was not waited for; another one will cover the same bytes."""
        self.flush_state.forget(ticket)

    def fence(self, doing: str, error: OSError) -> LogOfflineError:
        """No append and no acknowledgement from here on; returns the error to raise (KAFKA-10778)."""
        if self.offline is None:
            self.offline = LogOfflineError(
                f"{self.folder} is offline: could not {doing} it: {error}; it must be opened anew"
            )
        return self.offline

    def _check_online(self) -> None:
        if self.offline is not None:
            raise LogOfflineError(str(self.offline))

    @contextmanager
    def fencing(self, doing: str, clean: tuple[int, ...] = ()) -> Iterator[None]:
        """Turns an OSError into the error to raise, and fences the log unless it is one of `clean`."""
        try:
            yield
        except OSError as error:
            if error.errno in clean:
                raise DiskFullError(
                    f"could not {doing} {self.folder}: {error.strerror}; make room, nothing was lost"
                ) from error
            raise self.fence(doing, error) from error

    # Housekeeping: see storage.log_maintenance.

    def expired_segments(self, now_ms: int, high_watermark: int) -> list[Segment]:
        """Segments that may go by time, size or log start; oldest first, never the active one."""
        count = expired(
            [
                SegmentFacts(s.base_offset, s.end_offset, s.size, s.last_append_ms)
                for s in self.segments
            ],
            self.config,
            now_ms=now_ms,
            high_watermark=high_watermark,
            log_start_offset=self.log_start_offset,
        )
        return self.segments[:count]

    def roll_if_due(self, now_ms: int) -> None:
        """Begin a new segment when the active one is too old for its settings. Raises as `roll`."""
        if log_maintenance.roll_is_due(self, now_ms):
            self.roll(now_ms)

    def expire_producers(self, now_ms: int) -> int:
        """Forget idempotent producers that were silent for `producer_id_expiration_ms`; returns how many."""
        self.clock_ms = max(self.clock_ms, now_ms)
        return self.producers.expire(now_ms, self.config.producer_id_expiration_ms)

    async def delete_segments(self, segments: list[Segment]) -> None:
        """Drop the log's oldest segments. Raises DiskFullError, LogOfflineError."""
        await log_maintenance.delete_segments(self, segments)

    async def checkpoint(self) -> None:
        """Make the log durable to its present end and write down what the next start wants to know.

        After it, `log_start_offset` is durable too. Raises DiskFullError, LogOfflineError.
        """
        await log_maintenance.checkpoint_log(self)

    async def compact(self, *, high_watermark: int, now_ms: int) -> CompactionResult:
        """Compact what is worth it. Raises LogDamagedError, DiskFullError, LogOfflineError, decoding errors."""
        return await compactor.compact(self, high_watermark=high_watermark, now_ms=now_ms)

    async def close(self, *, clean: bool = True) -> None:
        """Close the files, with `clean` after a checkpoint. Raises OttlaError when that fails; closed all the same."""
        try:
            if clean and self.offline is None:
                await log_maintenance.checkpoint_log(self, closing=True)
        finally:
            for segment in self.segments:
                segment.file.close()
            if self.offline is None:
                self.offline = LogOfflineError(f"{self.folder} is closed")

    def __repr__(self) -> str:
        return f"PartitionLog({self.folder!r}, [{self.log_start_offset}, {self.log_end_offset}))"


__all__ = ["AppendInfo", "FlushTicket", "PartitionLog", "TimestampedOffset"]

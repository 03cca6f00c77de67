"""The work on a partition log that waits for the disk: checkpoints, deleting segments. One at a time per log."""

import asyncio
import errno
from itertools import pairwise
from typing import TYPE_CHECKING

from storage import log_checkpoint
from storage.errors import DiskFullError, LogOfflineError
from storage.log_checkpoint import LogCheckpoint
from storage.log_replay import save_snapshot
from storage.segment import Segment
from storage.segment_name import SegmentName

if TYPE_CHECKING:
    from storage.partition_log import PartitionLog

INDEXES_WORTH_SAVING_BYTES = 1024 * 1024
"""Below it a start rebuilds the active segment's indexes sooner than a stop writes them."""
SIDE_FILES = ("index", "timeindex", "snapshot")


class MaintenanceGate(asyncio.Lock):
    """Lets one checkpoint or deletion at a time work on a log."""


async def checkpoint_log(log: "PartitionLog", *, closing: bool = False) -> None:
    """See PartitionLog.checkpoint."""
    async with log.maintenance:
        await _checkpoint(log, closing=closing)


async def _checkpoint(log: "PartitionLog", *, closing: bool) -> None:
    while True:
        cuts, facts = log.cuts, _facts(log)
        await _make_durable(log, facts.recovery_point)
        if log.cuts == cuts:
            break
        # What was gathered is about bytes that are no more.
    try:
        for segment in list(log.segments[:-1]):
            await _settle(segment)
        if closing and log.active.size >= INDEXES_WORTH_SAVING_BYTES:
            await log.active.save_indexes()
        if facts != log.saved:
            await log_checkpoint.save(log.disk, log.folder, facts)
            log.saved = facts
        await _remove_void(log)
    except OSError as error:
        raise disk_error(log, "maintain", error) from error


def _facts(log: "PartitionLog") -> LogCheckpoint:
    active = log.active
    return LogCheckpoint(
        log_start_offset=log.log_start_offset,
        recovery_point=log.log_end_offset,
        sequence=log.sequence,
        segment=(active.name.sequence, active.name.revision),
        position=active.size,
        first_dirty_offset=log.first_dirty_offset,
        epochs=log.epochs.entries(),
        producers=log.producers.encode(),
        last_append_ms=active.last_append_ms,
        created_ms=active.created_ms,
    )


async def _make_durable(log: "PartitionLog", offset: int) -> None:
    """Sync until everything before `offset` is durable, or the log was cut below it. Raises LogOfflineError."""
    while log.synced_offset < min(offset, log.log_end_offset) or log.flush_state.dirty:
        ticket = log.begin_flush()
        try:
            await log.disk.sync(ticket.files)
        except OSError as error:
            raise log.fail_flush(ticket, error) from error
        except BaseException:
            log.abandon_flush(ticket)
            raise
        log.complete_flush(ticket)
        if log.synced_offset >= offset and log.active.named:
            return


async def _settle(segment: Segment) -> None:
    """A segment that takes no more appends: indexes and snapshot on disk, out of memory when nobody reads it."""
    if not segment.settled:
        await segment.save_indexes()
        await save_snapshot(segment.disk, segment)
        segment.settled = True
    if not segment.touched:
        segment.release_indexes()
    segment.touched = False


def roll_is_due(log: "PartitionLog", now_ms: int) -> bool:
    """Whether the active segment is too old for the log's settings."""
    active, config = log.active, log.config
    age_ms = now_ms - active.created_ms
    due = age_ms >= config.segment_ms
    if config.deletes and config.retention_ms >= 0:
        due = due or now_ms - active.last_append_ms > config.retention_ms
    if config.compacts:
        # The active segment never is.
        due = due or age_ms >= config.max_compaction_lag_ms
    return due and active.size > 0


async def delete_segments(log: "PartitionLog", segments: list[Segment]) -> None:
    """See PartitionLog.delete_segments. The new start is durable before the first file goes."""
    async with log.maintenance:
        doomed = [segment for segment in segments if segment in log.segments[:-1]]
        if not doomed:
            return
        assert doomed == log.segments[: len(doomed)], "only the oldest segments may go"
        log.advance_log_start(max(log.log_start_offset, doomed[-1].end_offset))
        await _checkpoint(log, closing=False)
        if log.segments[: len(doomed)] != doomed:
            return
        del log.segments[: len(doomed)]
        try:
            for segment in doomed:
                segment.file.close()
                await remove_segment_files(log, segment.name)
        except OSError as error:
            raise disk_error(log, "maintain", error) from error


async def _remove_void(log: "PartitionLog") -> None:
    """Remove what a cut made void, once the cut itself (the newest segment's name) is durable."""
    if not log.active.named:
        return
    while log.void:
        await remove_segment_files(log, log.void[0])
        del log.void[0]
    for segment, following in pairwise(log.segments):
        if segment.file.size > segment.size and following.named:
            segment.file.truncate(segment.size)


async def remove_segment_files(log: "PartitionLog", name: SegmentName) -> None:
    """Remove a segment that is no part of the log any more, data last. Raises OSError."""
    for suffix in SIDE_FILES:
        await log.disk.remove(f"{log.folder}/{name.stem}.{suffix}")
    for one in (name, name._replace(provisional=not name.provisional)):
        await log.disk.remove(f"{log.folder}/{one.file_name}")


def disk_error(log: "PartitionLog", doing: str, error: OSError) -> LogOfflineError:
    """What to raise: a full disk costs this piece of work, any other error fences the log."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"no room to {doing} {log.folder}; the log itself is whole")
    return log.fence(doing, error)

"""Compaction, the doing part: closed segments are rewritten one by one, each swapped in by one rename.

A rewritten segment has its predecessor's name with the next revision; on a start the highest revision counts, so a
crash between the rename and the removal of the old file leaves nothing to repair. The last batch of a segment always
stays, if only as a shell, so that every segment still ends where the next one begins.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from storage.batch_scan import DamageError, scan_batches
from storage.compaction import DirtyFacts, LatestOffsets, Rules, rewrite, worth_compacting
from storage.errors import LogDamagedError
from storage.log_maintenance import disk_error, remove_segment_files
from storage.log_replay import snapshot_of
from storage.record_batch import BatchHeader, parse_header
from storage.segment import Segment

if TYPE_CHECKING:
    from storage.partition_log import PartitionLog

_SUFFIX = "cleaned"


class CompactionResult(NamedTuple):
    """What one run did: segments rewritten, bytes before and after."""

    segments: int
    bytes_before: int
    bytes_after: int


NOTHING = CompactionResult(0, 0, 0)


async def compact(log: "PartitionLog", *, high_watermark: int, now_ms: int) -> CompactionResult:
    """Compact what is worth it; `now_ms` is wall clock. Gives the loop back after every batch.

    Raises LogDamagedError, CorruptBatchError, InvalidRecordError, DiskFullError, LogOfflineError.
    """
    async with log.maintenance:
        segments = _candidates(log, high_watermark, now_ms)
        if not segments or log.offline is not None:
            return NOTHING
        try:
            return await _compact(log, segments, now_ms)
        except OSError as error:
            raise disk_error(log, "compact", error) from error


def _candidates(log: "PartitionLog", high_watermark: int, now_ms: int) -> list[Segment]:
    closed = log.segments[:-1]
    count = worth_compacting(
        [
            DirtyFacts(s.end_offset, s.size, min(s.created_ms, s.last_append_ms), s.last_append_ms)
            for s in closed
        ],
        log.config,
        first_dirty_offset=log.first_dirty_offset,
        high_watermark=min(high_watermark, log.synced_offset),
        now_ms=now_ms,
    )
    return [s for s in closed[:count] if s.named and s.end_offset > log.log_start_offset]


class _Interrupted(Exception):  # noqa: N818 - no error
    """The log was cut or closed meanwhile: what was read of it proves nothing any more."""


async def _breathe(log: "PartitionLog", cuts: int) -> None:
    """Let others run; then go on only if the log is still the one that was read."""
    await asyncio.sleep(0)
    if log.cuts != cuts or log.offline is not None:
        raise _Interrupted


async def _compact(log: "PartitionLog", segments: list[Segment], now_ms: int) -> CompactionResult:
    cuts, latest = log.cuts, LatestOffsets()
    latest.end_offset = log.first_dirty_offset
    done = before = after = 0
    try:
        await _gather(log, segments, latest, cuts)
        for segment in segments:
            if segment.base_offset >= latest.end_offset:
                break
            size = segment.size
            rules = _rules(log, segment, latest, now_ms)
            rewritten = await _rewrite_segment(log, segment, rules, cuts)
            if rewritten is not None:
                done, before, after = done + 1, before + size, after + rewritten
        log.first_dirty_offset = max(log.first_dirty_offset, latest.end_offset)
    except _Interrupted:
        # What was swapped in so far stands; the next run begins anew.
        pass
    return CompactionResult(done, before, after)


def _rules(log: "PartitionLog", segment: Segment, latest: LatestOffsets, now_ms: int) -> Rules:
    last_offset = segment.end_offset - 1

    def must_keep(header: BatchHeader) -> bool:
        entry = log.producers.get(header.producer_id)
        last_of_producer = -1 if entry is None else entry.marks[-1].last_offset
        return header.last_offset in (last_offset, last_of_producer)

    return Rules(latest, now_ms, log.config.delete_retention_ms, must_keep)


async def _gather(
    log: "PartitionLog", segments: list[Segment], latest: LatestOffsets, cuts: int
) -> None:
    for segment in segments:
        if segment.end_offset <= log.first_dirty_offset:
            continue
        for header, batch in _batches(segment):
            if not latest.note(header, batch):
                return
            await _breathe(log, cuts)


def _batches(segment: Segment) -> Iterator[tuple[BatchHeader, bytes]]:
    try:
        for position, header in scan_batches(segment.file, 0, segment.size, verify=True):
            yield header, bytes(segment.file.read(position, header.size))
    except DamageError as error:
        raise LogDamagedError(f"{segment.path} is damaged: {error}; it is not compacted") from error


async def _rewrite_segment(
    log: "PartitionLog", segment: Segment, rules: Rules, cuts: int
) -> int | None:
    """The new size, None when nothing was to be changed."""
    kept: list[bytes] = []
    changed = False
    for header, batch in _batches(segment):
        result = rewrite(header, batch, rules)
        changed = changed or result is not batch
        if result is not None:
            kept.append(result)
        await _breathe(log, cuts)
    if not changed:
        return None
    fresh = await _write(log, segment, kept)
    if log.cuts != cuts or log.offline is not None:
        fresh.file.close()
        raise _Interrupted
    # From here to the swap nothing waits, so no reader and no cut comes between.
    log.disk.rename(segment.side_path(_SUFFIX), fresh.path)
    log.segments[log.segments.index(segment)] = fresh
    log.gaps = True
    segment.file.close()
    await log.disk.sync_folder(log.folder)
    fresh.named = True
    await remove_segment_files(log, segment.name)
    return fresh.size


async def _write(log: "PartitionLog", segment: Segment, batches: list[bytes]) -> Segment:
    """A synced file of these batches beside the old one."""
    path = segment.side_path(_SUFFIX)
    await log.disk.remove(path)
    file = log.disk.open(path, create=True)
    name = segment.name._replace(revision=segment.name.revision + 1, gaps=True)
    fresh = Segment(log.disk, log.folder, name, file, log.config.index_interval_bytes)
    fresh.created_ms, fresh.last_append_ms = segment.created_ms, segment.last_append_ms
    producers = snapshot_of(segment)
    fresh.snapshot = producers.encode() if producers is not None else None
    for batch in batches:
        header = parse_header(batch)
        fresh.append(batch, [(0, header.base_offset, header.last_offset, header.max_timestamp)])
    await log.disk.sync([file])
    return fresh

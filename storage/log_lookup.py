"""Finding records of a log by time.

Where timestamps do not rise, that may mean to look at every batch of a segment: it is done in steps.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from storage.batch_scan import DamageError, scan_batches
from storage.errors import CorruptBatchError, InvalidRecordError, LogDamagedError
from storage.record_batch import HEADER_BYTES, BatchHeader, parse_header
from storage.records import Record, decode_batch
from storage.segment import Segment
from storage.steps import BATCHES_PER_STEP, Steps, in_turn

if TYPE_CHECKING:
    from storage.partition_log import PartitionLog


class TimestampedOffset(NamedTuple):
    """A record's place and time, and the epoch of the leader that wrote it."""

    offset: int
    timestamp_ms: int
    leader_epoch: int


class _Found(NamedTuple):
    """What a search that ran to its end came to."""

    place: TimestampedOffset | None


Search = Callable[[], Steps[TimestampedOffset | None]]


async def offset_for_timestamp(
    log: "PartitionLog", timestamp_ms: int, end_offset: int
) -> TimestampedOffset | None:
    """See PartitionLog.offset_for_timestamp."""
    return await _search(log, lambda: _first_at_or_after(log, timestamp_ms, end_offset))


async def max_timestamp(log: "PartitionLog", end_offset: int) -> TimestampedOffset | None:
    """See PartitionLog.max_timestamp."""
    return await _search(log, lambda: _largest(log, end_offset))


async def _search(log: "PartitionLog", begin: Search) -> TimestampedOffset | None:
    """Letting others run; begins anew when segments were cut, compacted or deleted meanwhile."""
    while True:
        with log.fencing("read"):
            found = await in_turn(_to_the_end(begin()), log.unchanged())
        if found is not None:
            return found.place


def _to_the_end(steps: Steps[TimestampedOffset | None]) -> Steps[_Found]:
    place = yield from steps
    return _Found(place)


def _first_at_or_after(
    log: "PartitionLog", timestamp_ms: int, end_offset: int
) -> Steps[TimestampedOffset | None]:
    """The first record in [log start, end_offset) stamped `timestamp_ms` or later. Raises LogDamagedError, OSError."""
    for segment in list(log.segments):
        if segment.max_timestamp < timestamp_ms or segment.end_offset <= log.log_start_offset:
            continue
        if segment.base_offset >= end_offset:
            break
        start = max(log.log_start_offset, segment.times.offset_before(timestamp_ms))
        for count, (position, header) in enumerate(_headers(segment, start), 1):
            if not count % BATCHES_PER_STEP:
                yield
            if header.base_offset >= end_offset:
                break
            if header.max_timestamp < timestamp_ms:
                continue
            for record in _records(segment, position, header):
                if log.log_start_offset <= record.offset < end_offset and (
                    record.timestamp_ms >= timestamp_ms
                ):
                    return _found(record, header)
    return None


def _largest(log: "PartitionLog", end_offset: int) -> Steps[TimestampedOffset | None]:
    """The first record with the largest timestamp in [log start, end_offset). Raises LogDamagedError, OSError."""
    best, place = -1, None
    for segment in list(log.segments):
        if segment.base_offset >= end_offset or segment.end_offset <= log.log_start_offset:
            continue
        if segment.max_timestamp <= best:
            continue
        first = _first_candidate(log, segment, end_offset)
        for count, (position, header) in enumerate(_headers(segment, first), 1):
            if not count % BATCHES_PER_STEP:
                yield
            if header.next_offset > end_offset:
                break
            if header.max_timestamp > best:
                best, place = header.max_timestamp, (segment, position, header)
    if place is None:
        return None
    for record in _records(*place):
        if record.timestamp_ms >= best:
            return _found(record, place[2])
    return None


def _first_candidate(log: "PartitionLog", segment: Segment, end_offset: int) -> int:
    """No batch in [log start, end_offset) before this one has a larger timestamp than it and all after it."""
    hint = segment.times.largest_before(end_offset)
    start = max(log.log_start_offset, segment.base_offset)
    if hint is None or hint[1] < start:
        return start
    _, position = segment.locate(hint[1])
    header = parse_header(segment.file.read(position, HEADER_BYTES))
    return start if header.next_offset > end_offset else hint[1]


def _found(record: Record, header: BatchHeader) -> TimestampedOffset:
    return TimestampedOffset(record.offset, record.timestamp_ms, header.partition_leader_epoch)


def _headers(segment: Segment, offset: int) -> Iterator[tuple[int, BatchHeader]]:
    _, position = segment.locate(offset)
    try:
        yield from scan_batches(segment.file, position, segment.size, verify=False)
    except DamageError as error:
        raise LogDamagedError(f"{segment.path} is damaged: {error}") from error


def _records(segment: Segment, position: int, header: BatchHeader) -> Iterator[Record]:
    try:
        yield from decode_batch(segment.file.read(position, header.size))
    except (CorruptBatchError, InvalidRecordError) as error:
        raise LogDamagedError(f"{segment.path} is damaged at byte {position}: {error}") from error

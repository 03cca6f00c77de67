"""What a leader asks of batches before they enter its log; nothing is changed here but the caller's own copy."""

from typing import NamedTuple, get_args

from storage.compression import Compression, codec, compress, decompress
from storage.disk import Buffer
from storage.errors import (
    BatchTooLargeError,
    InvalidRecordError,
    InvalidTimestampError,
)
from storage.log_config import INT64_MAX, CompressionType, LogConfig
from storage.producer_state import WINDOW, BatchMark, ProducerStates
from storage.record_batch import (
    COMPRESSION_MASK,
    HEADER_BYTES,
    BatchHeader,
    assign,
    iter_validated,
    seal,
    set_log_append_time,
)
from storage.records import decode_records
from storage.segment import Placed

PRODUCER = "producer"
_WANTED = {
    name: Compression.NONE if name == "uncompressed" else Compression[name.upper()]
    for name in get_args(CompressionType)
    if name != PRODUCER
}


class AppendInfo(NamedTuple):
    """Where a buffer of batches lies in the log: [base_offset, end_offset).

    duplicate: it lay there before. append_time_ms: the leader's stamp under LogAppendTime, otherwise -1.
    """

    base_offset: int
    end_offset: int
    duplicate: bool
    append_time_ms: int


def validated(data: bytearray, config: LogConfig, now_ms: int) -> list[tuple[int, BatchHeader]]:
    """(position, header) of every batch that fills `data`, each fit for this log.

    Raises CorruptBatchError, InvalidRecordError, BatchTooLargeError, InvalidTimestampError,
    UnsupportedCompressionError.
    """
    batches = list(iter_validated(data))
    if not batches:
        raise InvalidRecordError("nothing to append: no record batch")
    for position, header in batches:
        _check(header, config, now_ms)
        if not header.is_control and (config.compacts or _old_is_refused(config)):
            _check_records(data, position, header, config, now_ms)
    return batches


def _check(header: BatchHeader, config: LogConfig, now_ms: int) -> None:
    if header.size > config.max_message_bytes:
        raise BatchTooLargeError(
            f"record batch of {header.size} bytes is above max.message.bytes={config.max_message_bytes}"
        )
    if header.records_count != header.last_offset_delta + 1 or not header.records_count:
        raise InvalidRecordError(
            f"record batch with {header.records_count} records and last offset delta {header.last_offset_delta}"
        )
    codec(header.compression)
    ahead = header.max_timestamp - now_ms
    limit = config.message_timestamp_after_max_ms
    if 0 <= limit < ahead and config.message_timestamp_type == "CreateTime":
        raise InvalidTimestampError(
            f"record timestamp {header.max_timestamp} lies {ahead} ms in the future; "
            f"message.timestamp.after.max.ms={limit}"
        )


def _old_is_refused(config: LogConfig) -> bool:
    limited = config.message_timestamp_before_max_ms < INT64_MAX
    return limited and config.message_timestamp_type == "CreateTime"


def _check_records(
    data: bytearray, position: int, header: BatchHeader, config: LogConfig, now_ms: int
) -> None:
    """What the header does not tell: keys, and the oldest timestamp."""
    packed = bytes(data[position + HEADER_BYTES : position + header.size])
    limit = config.message_timestamp_before_max_ms if _old_is_refused(config) else INT64_MAX
    without_key = []
    for index, record in enumerate(
        decode_records(header, decompress(codec(header.compression), packed))
    ):
        if config.compacts and record.key is None:
            without_key.append(index)
        age = now_ms - record.timestamp_ms
        if age > limit:
            raise InvalidTimestampError(
                f"record timestamp {record.timestamp_ms} lies {age} ms in the past; "
                f"message.timestamp.before.max.ms={limit}"
            )
    if without_key:
        raise InvalidRecordError(
            f"a compacted topic takes only records with a key; {len(without_key)} of {header.records_count} have none",
            tuple(without_key),
        )


def recompressed(data: bytearray, wanted: CompressionType) -> bytearray:
    """`data` with every batch in the codec that the topic wants (`compression.type`); itself when all are.

    This is work on the way of an append. A topic keeps what producers chose unless it says otherwise.

    Raises CorruptBatchError, InvalidRecordError, UnsupportedCompressionError.
    """
    if wanted == PRODUCER:
        return data
    kind = _WANTED[wanted]
    batches = list(iter_validated(data))
    if all(header.compression == kind or header.is_control for _, header in batches):
        return data
    out = bytearray()
    for position, header in batches:
        if header.compression == kind or header.is_control:
            out += data[position : position + header.size]
        else:
            out += _packed(data, position, header, kind)
    return out


def _packed(data: bytearray, position: int, header: BatchHeader, kind: Compression) -> bytes:
    packed = bytes(data[position + HEADER_BYTES : position + header.size])
    records = decompress(codec(header.compression), packed)
    attributes = header.attributes & ~COMPRESSION_MASK | kind
    return seal(header._replace(attributes=attributes), compress(kind, records))


def find_duplicate(
    batches: list[tuple[int, BatchHeader]], producers: ProducerStates
) -> tuple[int, int] | None:
    """[base, end) of where all the batches were appended before, None when they are new.

    Raises what ProducerStates.check raises; InvalidRecordError for a buffer that is partly a duplicate.
    """
    if len(batches) == 1:
        mark = producers.check(batches[0][1])
        return None if mark is None else (mark.first_offset, mark.last_offset + 1)
    marks = [mark for mark in _check_several(batches, producers) if mark is not None]
    if not marks:
        return None
    if len(marks) < len(batches):
        raise InvalidRecordError(
            f"{len(marks)} of {len(batches)} batches of one request were appended before, the others were not"
        )
    return marks[0].first_offset, marks[-1].last_offset + 1


def _check_several(
    batches: list[tuple[int, BatchHeader]], producers: ProducerStates
) -> list[BatchMark | None]:
    idempotent = [header.producer_id for _, header in batches if header.producer_id >= 0]
    if not idempotent:
        return []
    if len(idempotent) > WINDOW:
        raise InvalidRecordError(
            f"{len(idempotent)} batches of idempotent producers in one request; a retry could be told from new "
            f"records only up to {WINDOW}"
        )
    trial = producers.fork(set(idempotent))
    marks: list[BatchMark | None] = []
    for _, header in batches:
        mark = trial.check(header)
        if mark is None:
            trial.update(header, 0, 0)
        marks.append(mark)
    return marks


def place(
    data: bytearray,
    batches: list[tuple[int, BatchHeader]],
    base_offset: int,
    leader_epoch: int,
    stamp_ms: int,
) -> list[Placed]:
    """Patch offsets, epoch and, unless -1, the leader's stamp into `data`; returns where each batch lies now."""
    placed: list[Placed] = []
    for position, header in batches:
        assign(data, position, base_offset, leader_epoch)
        timestamp = header.max_timestamp
        if stamp_ms >= 0:
            set_log_append_time(data, position, stamp_ms)
            timestamp = stamp_ms
        last = base_offset + header.last_offset_delta
        placed.append((position, base_offset, last, timestamp))
        base_offset = last + 1
    return placed


def in_order(batches: Buffer, expected: int, folder: str) -> list[tuple[int, BatchHeader]]:
    """(position, header) of a leader's batches: CRCs right, offsets from `expected` on, epochs never going back.

    Raises CorruptBatchError, InvalidRecordError.
    """
    headers: list[tuple[int, BatchHeader]] = []
    epoch = -1
    for position, header in iter_validated(batches):
        if header.base_offset < expected or header.partition_leader_epoch < epoch:
            raise InvalidRecordError(
                f"{folder}: batch at offset {header.base_offset} of epoch {header.partition_leader_epoch} can't "
                f"follow offset {expected - 1} of epoch {epoch}"
            )
        expected, epoch = header.next_offset, header.partition_leader_epoch
        headers.append((position, header))
    if not headers:
        raise InvalidRecordError("nothing to append: no record batch")
    return headers


def has_gaps(batches: list[tuple[int, BatchHeader]], expected: int) -> bool:
    """Whether an offset from `expected` on is missing before or between these batches."""
    for _, header in batches:
        if header.base_offset != expected:
            return True
        expected = header.next_offset
    return False

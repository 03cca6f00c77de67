"""Which records of a compacted log stay: the last of each key, and tombstones until readers had time to see them. Pure.

Offsets never change: a batch keeps its base offset, its last offset delta and its producer's sequence numbers, also
when records between are gone. Tombstones go after `delete_retention_ms`, counted from the first compaction that met
them and written down in the batch as its delete horizon (KIP-534).
"""

from collections.abc import Callable
from typing import NamedTuple

from storage.compression import Compression, codec, decompress
from storage.log_config import LogConfig
from storage.record_batch import (
    COMPRESSION_MASK,
    DELETE_HORIZON_BIT,
    HEADER_BYTES,
    BatchHeader,
    seal,
)
from storage.records import BatchBuilder, Record, decode_records

KEYS_MAX = 1_000_000
"""Keys remembered in one run; a log with more is compacted in several."""


class LatestOffsets:
    """The last offset of every key in a stretch of the log."""

    __slots__ = ("_latest", "_limit", "end_offset")

    def __init__(self, limit: int = KEYS_MAX) -> None:
        self._latest: dict[bytes, int] = {}
        self._limit = limit
        self.end_offset = 0
        """Everything noted lies before it."""

    def note(self, header: BatchHeader, batch: bytes) -> bool:
        """Take a batch in, in the log's order; False when there is no room for more keys. Raises as decoding does."""
        if not header.is_control:
            for record in _records(header, batch):
                if record.key is not None:
                    self._latest[record.key] = record.offset
        self.end_offset = header.next_offset
        return len(self._latest) < self._limit

    def superseded(self, record: Record) -> bool:
        """Whether a later record has this one's key; a record without key has no place in a compacted log."""
        if record.key is None:
            return record.offset < self.end_offset
        return self._latest.get(record.key, -1) > record.offset


class Rules(NamedTuple):
    """What decides about one run. `must_keep(header)`: the batch stays, if only as an empty shell."""

    latest: LatestOffsets
    now_ms: int
    delete_retention_ms: int
    must_keep: Callable[[BatchHeader], bool]


def rewrite(header: BatchHeader, batch: bytes, rules: Rules) -> bytes | None:
    """The batch as it goes on: the same object when nothing changes, None when it goes. Raises as decoding does."""
    if header.is_control:
        return batch
    records = list(_records(header, batch))
    horizon = header.base_timestamp if header.has_delete_horizon else None
    overdue = horizon is not None and rules.now_ms >= horizon
    stay = [
        record
        for record in records
        if not rules.latest.superseded(record) and not (overdue and record.value is None)
    ]
    if not stay:
        if not rules.must_keep(header):
            return None
        return batch if not records else _shell(header)
    if horizon is None and any(record.value is None for record in stay):
        horizon = rules.now_ms + rules.delete_retention_ms
    elif len(stay) == len(records):
        return batch
    return _rebuilt(header, stay, horizon)


def _records(header: BatchHeader, batch: bytes) -> list[Record]:
    packed = memoryview(batch)[HEADER_BYTES:]
    return list(decode_records(header, decompress(codec(header.compression), packed)))


def _shell(header: BatchHeader) -> bytes:
    attributes = header.attributes & ~(COMPRESSION_MASK | DELETE_HORIZON_BIT) | Compression.NONE
    return seal(header._replace(attributes=attributes, records_count=0), b"")


def _rebuilt(header: BatchHeader, records: list[Record], horizon: int | None) -> bytes:
    base_timestamp, attributes = header.base_timestamp, header.attributes
    if horizon is not None:
        base_timestamp, attributes = horizon, attributes | DELETE_HORIZON_BIT
    builder = BatchBuilder(base_timestamp_ms=base_timestamp)
    for record in records:
        builder.append(
            record.timestamp_ms,
            record.key,
            record.value,
            record.headers,
            offset=record.offset - header.base_offset,
        )
    stamp = header.max_timestamp if header.is_log_append_time else builder.max_timestamp_ms
    return builder.build_with(
        header._replace(
            attributes=attributes,
            base_timestamp=base_timestamp,
            max_timestamp=stamp,
            records_count=len(records),
        )
    )


class DirtyFacts(NamedTuple):
    """One closed segment, for the choice of what to compact: its end, its bytes, first and last append (wall clock)."""

    end_offset: int
    size: int
    first_append_ms: int
    last_append_ms: int


def worth_compacting(
    segments: list[DirtyFacts],
    config: LogConfig,
    *,
    first_dirty_offset: int,
    high_watermark: int,
    now_ms: int,
) -> int:
    """How many of the oldest closed segments to compact now; 0 when too little of them is new."""
    count = dirty = total = 0
    overdue = False
    for segment in segments:
        young = now_ms - segment.last_append_ms < config.min_compaction_lag_ms
        if segment.end_offset > high_watermark or young:
            break
        count += 1
        total += segment.size
        if segment.end_offset > first_dirty_offset:
            dirty += segment.size
            overdue = overdue or now_ms - segment.first_append_ms >= config.max_compaction_lag_ms
    if not dirty or (dirty / total < config.min_cleanable_dirty_ratio and not overdue):
        return 0
    return count

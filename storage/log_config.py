"""Settings of one partition log, under Kafka's names for topics with `_` for `.`; Kafka's defaults."""

from typing import Literal

import msgspec

CompressionType = Literal["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]
CleanupPolicy = Literal["delete", "compact", "compact,delete"]
HOUR_MS = 3_600_000
INT64_MAX = 2**63 - 1


class LogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times in milliseconds, sizes in bytes; -1 is "no limit" where Kafka has it so."""

    segment_bytes: int = 1024 * 1024 * 1024
    """A new segment begins before the file would grow beyond this."""
    segment_ms: int = 7 * 24 * HOUR_MS
    """A new segment begins when the active one was begun this long ago, so that old records can go."""
    index_interval_bytes: int = 4096
    """One index entry for about so many bytes of records."""
    segment_index_bytes: int = 10 * 1024 * 1024
    """A new segment begins when the offset index of the active one is as large."""
    max_message_bytes: int = 1024 * 1024 + 12
    """The largest record batch, compressed, that a leader takes (`max.message.bytes`)."""
    retention_ms: int = 7 * 24 * HOUR_MS
    """Segments whose last append was longer ago go; -1: never."""
    retention_bytes: int = -1
    """The oldest segments go while the log holds more than this; -1: no limit."""
    compression_type: CompressionType = "producer"
    """The codec that batches are kept in; `producer`: as they came."""
    cleanup_policy: CleanupPolicy = "delete"
    """Whether old records go by time and size, or because a newer record has their key."""
    delete_retention_ms: int = 24 * HOUR_MS
    """How long a compacted log keeps tombstones for readers to see."""
    min_cleanable_dirty_ratio: float = 0.5
    """Compaction waits until this part of the log was never compacted."""
    min_compaction_lag_ms: int = 0
    """Records younger than this are not compacted away."""
    max_compaction_lag_ms: int = INT64_MAX
    """A compacted log is compacted when a record that never was is as old, whatever its dirty ratio."""
    message_timestamp_type: Literal["CreateTime", "LogAppendTime"] = "CreateTime"
    """Whose clock stamps the records: the producer's or the leader's."""
    message_timestamp_after_max_ms: int = HOUR_MS
    """How far in the future a producer's timestamp may lie; -1: any (KIP-937)."""
    message_timestamp_before_max_ms: int = INT64_MAX
    """How far in the past a producer's timestamp may lie (KIP-937)."""
    producer_id_expiration_ms: int = 24 * HOUR_MS
    """An idempotent producer that appended nothing for so long is forgotten."""
    flush: Literal["sync", "os"] = "sync"
    """sync: an acknowledged record was fsynced. os: it was handed to the operating system, as Kafka does."""

    @property
    def compacts(self) -> bool:
        """Whether the log is compacted."""
        return self.cleanup_policy != "delete"

    @property
    def deletes(self) -> bool:
        """Whether old segments go by time and size."""
        return self.cleanup_policy != "compact"

    def __post_init__(self) -> None:
        """Refuse nonsense. Raises ValueError naming the setting."""
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} is {value}; the least is {least}")
        if not 0 <= self.min_cleanable_dirty_ratio <= 1:
            raise ValueError(
                f"min_cleanable_dirty_ratio is {self.min_cleanable_dirty_ratio}; it lies between 0 and 1"
            )


_LEAST = {
    "segment_bytes": 64,
    "segment_ms": 1,
    "index_interval_bytes": 0,
    "segment_index_bytes": 8,
    "max_message_bytes": 62,
    "retention_ms": -1,
    "retention_bytes": -1,
    "delete_retention_ms": 0,
    "min_compaction_lag_ms": 0,
    "max_compaction_lag_ms": 1,
    "message_timestamp_after_max_ms": -1,
    "message_timestamp_before_max_ms": 0,
    "producer_id_expiration_ms": 1,
}

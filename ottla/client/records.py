"""What a consumer hands out and takes."""

from typing import NamedTuple

from storage.records import Header


class TopicPartition(NamedTuple):
    """A partition by name."""

    topic: str
    partition: int


class ConsumerRecord(NamedTuple):
    """One record. value None is a tombstone."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


class OffsetAndMetadata(NamedTuple):
    """A committed position: the next record to read. leader_epoch -1: not known; commit_timestamp_ms -1: not told."""

    offset: int
    metadata: str = ""
    leader_epoch: int = -1
    commit_timestamp_ms: int = -1

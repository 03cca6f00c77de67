"""Which segments of a log may go, by time, by size and because they lie below the log's start. Pure.

Time is when the log took a segment's last batch, not what producers stamped on their records: a stamp of tomorrow
would keep a segment for ever and one of last year would delete it at once (KAFKA-6482; KAFKA-20609).
"""

from collections.abc import Sequence
from typing import NamedTuple

from storage.log_config import LogConfig


class SegmentFacts(NamedTuple):
    """One segment: [base_offset, end_offset), bytes, and when the log last appended to it (wall clock)."""

    base_offset: int
    end_offset: int
    size: int
    last_append_ms: int


def expired(
    segments: Sequence[SegmentFacts],
    config: LogConfig,
    *,
    now_ms: int,
    high_watermark: int,
    log_start_offset: int,
) -> int:
    """How many of the oldest segments may go: never the active one, none that reaches past the high watermark."""
    deletable = 0
    for segment in segments[:-1]:
        if segment.end_offset > high_watermark:
            break
        deletable += 1
    below_start = 0
    while below_start < deletable and segments[below_start].end_offset <= log_start_offset:
        below_start += 1
    if not config.deletes:
        return below_start
    return max(
        below_start,
        _by_time(segments[:deletable], config, now_ms),
        _by_size(segments, deletable, config),
    )


def _by_time(segments: Sequence[SegmentFacts], config: LogConfig, now_ms: int) -> int:
    if config.retention_ms < 0:
        return 0
    for count, segment in enumerate(segments):
        if now_ms - segment.last_append_ms <= config.retention_ms:
            return count
    return len(segments)


def _by_size(segments: Sequence[SegmentFacts], deletable: int, config: LogConfig) -> int:
    if config.retention_bytes < 0:
        return 0
    surplus = sum(segment.size for segment in segments) - config.retention_bytes
    for count, segment in enumerate(segments[:deletable]):
        if surplus < segment.size:
            return count
        surplus -= segment.size
    return deletable

"""Which segments may go."""

import contextlib
import random

import pytest

from storage.errors import OttlaError
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog
from storage.retention import SegmentFacts, expired
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch, flush, run, values_of

SEGMENTS = [SegmentFacts(n * 10, n * 10 + 10, 100, n * 1000) for n in range(5)]


def count(config: LogConfig, now_ms: int = 0, high_watermark: int = 50, start: int = 0) -> int:
    """How many go."""
    return expired(
        SEGMENTS, config, now_ms=now_ms, high_watermark=high_watermark, log_start_offset=start
    )


@pytest.mark.parametrize(
    ("now_ms", "gone"), [(1000, 0), (1001, 1), (3001, 3), (4001, 4), (10**9, 4)]
)
def test_segments_go_by_age_but_never_the_active_one(now_ms: int, gone: int) -> None:
    assert count(LogConfig(retention_ms=1000), now_ms) == gone


@pytest.mark.parametrize(("limit", "gone"), [(500, 0), (401, 0), (400, 1), (250, 2), (0, 4)])
def test_segments_go_by_size_but_the_log_never_shrinks_below_it(limit: int, gone: int) -> None:
    assert count(LogConfig(retention_ms=-1, retention_bytes=limit)) == gone


def test_nothing_beyond_the_high_watermark_goes() -> None:
    assert count(LogConfig(retention_ms=0), 10**9, high_watermark=29) == 2


def test_segments_below_the_log_start_go_also_in_a_compacted_log() -> None:
    config = LogConfig(cleanup_policy="compact", retention_ms=0, retention_bytes=0)
    assert count(config, 10**9) == 0
    assert count(config, 10**9, start=25) == 2


def test_no_limit_keeps_everything() -> None:
    assert count(LogConfig(retention_ms=-1, retention_bytes=-1), 10**15) == 0


@pytest.mark.parametrize("stamp", [0, NOW_MS + 3_000_000, 10**15])
def test_t1_what_producers_stamp_neither_keeps_nor_deletes(stamp: int) -> None:
    """KAFKA-6482, KAFKA-20609, openmeter #5005: only the time of the append counts, also after a restart."""
    disk = SimDisk(random.Random(0))
    config = LogConfig(retention_ms=1000, segment_bytes=64, message_timestamp_after_max_ms=-1)
    log = PartitionLog.create(disk, "t-0", config, now_ms=NOW_MS)
    for _ in range(3):
        log.append_as_leader(batch(b"v", timestamp_ms=stamp), 0, NOW_MS)
    for restart in (False, True):
        if restart:
            run(log.close())
            log = PartitionLog.open(disk, "t-0", config, clean=True, now_ms=NOW_MS + 500)
        assert log.expired_segments(NOW_MS + 1000, 3) == []
        assert len(log.expired_segments(NOW_MS + 1001, 3)) == 2


def test_deleted_segments_leave_no_file_and_the_new_start_is_durable_first() -> None:
    """Whatever the moment of a power loss, the log opens, with the old start or the new one."""
    for crash_at in range(30):
        disk = SimDisk(random.Random(crash_at))
        config = LogConfig(retention_ms=0, segment_bytes=64)
        log = PartitionLog.create(disk, "t-0", config, now_ms=NOW_MS)
        for number in range(6):
            log.append_as_leader(batch(b"%d" % number), 0, NOW_MS)
        run(log.checkpoint())
        seen = [0]

        def step(_: str, disk: SimDisk = disk, seen: list[int] = seen, at: int = crash_at) -> None:
            seen[0] += 1
            if seen[0] == at + 1:
                disk.crash()

        disk.on_step = step
        doomed = log.expired_segments(NOW_MS + 1, 6)
        with contextlib.suppress(OttlaError):
            run(log.delete_segments(doomed))
            assert not any(segment.path in disk.files() for segment in doomed)
        disk.on_step = None
        disk.crash()
        again = PartitionLog.open(disk, "t-0", config, clean=False, now_ms=NOW_MS)
        assert again.log_start_offset in (0, 5)
        assert values_of(again) == [b"%d" % n for n in range(again.log_start_offset, 6)]


def test_a_record_written_after_a_long_silence_is_not_as_old_as_the_checkpoint_before_it() -> None:
    """The process dies right after it: the next one knows only when the checkpoint was written."""
    disk = SimDisk(random.Random(1))
    config = LogConfig(retention_ms=1000)
    log = PartitionLog.create(disk, "t-0", config, now_ms=NOW_MS)
    log.append_as_leader(batch(b"old"), 0, NOW_MS)
    run(log.checkpoint())
    later_ms = NOW_MS + 100_000
    log.append_as_leader(batch(b"new", timestamp_ms=later_ms), 0, later_ms)
    disk.kill()
    again = PartitionLog.open(disk, "t-0", config, clean=False, now_ms=later_ms)
    run(flush(again))
    again.roll_if_due(later_ms)
    assert again.expired_segments(later_ms, again.log_end_offset) == []


def test_a_log_begun_anew_before_its_first_record_is_not_as_old_as_the_epoch() -> None:
    disk = SimDisk(random.Random(1))
    log = PartitionLog.create(disk, "t-0", LogConfig(), now_ms=NOW_MS)
    log.truncate_fully_and_start_at(7)
    assert (log.active.created_ms, log.active.last_append_ms) == (NOW_MS, NOW_MS)

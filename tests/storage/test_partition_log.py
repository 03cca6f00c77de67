"""One partition's log: what it takes, gives back, finds and refuses. The model test has the histories."""

import random
from collections.abc import Iterator

import pytest

from storage.compression import Compression
from storage.errors import (
    BatchTooLargeError,
    CorruptBatchError,
    InvalidRecordError,
    InvalidTimestampError,
    OffsetOutOfRangeError,
    OutOfOrderSequenceError,
)
from storage.leader_epochs import EpochEnd
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog
from storage.record_batch import HEADER_BYTES, iter_headers, parse_header
from storage.records import BatchBuilder, decode_batch
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch, batches_of, flush, run, values_of


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(1))


@pytest.fixture
def log(disk: SimDisk) -> PartitionLog:
    return PartitionLog.create(disk, "t-0", LogConfig(segment_bytes=500, index_interval_bytes=100))


def fill(log: PartitionLog, count: int, *, epoch: int = 0, step_ms: int = 10) -> None:
    """`count` batches of two records, stamped a step apart."""
    for number in range(count):
        data = batch(b"a", b"b", timestamp_ms=NOW_MS + number * step_ms)
        log.append_as_leader(data, epoch, NOW_MS + number * step_ms)


def test_offsets_are_given_once_and_in_order(log: PartitionLog) -> None:
    first = log.append_as_leader(batch(b"a", b"b") + batch(b"c"), 4, NOW_MS)
    second = log.append_as_leader(batch(b"d"), 4, NOW_MS)
    assert (first.base_offset, first.end_offset) == (0, 3)
    assert (second.base_offset, second.end_offset) == (3, 4)
    assert values_of(log) == [b"a", b"b", b"c", b"d"]
    assert {h.partition_leader_epoch for _, h in iter_headers(log.read(0, 9999, end_offset=4))} == {
        4
    }


def test_a_read_ends_before_a_batch_that_reaches_the_end_offset(log: PartitionLog) -> None:
    log.append_as_leader(batch(b"a", b"b") + batch(b"c", b"d"), 0, NOW_MS)
    data = log.read(0, 10_000, end_offset=3)
    assert [h.base_offset for _, h in iter_headers(data)] == [0]
    assert len(log.read(0, 10_000, end_offset=1)) == 0
    assert len(log.read(2, 10_000, end_offset=2)) == 0


def test_a_read_may_begin_before_the_offset_but_not_a_batch_too_early(log: PartitionLog) -> None:
    fill(log, 20)
    for offset in range(40):
        header = parse_header(log.read(offset, 1, end_offset=40))
        assert header.base_offset == offset // 2 * 2


def test_the_first_batch_is_returned_even_above_max_bytes_unless_told_otherwise(
    log: PartitionLog,
) -> None:
    log.append_as_leader(batch(b"x" * 300), 0, NOW_MS)
    assert len(log.read(0, 1, end_offset=1)) > 300
    assert len(log.read(0, 1, end_offset=1, min_one_batch=False)) == 0
    assert len(log.read(0, 10_000, end_offset=1, min_one_batch=False)) > 300


def test_offsets_outside_the_log_are_refused(log: PartitionLog) -> None:
    fill(log, 2)
    log.advance_log_start(1)
    for offset in (-1, 0, 5):
        with pytest.raises(OffsetOutOfRangeError, match=f"offset {offset} is outside 1 to 4"):
            log.read(offset, 100, end_offset=4)
    with pytest.raises(OffsetOutOfRangeError):
        log.advance_log_start(5)


def damaged(data: bytes) -> bytes:
    """With the last byte changed."""
    return data[:-1] + bytes([data[-1] ^ 1])


def wrong_batches() -> Iterator[tuple[type[Exception], bytes]]:
    """What a leader refuses."""
    yield CorruptBatchError, damaged(batch(b"v"))
    yield CorruptBatchError, batch(b"v")[:-1]
    yield CorruptBatchError, batch(b"v") + b"x"
    yield InvalidRecordError, b""
    yield BatchTooLargeError, batch(b"v" * 2000)
    yield InvalidTimestampError, batch(b"v", timestamp_ms=NOW_MS + 3_600_001)
    yield (
        OutOfOrderSequenceError,
        batch(b"v", producer_id=1, base_sequence=0) + batch(b"v", producer_id=1, base_sequence=5),
    )


@pytest.mark.parametrize(("error", "data"), list(wrong_batches()))
def test_a_bad_buffer_is_refused_whole(error: type[Exception], data: bytes) -> None:
    """S3: damaged bytes get in neither from a producer; and the good batches beside them don't either."""
    disk = SimDisk(random.Random(0))
    log = PartitionLog.create(disk, "t-0", LogConfig(max_message_bytes=1000))
    for buffer in (data, batch(b"good") + data if data else data):
        with pytest.raises(error):
            log.append_as_leader(buffer, 0, NOW_MS)
    assert (log.log_end_offset, log.size_bytes, len(log.producers)) == (0, 0, 0)


def test_a_follower_refuses_damaged_batches_and_offsets_that_go_back(log: PartitionLog) -> None:
    """S3: corruption does not spread by replication."""
    good = batch(b"a", b"b", base_offset=0, leader_epoch=1)
    with pytest.raises(CorruptBatchError):
        log.append_as_follower(damaged(good))
    log.append_as_follower(good)
    with pytest.raises(InvalidRecordError, match="offset 1"):
        log.append_as_follower(batch(b"c", base_offset=1, leader_epoch=1))
    with pytest.raises(InvalidRecordError, match="epoch 0"):
        log.append_as_follower(batch(b"c", base_offset=2, leader_epoch=0))
    assert log.log_end_offset == 2


def test_a_follower_has_the_leaders_bytes(disk: SimDisk, log: PartitionLog) -> None:
    fill(log, 10, epoch=1)
    fill(log, 10, epoch=3)
    follower = PartitionLog.create(disk, "t-1", LogConfig(segment_bytes=300))
    while follower.log_end_offset < log.log_end_offset:
        data = log.read(follower.log_end_offset, 250, end_offset=log.log_end_offset)
        follower.append_as_follower(data)
    assert batches_of(follower) == batches_of(log)
    assert follower.epochs.entries() == log.epochs.entries() == [(1, 0), (3, 20)]


def test_a_follower_of_a_compacted_log_keeps_the_gaps(disk: SimDisk, log: PartitionLog) -> None:
    log.append_as_follower(batch(b"a", base_offset=3, leader_epoch=0))
    log.append_as_follower(batch(b"b", base_offset=10, leader_epoch=0))
    assert [base for base, _, _ in batches_of(log)] == [3, 10]
    assert parse_header(log.read(5, 1, end_offset=11)).base_offset == 10
    run(flush(log))
    disk.crash()
    again = PartitionLog.open(disk, "t-0", log.config, clean=False, now_ms=NOW_MS)
    assert [base for base, _, _ in batches_of(again)] == [3, 10]


def test_an_epoch_that_wrote_nothing_gives_way_to_older_records(log: PartitionLog) -> None:
    """A leader of epoch 5 that appended nothing follows one that never heard of epoch 5's start."""
    fill(log, 1, epoch=3)
    log.assign_leader_epoch(5)
    assert log.end_offset_for_epoch(3) == EpochEnd(3, 2)
    log.truncate_to(2)
    log.append_as_follower(batch(b"late", base_offset=2, leader_epoch=4))
    assert log.epochs.entries() == [(3, 0), (4, 2)]
    assert len(values_of(log)) == 3


def test_a_metadata_log_begins_anywhere_and_its_epochs_are_terms(disk: SimDisk) -> None:
    log = PartitionLog.create(disk, "metadata", LogConfig(), start_offset=1001)
    log.append_as_follower(batch(b"entry", base_offset=1001, leader_epoch=7))
    assert (log.log_start_offset, log.log_end_offset, log.epoch_at(1001)) == (1001, 1002, 7)
    log.truncate_fully_and_start_at(5000)
    assert (log.log_start_offset, log.log_end_offset, log.latest_epoch) == (5000, 5000, -1)
    run(flush(log))
    disk.crash()
    again = PartitionLog.open(disk, "metadata", LogConfig(), clean=False, now_ms=NOW_MS)
    assert (again.log_start_offset, again.log_end_offset, again.latest_epoch) == (5000, 5000, -1)


def test_records_are_found_by_time(log: PartitionLog) -> None:
    fill(log, 30, epoch=2)
    for number in range(30):
        for delta in (0, 1):
            found = run(log.offset_for_timestamp(NOW_MS + number * 10 + delta, end_offset=60))
            assert found == (number * 2 + delta, NOW_MS + number * 10 + delta, 2)
    assert run(log.offset_for_timestamp(NOW_MS + 10_000, end_offset=60)) is None
    assert run(log.offset_for_timestamp(NOW_MS + 290, end_offset=58)) is None
    log.advance_log_start(11)
    assert run(log.offset_for_timestamp(0, end_offset=60)) == (11, NOW_MS + 51, 2)


def test_times_out_of_order_are_found_all_the_same(log: PartitionLog) -> None:
    stamps = [random.Random(3).randrange(1000) for _ in range(60)]
    for stamp in stamps:
        log.append_as_leader(batch(b"v", timestamp_ms=stamp), 0, NOW_MS)
    for asked in range(0, 1001, 7):
        for end in (60, 31, 1):
            expected = next((o for o, s in enumerate(stamps[:end]) if s >= asked), None)
            found = run(log.offset_for_timestamp(asked, end_offset=end))
            assert (found.offset if found else None) == expected
    for end in range(1, 61):
        best = run(log.max_timestamp(end_offset=end))
        assert best is not None
        assert best[:2] == (stamps.index(max(stamps[:end])), max(stamps[:end]))
    assert run(log.max_timestamp(end_offset=0)) is None


def test_log_append_time_stamps_and_says_so(disk: SimDisk) -> None:
    config = LogConfig(message_timestamp_type="LogAppendTime")
    log = PartitionLog.create(disk, "t-0", config)
    info = log.append_as_leader(batch(b"v", timestamp_ms=5), 0, NOW_MS)
    assert info.append_time_ms == NOW_MS
    (record,) = decode_batch(log.read(0, 1000, end_offset=1))
    assert record.timestamp_ms == NOW_MS


@pytest.mark.parametrize("kind", list(Compression))
def test_a_compacted_log_takes_only_records_with_a_key(disk: SimDisk, kind: Compression) -> None:
    log = PartitionLog.create(disk, "t-0", LogConfig(cleanup_policy="compact"))
    log.append_as_leader(batch(b"v", key=b"k", compression=kind), 0, NOW_MS)
    builder = BatchBuilder()
    for key in (b"k", None, b"k", None):
        builder.append(NOW_MS, key, b"v")
    with pytest.raises(InvalidRecordError, match="2 of 4 have none") as refused:
        log.append_as_leader(builder.build(compression=kind), 0, NOW_MS)
    assert refused.value.records == (1, 3)
    assert log.log_end_offset == 1


def test_a_retry_of_several_batches_is_one_duplicate(log: PartitionLog) -> None:
    data = batch(b"a", producer_id=1, base_sequence=0) + batch(
        b"b", b"c", producer_id=1, base_sequence=1
    )
    first = log.append_as_leader(data, 0, NOW_MS)
    again = log.append_as_leader(data, 0, NOW_MS)
    assert again.duplicate
    assert again[:2] == first[:2] == (0, 3)
    mixed = batch(b"b", b"c", producer_id=1, base_sequence=1) + batch(
        b"d", producer_id=1, base_sequence=3
    )
    with pytest.raises(InvalidRecordError, match="1 of 2"):
        log.append_as_leader(mixed, 0, NOW_MS)


def test_segments_roll_by_size_and_by_age(disk: SimDisk) -> None:
    log = PartitionLog.create(disk, "t-0", LogConfig(segment_bytes=200, segment_ms=1000))
    fill(log, 3, step_ms=0)
    assert len(log.segments) == 2
    log.append_as_leader(batch(b"late"), 0, NOW_MS + 1000)
    assert len(log.segments) == 3
    log.roll_if_due(NOW_MS + 1500)
    assert len(log.segments) == 3
    log.roll_if_due(NOW_MS + 2000)
    assert len(log.segments) == 4


def test_indexes_let_go_come_back(log: PartitionLog) -> None:
    fill(log, 40)
    run(log.checkpoint())
    run(log.checkpoint())
    assert any(segment._index is None for segment in log.segments)
    assert len(values_of(log)) == 80
    assert run(log.offset_for_timestamp(NOW_MS + 100, end_offset=80)) is not None


def test_flush_os_acknowledges_at_once_and_still_knows_what_is_synced(disk: SimDisk) -> None:
    log = PartitionLog.create(disk, "t-0", LogConfig(flush="os"))
    fill(log, 2)
    assert (log.flushed_offset, log.synced_offset, log.needs_flush) == (4, 0, False)
    run(log.checkpoint())
    assert log.synced_offset == 4


def test_an_unclean_start_counts_nothing_as_flushed_that_was_not(disk: SimDisk) -> None:
    """Bytes that a killed process left in the page cache are there, but not yet durable."""
    log = PartitionLog.create(disk, "t-0", LogConfig())
    fill(log, 2)
    disk.kill()
    again = PartitionLog.open(disk, "t-0", LogConfig(), clean=False, now_ms=NOW_MS)
    assert (again.log_end_offset, again.flushed_offset, again.needs_flush) == (4, 0, True)


def test_nonsense_in_the_config_names_the_setting() -> None:
    with pytest.raises(ValueError, match="segment_bytes is 1"):
        LogConfig(segment_bytes=1)
    with pytest.raises(ValueError, match="min_cleanable_dirty_ratio"):
        LogConfig(min_cleanable_dirty_ratio=2)
    assert LogConfig().max_message_bytes > HEADER_BYTES


def test_how_far_in_the_past_a_timestamp_may_lie_holds_for_every_record(log: PartitionLog) -> None:
    log.reconfigure(LogConfig(message_timestamp_before_max_ms=1000))
    log.append_as_leader(batch(b"a", b"b", timestamp_ms=NOW_MS - 1000), 0, NOW_MS)
    newest_first = BatchBuilder()
    newest_first.append(NOW_MS, None, b"new")
    newest_first.append(NOW_MS - 1001, None, b"old")
    with pytest.raises(InvalidTimestampError, match=r"1001 ms in the past.*before\.max\.ms=1000"):
        log.append_as_leader(newest_first.build(compression=Compression.LZ4), 0, NOW_MS)
    log.reconfigure(
        LogConfig(message_timestamp_before_max_ms=1000, message_timestamp_type="LogAppendTime")
    )
    log.append_as_leader(batch(b"c", timestamp_ms=0), 0, NOW_MS)


def test_a_full_index_begins_a_new_segment(disk: SimDisk) -> None:
    config = LogConfig(index_interval_bytes=0, segment_index_bytes=32)
    log = PartitionLog.create(disk, "t-0", config)
    fill(log, 20)
    assert [len(segment.index) for segment in log.segments] == [4, 4, 4, 4]
    assert len(values_of(log)) == 40

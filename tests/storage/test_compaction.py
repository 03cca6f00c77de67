"""Compaction against a dict, and against power losses at every step."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import compaction
from storage.compaction import DirtyFacts, worth_compacting
from storage.compression import Compression
from storage.errors import OttlaError
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog
from storage.record_batch import iter_validated
from storage.records import Record, decode_batch
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch, batches_of, run

CONFIG = LogConfig(
    cleanup_policy="compact",
    segment_bytes=250,
    index_interval_bytes=80,
    min_cleanable_dirty_ratio=0,
    delete_retention_ms=1000,
)


def records_of(log: PartitionLog) -> list[Record]:
    """All records."""
    return [record for _, _, data in batches_of(log) for record in decode_batch(data)]


def picture(log: PartitionLog) -> dict[bytes, bytes]:
    """What a reader of the whole log ends up with."""
    found: dict[bytes, bytes] = {}
    for record in records_of(log):
        assert record.key is not None
        found.pop(record.key, None)
        if record.value is not None:
            found[record.key] = record.value
    return found


def new_log(disk: SimDisk) -> PartitionLog:
    """Empty and compacted."""
    return PartitionLog.create(disk, "t-0", CONFIG, now_ms=NOW_MS)


async def compact(log: PartitionLog, now_ms: int = NOW_MS) -> int:
    """Everything closed."""
    log.roll(now_ms)
    await log.checkpoint()
    result = await log.compact(high_watermark=log.log_end_offset, now_ms=now_ms)
    return result.segments


WRITES = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c", b"d"]),
        st.none() | st.binary(max_size=20),
        st.sampled_from(list(Compression)),
        st.sampled_from(["write", "write", "write", "compact", "later", "restart"]),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(WRITES)
def test_readers_end_up_with_the_same_picture(writes: list) -> None:  # type: ignore[type-arg]
    disk, now_ms = SimDisk(random.Random(0)), NOW_MS
    log, model = new_log(disk), dict[bytes, bytes]()
    offsets: dict[int, tuple[bytes | None, bytes | None]] = {}
    for key, value, codec, then in writes:
        info = log.append_as_leader(batch(value, key=key, compression=codec), 0, now_ms)
        offsets[info.base_offset] = (key, value)
        model.pop(key, None)
        if value is not None:
            model[key] = value
        if then == "later":
            now_ms += 600
        elif then == "compact":
            run(compact(log, now_ms))
        elif then == "restart":
            disk.kill()
            log = PartitionLog.open(disk, "t-0", CONFIG, clean=False, now_ms=now_ms)
        assert picture(log) == model
        for record in records_of(log):
            assert offsets[record.offset] == (record.key, record.value)
        for offset in range(log.log_end_offset):
            data = log.read(offset, 1, end_offset=log.log_end_offset)
            for _, header in iter_validated(data):
                assert header.last_offset >= offset


def test_only_the_last_of_each_key_stays_where_it_was() -> None:
    log = new_log(SimDisk(random.Random(0)))
    for number in range(12):
        log.append_as_leader(batch(b"%d" % number, key=b"k%d" % (number % 3)), 0, NOW_MS)
    assert run(compact(log)) > 0
    assert [(r.offset, r.value) for r in records_of(log)] == [(9, b"9"), (10, b"10"), (11, b"11")]
    assert log.log_end_offset == 12


def test_tombstones_stay_for_a_while_and_then_go() -> None:
    """KIP-534: the wait begins with the first compaction that meets them."""
    log = new_log(SimDisk(random.Random(0)))
    log.append_as_leader(batch(b"v", key=b"k"), 0, NOW_MS)
    log.append_as_leader(batch(None, key=b"k"), 0, NOW_MS)
    log.append_as_leader(batch(b"other", key=b"o"), 0, NOW_MS)
    run(compact(log, NOW_MS + 5000))
    assert [r.value for r in records_of(log)] == [None, b"other"]
    assert records_of(log)[0].timestamp_ms == NOW_MS
    log.append_as_leader(batch(b"x", key=b"x"), 0, NOW_MS)
    run(compact(log, NOW_MS + 5999))
    assert [r.value for r in records_of(log)] == [None, b"other", b"x"]
    log.append_as_leader(batch(b"y", key=b"y"), 0, NOW_MS)
    run(compact(log, NOW_MS + 6000))
    assert [r.value for r in records_of(log)] == [b"other", b"x", b"y"]


def test_the_last_batch_of_a_producer_stays_as_a_shell_so_that_its_retry_is_known() -> None:
    disk = SimDisk(random.Random(0))
    log = new_log(disk)
    sent = batch(b"1", key=b"k", producer_id=5, base_sequence=0)
    log.append_as_leader(sent, 0, NOW_MS)
    for _ in range(10):
        log.append_as_leader(batch(b"2", key=b"k"), 0, NOW_MS)
    run(compact(log))
    assert [r.value for r in records_of(log)] == [b"2"]
    disk.kill()
    run(disk.remove("t-0/log.checkpoint"))
    again = PartitionLog.open(disk, "t-0", CONFIG, clean=False, now_ms=NOW_MS)
    assert again.append_as_leader(sent, 0, NOW_MS).duplicate


def test_a_power_loss_at_any_step_leaves_the_same_picture() -> None:
    crashes = 0
    for crash_at in range(60):
        disk = SimDisk(random.Random(crash_at))
        log = new_log(disk)
        for number in range(15):
            log.append_as_leader(batch(b"%d" % number, key=b"k%d" % (number % 4)), 0, NOW_MS)
        log.roll(NOW_MS)
        run(log.checkpoint())
        before, seen = picture(log), [0]

        def step(_: str, disk: SimDisk = disk, seen: list[int] = seen, at: int = crash_at) -> None:
            seen[0] += 1
            if seen[0] == at + 1:
                disk.crash()

        disk.on_step = step
        try:
            run(log.compact(high_watermark=log.log_end_offset, now_ms=NOW_MS))
        except OttlaError:
            crashes += 1
        disk.on_step = None
        disk.crash()
        again = PartitionLog.open(disk, "t-0", CONFIG, clean=False, now_ms=NOW_MS)
        assert picture(again) == before
        assert again.log_end_offset == 15
    assert crashes > 10


def test_more_keys_than_fit_are_compacted_in_several_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction.LatestOffsets.__init__, "__defaults__", (3,))
    log = new_log(SimDisk(random.Random(0)))
    for number in range(40):
        log.append_as_leader(batch(b"%d" % number, key=b"k%d" % (number % 10)), 0, NOW_MS)
    before = picture(log)
    for _ in range(20):
        run(compact(log))
        assert picture(log) == before
    assert len(records_of(log)) < 40
    assert log.first_dirty_offset == 40


def test_a_log_cut_while_it_is_compacted_stays_cut() -> None:
    log = new_log(SimDisk(random.Random(0)))
    for number in range(15):
        log.append_as_leader(batch(b"%d" % number, key=b"k"), 0, NOW_MS)
    log.roll(NOW_MS)
    run(log.checkpoint())

    async def story(pause: int) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(log.compact(high_watermark=15, now_ms=NOW_MS))
            for _ in range(pause):
                await asyncio.sleep(0)
            log.truncate_to(8 - pause // 10)
            log.append_as_leader(batch(b"new", key=b"n%d" % pause), 1, NOW_MS)

    for pause in (1, 5, 20, 40):
        run(story(pause))
        assert log.offline is None
        end = log.log_end_offset
        assert records_of(log)[-1].value == b"new"
        assert records_of(log)[-1].offset == end - 1


@pytest.mark.parametrize(
    ("ratio", "dirty_from", "watermark", "expected"),
    [(0.5, 20, 40, 4), (0.6, 20, 40, 0), (0.0, 40, 40, 0), (0.0, 0, 35, 3), (1.0, 0, 40, 4)],
)
def test_compaction_waits_for_enough_that_is_new(
    ratio: float, dirty_from: int, watermark: int, expected: int
) -> None:
    config = LogConfig(cleanup_policy="compact", min_cleanable_dirty_ratio=ratio)
    facts = [DirtyFacts(10 * n + 10, 100, 0, 0) for n in range(4)]
    found = worth_compacting(
        facts, config, first_dirty_offset=dirty_from, high_watermark=watermark, now_ms=0
    )
    assert found == expected


@pytest.mark.parametrize(("age_ms", "expected"), [(999, 0), (1000, 4)])
def test_what_is_too_old_is_compacted_whatever_its_part(age_ms: int, expected: int) -> None:
    config = LogConfig(cleanup_policy="compact", max_compaction_lag_ms=1000)
    facts = [DirtyFacts(10 * n + 10, 100, NOW_MS, NOW_MS + 5) for n in range(4)]
    found = worth_compacting(
        facts, config, first_dirty_offset=30, high_watermark=40, now_ms=NOW_MS + age_ms
    )
    assert found == expected


def test_the_active_segment_is_closed_for_what_is_too_old_in_it() -> None:
    log = new_log(SimDisk(random.Random(0)))
    log.reconfigure(LogConfig(cleanup_policy="compact", max_compaction_lag_ms=1000))
    log.append_as_leader(batch(b"v", key=b"k"), 0, NOW_MS)
    log.roll_if_due(NOW_MS + 999)
    assert len(log.segments) == 1
    log.roll_if_due(NOW_MS + 1000)
    assert len(log.segments) == 2

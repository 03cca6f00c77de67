"""Rows S1 to S7 of the list of bugs that others shipped, each as a test that would have found it here."""

import contextlib
import errno
import random
from collections.abc import Callable

import pytest

from storage.errors import (
    DiskFullError,
    LogDamagedError,
    LogOfflineError,
    OttlaError,
    UnreadableFileError,
)
from storage.log_config import LogConfig
from storage.log_directory import CLEAN_FILE, LogDirectory, LogIdentity
from storage.partition_log import PartitionLog
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch, batches_of, flush, run, values_of

CONFIG = LogConfig(segment_bytes=300, index_interval_bytes=64)
IDENTITY = LogIdentity("orders", "6f1e3f9e-0000-4000-8000-000000000001", 0)


async def opened(disk: SimDisk) -> LogDirectory:
    """A loaded data folder."""
    directory = await LogDirectory.open(disk, node_id=1, cluster_id="c")
    await directory.load(lambda _: CONFIG, now_ms=NOW_MS)
    return directory


async def with_log(disk: SimDisk, batches: int) -> PartitionLog:
    """A data folder with one log, flushed."""
    directory = await opened(disk)
    log = await directory.create_log(IDENTITY, CONFIG)
    for number in range(batches):
        log.append_as_leader(batch(b"%d" % number), 0, NOW_MS)
    await flush(log)
    return log


def reopen(disk: SimDisk, folder: str = "orders-0") -> PartitionLog:
    """After a crash."""
    return PartitionLog.open(disk, folder, CONFIG, clean=False, now_ms=NOW_MS)


def test_s1_after_any_failed_sync_nothing_is_acknowledged_or_appended() -> None:
    """ATC'20, KAFKA-10778: for every k, the k-th sync fails; what was acknowledged before is there after a crash."""
    for k in range(1, 12):
        disk = SimDisk(random.Random(k))
        log = run(with_log(disk, 0))
        disk.fail_sync_in = k
        acknowledged = 0
        for number in range(20):
            try:
                log.append_as_leader(batch(b"%d" % number), 0, NOW_MS)
                run(flush(log))
                acknowledged = log.flushed_offset
            except LogOfflineError:
                break
        flushed = log.flushed_offset
        assert flushed == acknowledged
        assert log.offline is not None
        attempts: list[Callable[[PartitionLog], object]] = [
            lambda log: log.append_as_leader(batch(b"more"), 0, NOW_MS),
            lambda log: log.append_as_follower(batch(b"more", base_offset=99)),
            lambda log: log.truncate_to(0),
            lambda log: log.roll(NOW_MS),
            lambda log: log.begin_flush(),
        ]
        for attempt in attempts:
            with pytest.raises(LogOfflineError, match="opened anew"):
                attempt(log)
        disk.fail_sync_in = 0
        with pytest.raises(LogOfflineError):
            run(log.checkpoint())
        disk.crash()
        assert values_of(reopen(disk))[:acknowledged] == [b"%d" % n for n in range(acknowledged)]


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS])
def test_s1_a_failed_write_fences_the_log(error: int) -> None:
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 2))
    disk.fail_writes = error
    with pytest.raises(LogOfflineError):
        log.append_as_leader(batch(b"x"), 0, NOW_MS)
    disk.fail_writes = 0
    with pytest.raises(LogOfflineError):
        log.append_as_leader(batch(b"x"), 0, NOW_MS)
    assert values_of(log) == [b"0", b"1"]


def test_s2_a_torn_tail_is_cut_and_said() -> None:
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 2))
    path = log.active.path
    whole = disk.files()[path]
    for tail in (batch(b"lost", base_offset=2)[:-3], bytes(100), b"\xff" * 70, b"\x02"):
        disk.overwrite(path, whole + tail)
        again = reopen(disk)
        assert values_of(again) == [b"0", b"1"]
        assert "cut off" in again.notes[0]
        assert disk.files()[path] == whole


def test_s2_one_byte_changed_anywhere_is_never_a_silent_loss() -> None:
    """FAST'18, NATS #7549: every byte of every file of a log whose recovery point covers it."""
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 12))
    run(log.checkpoint())
    expected, files = values_of(log), disk.files()
    assert len(log.segments) > 2
    for path in (path for path in files if path.startswith("orders-0/")):
        good = files[path]
        for position in range(0, len(good), 1 if path.endswith(".log") else 5):
            disk.flip_bit(path, position, position % 8)
            verify_nothing_lost(disk, expected, f"{path} bit {position}")
            disk.overwrite(path, good)
            disk.files()
    assert disk.files() == files


def verify_nothing_lost(disk: SimDisk, expected: list[bytes | None], where: str) -> None:
    """The log is refused, or every read gives the truth or an error; no file got shorter."""
    before = {path: len(data) for path, data in disk.files().items()}
    with contextlib.suppress(LogDamagedError, UnreadableFileError):
        assert values_of(reopen(disk)) == expected, where
    after = {path: len(data) for path, data in disk.files().items()}
    assert after == before, where


@pytest.mark.parametrize("damage", ["flip", "zero", "truncate"])
def test_s2_damage_in_the_middle_beyond_the_recovery_point_is_never_cut(damage: str) -> None:
    """A valid batch follows, so it is no torn tail though no checkpoint covers it."""
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 12))
    path, good = log.segments[0].path, disk.files()[log.segments[0].path]
    for position in range(0, len(good), 7):
        bad = {
            "flip": good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :],
            "zero": good[:position] + bytes(16) + good[position + 16 :],
            "truncate": good[:position],
        }[damage]
        disk.overwrite(path, bad)
        with pytest.raises(LogDamagedError, match=path):
            values_of(reopen(disk))
        assert disk.files()[path] == bad
    disk.overwrite(path, good)
    assert len(values_of(reopen(disk))) == 12


def test_s2_a_bad_byte_with_a_valid_batch_behind_it_in_the_newest_segment_is_never_cut() -> None:
    """Every byte but those of the last batch, where nothing tells damage from a torn write."""
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 4))
    path, good = log.active.path, disk.files()[log.active.path]
    last_batch = len(good) - len(good) // 4
    for position in range(last_batch):
        bad = good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :]
        disk.overwrite(path, bad)
        with pytest.raises(LogDamagedError, match=path):
            values_of(reopen(disk))
        assert disk.files()[path] == bad


def test_s2_a_missing_segment_refuses_the_log() -> None:
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 12))
    assert len(log.segments) > 2
    run(disk.remove(log.segments[1].path))
    with pytest.raises(LogDamagedError, match="lost here"):
        reopen(disk)


def test_s2_a_log_shorter_than_its_recovery_point_is_refused() -> None:
    """Not cut, not taken for empty: CTRL, FAST'18."""
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 12))
    run(log.checkpoint())
    path = log.active.path
    size = len(disk.files()[path])
    for cut in (0, size - 1):
        disk.overwrite(path, disk.files()[path][:cut])
        with pytest.raises(LogDamagedError):
            reopen(disk)
    run(disk.remove(path))
    with pytest.raises(LogDamagedError, match="had been synced"):
        reopen(disk)


def test_s2_segments_after_a_lost_tail_were_never_acknowledged_and_do_not_come_back() -> None:
    """Two unsynced segments, of which a power loss takes the first one's tail; later appends fill the gap."""
    for seed in range(60):
        disk = SimDisk(random.Random(seed))
        log = run(with_log(disk, 1))
        kept = values_of(log)
        for _ in range(10):
            log.append_as_leader(batch(b"unsynced"), 0, NOW_MS)
        disk.crash()
        for attempt in range(3):
            log = reopen(disk)
            assert values_of(log)[: len(kept)] == kept
            assert not any(v == b"unsynced" for v in values_of(log)) or attempt == 0
            log.truncate_to(len(kept))
            kept = [*kept, b"new%d" % attempt]
            log.append_as_leader(batch(kept[-1]), attempt + 1, NOW_MS)
            run(flush(log))
            disk.crash()
        assert values_of(reopen(disk)) == kept


def test_s3_damaged_bytes_are_not_served() -> None:
    """FAST'17: every byte of a segment, read while the log is open."""
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 4))
    truth = batches_of(log)
    path = log.segments[0].path
    for position in range(len(disk.files()[path])):
        disk.flip_bit(path, position, position % 8)
        for segment in log.segments:
            segment._cursors.clear()
        with pytest.raises(LogDamagedError, match=path):
            batches_of(log)
        for offset in range(log.log_end_offset):
            try:
                data = bytes(log.read(offset, 1, end_offset=4))
                assert data in [raw for _, _, raw in truth]
            except LogDamagedError:
                pass
        disk.flip_bit(path, position, position % 8)
    assert batches_of(log) == truth


def test_s4_a_crash_while_loading_is_no_clean_shutdown() -> None:
    """KAFKA-10471: the marker is gone, durably, before the first log is opened."""
    disk = SimDisk(random.Random(0))

    async def story() -> None:
        directory = await opened(disk)
        await directory.create_log(IDENTITY, CONFIG)
        await directory.close()
        assert disk.exists(CLEAN_FILE)
        directory = await LogDirectory.open(disk, node_id=1)
        assert directory.was_clean
        disk.crash()
        directory = await LogDirectory.open(disk, node_id=1)
        assert not directory.was_clean

    run(story())


def test_s4_a_crash_between_any_two_steps_of_a_checkpoint_loses_nothing() -> None:
    """KAFKA-16541: epochs, producers and the recovery point are one file, old or new."""
    steps = 0
    for crash_at in range(40):
        disk = SimDisk(random.Random(crash_at))
        log = run(with_log(disk, 5))
        sent = batch(b"p", producer_id=5, base_sequence=0)
        log.append_as_leader(sent, 3, NOW_MS)
        run(flush(log))
        seen = [0]

        def step(_: str, disk: SimDisk = disk, seen: list[int] = seen, at: int = crash_at) -> None:
            seen[0] += 1
            if seen[0] == at + 1:
                disk.crash()

        disk.on_step = step
        with contextlib.suppress(OttlaError):
            run(log.checkpoint())
        disk.on_step = None
        steps = max(steps, seen[0])
        disk.crash()
        again = reopen(disk)
        assert again.log_end_offset == 6
        assert again.epochs.entries() == [(0, 0), (3, 5)]
        assert again.append_as_leader(sent, 3, NOW_MS).duplicate
    assert steps == 3


def test_s5_the_flushed_offset_never_runs_ahead_of_the_sync() -> None:
    """NATS #7564: whatever is below it survives every power loss."""
    for seed in range(100):
        disk = SimDisk(random.Random(seed))
        log = run(with_log(disk, 0))
        for number in range(30):
            log.append_as_leader(batch(b"%d" % number), 0, NOW_MS)
            if disk._rng.random() < 0.3:
                ticket = log.begin_flush()
                log.append_as_leader(batch(b"behind the sync"), 0, NOW_MS)
                run(disk.sync(ticket.files))
                log.complete_flush(ticket)
        flushed, before = log.flushed_offset, values_of(log)
        disk.crash()
        after = values_of(reopen(disk))
        assert len(after) >= flushed
        assert after == before[: len(after)]


def test_s6_an_unreadable_log_is_left_alone() -> None:
    """NATS #7556, #4410: no orphan is cleaned up because a file about it was damaged."""
    for name in ("log.checkpoint", "partition.meta"):
        disk = SimDisk(random.Random(0))
        log = run(with_log(disk, 5))
        run(log.checkpoint())
        disk.kill()
        disk.flip_bit(f"orders-0/{name}", 20)
        before = disk.files()
        directory = run(opened(disk))
        assert list(directory.failed) == ["orders-0"]
        assert name in str(directory.failed["orders-0"])
        with pytest.raises(OttlaError, match="holds another log"):
            run(directory.create_log(IDENTITY, CONFIG))
        run(directory.close())
        after = disk.files()
        assert {p: d for p, d in after.items() if p in before} == before


def test_s6_an_unreadable_owner_stops_the_node_and_touches_nothing() -> None:
    disk = SimDisk(random.Random(0))
    run(with_log(disk, 5))
    disk.kill()
    disk.flip_bit("node.meta", 20)
    before = disk.files()
    with pytest.raises(UnreadableFileError, match=r"node\.meta"):
        run(LogDirectory.open(disk, node_id=1))
    assert disk.files() == before


def test_s7_a_full_disk_refuses_writes_serves_reads_and_recovers() -> None:
    """NATS #8386: a hundred times full and free again, without a restart."""
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 3))
    expected = values_of(log)
    for number in range(100):
        disk.capacity = disk.used_bytes()
        with pytest.raises(DiskFullError) as caught:
            log.append_as_leader(batch(b"refused"), 0, NOW_MS)
        assert caught.value.retriable
        assert values_of(log) == expected
        disk.capacity = None
        expected.append(b"%d" % number)
        log.append_as_leader(batch(b"%d" % number), 0, NOW_MS)
        run(flush(log))
        assert values_of(log) == expected
    disk.crash()
    assert values_of(reopen(disk)) == expected


def test_s7_a_checkpoint_on_a_full_disk_is_put_off() -> None:
    disk = SimDisk(random.Random(0))
    log = run(with_log(disk, 3))
    disk.capacity = disk.used_bytes()
    with pytest.raises(DiskFullError):
        run(log.checkpoint())
    assert log.offline is None
    disk.capacity = None
    run(log.checkpoint())

"""Idempotent producers: Kafka's rules (KIP-98), row G4 of bugs.md."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import producer_state
from storage.errors import (
    InvalidProducerEpochError,
    InvalidRecordError,
    OutOfOrderSequenceError,
    UnknownProducerIdError,
)
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog
from storage.producer_state import SEQUENCE_MAX, BatchMark, ProducerStates, advance_sequence
from storage.record_batch import BatchHeader
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch


def header(sequence: int, count: int = 1, *, producer: int = 7, epoch: int = 0) -> BatchHeader:
    """Of a producer's batch."""
    return BatchHeader(0, 100, 0, 2, 0, 0, count - 1, 0, 0, producer, epoch, sequence, count)


class Partition:
    """A log as the producers see it: check, then append and update."""

    def __init__(self) -> None:
        self.states = ProducerStates()
        self.end = 0

    def append(self, sent: BatchHeader, now_ms: int = 0) -> BatchMark | None:
        """None when appended, the old mark for a duplicate."""
        mark = self.states.check(sent)
        if mark is None:
            self.states.update(sent, self.end, now_ms)
            self.end += sent.records_count
        return mark


def test_each_of_the_last_five_batches_is_recognised_with_its_own_offsets() -> None:
    """G4, redpanda #3039 and #5356: the window is five, and the offset is the original one."""
    log = Partition()
    for number in range(7):
        log.append(header(number * 10, 10))
    for number in range(2, 7):
        mark = log.append(header(number * 10, 10))
        assert mark is not None
        assert (mark.first_offset, mark.last_offset) == (number * 10, number * 10 + 9)
    with pytest.raises(OutOfOrderSequenceError):
        log.append(header(10, 10))


def test_a_gap_and_an_overlap_are_out_of_order() -> None:
    log = Partition()
    log.append(header(0, 10))
    for wrong in (header(11), header(5, 10), header(0, 5)):
        with pytest.raises(OutOfOrderSequenceError, match="expected 10"):
            log.append(wrong)
    assert log.append(header(10)) is None


def test_after_the_largest_sequence_comes_zero() -> None:
    """KAFKA-14920."""
    assert advance_sequence(SEQUENCE_MAX, 1) == 0
    log = Partition()
    log.append(header(0))
    log.states.update(header(SEQUENCE_MAX - 1), 1, 0)
    crossing = header(SEQUENCE_MAX, 3)
    assert log.append(crossing) is None
    assert log.append(crossing) is not None
    assert log.append(header(2)) is None


def test_an_old_epoch_is_fenced() -> None:
    log = Partition()
    log.append(header(0, epoch=2))
    with pytest.raises(InvalidProducerEpochError):
        log.append(header(1, epoch=1))


def test_a_new_epoch_begins_at_zero() -> None:
    log = Partition()
    log.append(header(0))
    with pytest.raises(OutOfOrderSequenceError, match="begins at 0"):
        log.append(header(1, epoch=1))
    assert log.append(header(0, epoch=1)) is None
    assert log.append(header(0, epoch=1)) is not None


def test_a_stranger_begins_at_zero() -> None:
    log = Partition()
    with pytest.raises(UnknownProducerIdError):
        log.append(header(5))


def test_a_rejected_batch_leaves_no_trace() -> None:
    """KAFKA-9666: the epoch went up although the append failed."""
    log = Partition()
    log.append(header(0))
    before = log.states.view()
    with pytest.raises(OutOfOrderSequenceError):
        log.append(header(3, epoch=5))
    assert log.states.check(header(0, epoch=5)) is None
    assert log.states.view() == before


def test_an_append_that_the_disk_refused_leaves_no_trace() -> None:
    """KAFKA-9666 with the log around it."""
    import random

    disk = SimDisk(random.Random(0))
    log = PartitionLog.create(disk, "t-0", LogConfig())
    log.append_as_leader(batch(b"a", producer_id=7, base_sequence=0), 0, NOW_MS)
    disk.capacity = disk.used_bytes()
    sent = batch(b"b", producer_id=7, producer_epoch=1, base_sequence=0)
    with pytest.raises(Exception, match="make room"):
        log.append_as_leader(sent, 0, NOW_MS)
    disk.capacity = None
    follow_up = batch(b"c", producer_id=7, producer_epoch=0, base_sequence=1)
    assert log.append_as_leader(follow_up, 0, NOW_MS).base_offset == 1


def test_expiry_counts_from_the_append_whatever_the_records_say() -> None:
    """KAFKA-9144: records stamped last year must not make their producer forgotten."""
    log = Partition()
    log.append(header(0), now_ms=1000)
    assert log.states.expire(now_ms=1999, expiration_ms=1000) == 0
    assert log.states.expire(now_ms=2000, expiration_ms=1000) == 1
    with pytest.raises(UnknownProducerIdError):
        log.append(header(1))


@pytest.mark.parametrize(
    "sent", [header(-1), header(0, epoch=-1), header(0)._replace(records_count=0)]
)
def test_a_producer_id_without_sequence_epoch_or_records_is_invalid(sent: BatchHeader) -> None:
    with pytest.raises(InvalidRecordError):
        Partition().append(sent)


def test_batches_without_a_producer_are_not_looked_at() -> None:
    log = Partition()
    assert log.append(header(-1, producer=-1)) is None
    assert len(log.states) == 0


def test_the_number_of_producers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer_state, "PRODUCERS_MAX", 10)
    log = Partition()
    for producer in range(30):
        log.append(header(0, producer=producer))
    assert len(log.states) <= 10
    assert log.states.get(29) is not None


STEPS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 3), st.integers(1, 3)),
    max_size=60,
)


@given(STEPS)
def test_the_state_is_a_function_of_what_was_appended(
    steps: list[tuple[int, int, int, int]],
) -> None:
    """G4: rebuild == live, and a snapshot in the middle changes nothing."""
    log, appended = Partition(), list[tuple[BatchHeader, int]]()
    for producer, epoch, guess, count in steps:
        entry = log.states.get(producer)
        fits = entry is not None and entry.epoch == epoch
        sequence = entry.last_sequence + guess if fits and entry is not None else 0
        sent = header(sequence, count, producer=producer, epoch=epoch)
        at = log.end
        try:
            if log.append(sent) is None:
                appended.append((sent, at))
        except (OutOfOrderSequenceError, InvalidProducerEpochError):
            pass
    rebuilt = ProducerStates()
    for index, (sent, at) in enumerate(appended):
        if index == len(appended) // 2:
            rebuilt = ProducerStates.decode(rebuilt.encode())
        rebuilt.update(sent, at, 0)
    assert rebuilt.view() == log.states.view()


@given(STEPS)
def test_no_value_lies_at_two_offsets(steps: list[tuple[int, int, int, int]]) -> None:
    """A client that loses every second acknowledgement and sends again."""
    log = Partition()
    next_sequence: dict[int, int] = {}
    for producer, _, lost, count in steps:
        sequence = next_sequence.get(producer, 0)
        sent = header(sequence, count, producer=producer)
        assert log.append(sent) is None
        first = log.end - count
        for _ in range(lost):
            mark = log.append(sent)
            assert mark is not None
            assert mark.first_offset == first
        next_sequence[producer] = sequence + count


def test_a_follower_knows_the_producers_as_its_leader_does() -> None:
    """G4: else the retry of a batch would be new records to whoever leads next."""
    disk = SimDisk(random.Random(1))
    leader = PartitionLog.create(disk, "t-0", LogConfig())
    follower = PartitionLog.create(disk, "t-1", LogConfig())
    for sequence in range(7):
        leader.append_as_leader(
            batch(b"x", producer_id=9, producer_epoch=0, base_sequence=sequence), 1, NOW_MS
        )
    follower.append_as_follower(leader.read(0, 1 << 20, end_offset=7), NOW_MS)
    assert follower.producers.view() == leader.producers.view()
    again = batch(b"x", producer_id=9, producer_epoch=0, base_sequence=5)
    assert follower.append_as_leader(again, 2, NOW_MS).duplicate


def test_what_is_cut_away_was_never_sent() -> None:
    """G4: its retry must be appended, by whoever leads next."""
    log = PartitionLog.create(SimDisk(random.Random(1)), "t-0", LogConfig())
    sent = [
        batch(b"x", producer_id=9, producer_epoch=0, base_sequence=number) for number in range(3)
    ]
    for each in sent:
        log.append_as_leader(each, 1, NOW_MS)
    log.truncate_to(1)
    assert not log.append_as_leader(sent[1], 2, NOW_MS).duplicate
    assert log.append_as_leader(sent[0], 2, NOW_MS).duplicate


def test_a_producer_that_goes_on_does_not_expire() -> None:
    """KAFKA-9144: counted from its last batch, not from its first."""
    log = Partition()
    log.append(header(0), 0)
    log.append(header(1), 900)
    assert log.states.expire(1000, 1000) == 0
    assert log.states.expire(1900, 1000) == 1

"""What a partition remembers of idempotent producers: epoch and last five batches of each (KIP-98). Pure.

The state is a function of the log: `update` with every batch in order, live or replayed, gives the same entries.
`check` decides about a new batch and changes nothing, so a failed append leaves no trace (KAFKA-9666).
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from storage.errors import (
    InvalidProducerEpochError,
    InvalidRecordError,
    OutOfOrderSequenceError,
    UnknownProducerIdError,
)
from storage.record_batch import BatchHeader

WINDOW = 5
"""Batches remembered per producer: what a Kafka client may have in flight."""
PRODUCERS_MAX = 100_000
"""Producers remembered per partition; beyond it those silent for longest (by offset) are forgotten."""
SEQUENCE_MAX = 2**31 - 1
SNAPSHOT_VERSION = 1


class BatchMark(NamedTuple):
    """One appended batch of a producer: its sequence numbers and where it lies."""

    first_sequence: int
    last_sequence: int
    first_offset: int
    last_offset: int


class ProducerEntry:
    """One producer. `last_append_ms` is when the log took its last batch, never a record's timestamp (KAFKA-9144)."""

    __slots__ = ("epoch", "last_append_ms", "marks")

    def __init__(self, epoch: int, marks: list[BatchMark], last_append_ms: int) -> None:
        self.epoch = epoch
        self.marks = marks
        self.last_append_ms = last_append_ms

    @property
    def last_sequence(self) -> int:
        """Sequence number of the last record."""
        return self.marks[-1].last_sequence


def advance_sequence(sequence: int, steps: int) -> int:
    """`sequence` plus `steps`; after 2^31 - 1 comes 0 (KAFKA-14920)."""
    return (sequence + steps) & SEQUENCE_MAX


class ProducerStates:
    """All producers of one partition."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[int, ProducerEntry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[int, ProducerEntry]]:
        return iter(self._entries.items())

    def get(self, producer_id: int) -> ProducerEntry | None:
        """What is known of a producer."""
        return self._entries.get(producer_id)

    def check(self, header: BatchHeader) -> BatchMark | None:
        """Judge a producer's batch before the leader appends it: None to append, the old mark for a duplicate.

        Raises InvalidProducerEpochError, OutOfOrderSequenceError, UnknownProducerIdError, InvalidRecordError.
        """
        if header.producer_id < 0:
            return None
        if header.producer_epoch < 0 or header.base_sequence < 0 or header.records_count < 1:
            raise InvalidRecordError(
                f"producer {header.producer_id} sent epoch {header.producer_epoch}, base sequence "
                f"{header.base_sequence}, {header.records_count} records"
            )
        entry = self._entries.get(header.producer_id)
        if entry is None:
            if header.base_sequence:
                raise UnknownProducerIdError(
                    f"producer {header.producer_id} goes on at sequence {header.base_sequence}, but this log "
                    "holds nothing of it: its state expired; it needs a new epoch"
                )
            return None
        if header.producer_epoch != entry.epoch:
            _check_new_epoch(header, entry)
            return None
        return _check_sequence(header, entry)

    def update(self, header: BatchHeader, base_offset: int, now_ms: int) -> None:
        """Remember a batch that lies in the log at `base_offset`. Never judges: the log is right."""
        if header.producer_id < 0 or header.is_control or header.base_sequence < 0:
            return
        last = advance_sequence(header.base_sequence, header.last_offset_delta)
        mark = BatchMark(
            header.base_sequence, last, base_offset, base_offset + header.last_offset_delta
        )
        entry = self._entries.get(header.producer_id)
        if entry is None or entry.epoch != header.producer_epoch:
            if entry is None and len(self._entries) >= PRODUCERS_MAX:
                self._forget_oldest()
            self._entries[header.producer_id] = ProducerEntry(header.producer_epoch, [mark], now_ms)
            return
        entry.marks.append(mark)
        if len(entry.marks) > WINDOW:
            del entry.marks[0]
        entry.last_append_ms = now_ms

    def _forget_oldest(self) -> None:
        by_age = sorted(self._entries, key=lambda pid: self._entries[pid].marks[-1].last_offset)
        for producer_id in by_age[: max(1, PRODUCERS_MAX // 10)]:
            del self._entries[producer_id]

    def expire(self, now_ms: int, expiration_ms: int) -> int:
        """Forget producers that appended nothing for `expiration_ms`; returns how many."""
        old = [
            producer_id
            for producer_id, entry in self._entries.items()
            if now_ms - entry.last_append_ms >= expiration_ms
        ]
        for producer_id in old:
            del self._entries[producer_id]
        return len(old)

    def fork(self, producer_ids: set[int]) -> "ProducerStates":
        """A copy of these producers, to try several batches on."""
        other = ProducerStates()
        for producer_id in producer_ids:
            entry = self._entries.get(producer_id)
            if entry is not None:
                other._entries[producer_id] = ProducerEntry(
                    entry.epoch, list(entry.marks), entry.last_append_ms
                )
        return other

    def view(self) -> dict[int, tuple[int, tuple[BatchMark, ...]]]:
        """Producer id -> (epoch, marks): all that follows from the log alone, for comparing."""
        return {pid: (entry.epoch, tuple(entry.marks)) for pid, entry in self._entries.items()}

    def encode(self) -> bytes:
        """A snapshot, for `decode`."""
        rows = [
            (pid, entry.epoch, entry.last_append_ms, entry.marks)
            for pid, entry in self._entries.items()
        ]
        return msgspec.msgpack.encode((SNAPSHOT_VERSION, rows))

    @classmethod
    def decode(cls, data: bytes) -> "ProducerStates":
        """From a snapshot whose integrity was checked. Raises msgspec.ValidationError for another version's."""
        _, rows = _snapshot_decoder.decode(data)
        states = cls()
        for producer_id, epoch, last_append_ms, marks in rows:
            states._entries[producer_id] = ProducerEntry(epoch, marks, last_append_ms)
        return states


_Row = tuple[int, int, int, list[BatchMark]]
_snapshot_decoder = msgspec.msgpack.Decoder(tuple[int, list[_Row]])


def _check_new_epoch(header: BatchHeader, entry: ProducerEntry) -> None:
    if header.producer_epoch < entry.epoch:
        raise InvalidProducerEpochError(
            f"producer {header.producer_id} of epoch {header.producer_epoch} was replaced by epoch {entry.epoch}"
        )
    if header.base_sequence:
        raise OutOfOrderSequenceError(
            f"producer {header.producer_id} begins epoch {header.producer_epoch} at sequence "
            f"{header.base_sequence}; a new epoch begins at 0"
        )


def _check_sequence(header: BatchHeader, entry: ProducerEntry) -> BatchMark | None:
    last = advance_sequence(header.base_sequence, header.last_offset_delta)
    for mark in entry.marks:
        if mark.first_sequence == header.base_sequence and mark.last_sequence == last:
            return mark
    expected = advance_sequence(entry.last_sequence, 1)
    if header.base_sequence != expected:
        raise OutOfOrderSequenceError(
            f"producer {header.producer_id} epoch {header.producer_epoch} sent sequence "
            f"{header.base_sequence}, expected {expected}"
        )
    return None

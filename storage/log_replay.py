"""Producer states and leader epochs from the log itself: what a restart or a cut needs to know again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from storage import checkpoint
from storage.batch_scan import DamageError, scan_batches
from storage.disk import Disk
from storage.errors import LogDamagedError, UnreadableFileError
from storage.leader_epochs import LeaderEpochs
from storage.producer_state import SNAPSHOT_VERSION, ProducerStates
from storage.segment import Segment
from storage.steps import BATCHES_PER_STEP, Steps, at_once, in_turn

if TYPE_CHECKING:
    from storage.partition_log import PartitionLog


class CutFacts(NamedTuple):
    """What a cut at `end` has to know of a log that was cut so often.

    newest: the last segment's largest timestamp and its batch's offset then.
    """

    end: int
    cuts: int
    producers: ProducerStates
    newest: tuple[int, int]


def replay(
    segments: Sequence[Segment],
    start: int,
    stop: int,
    producers: ProducerStates,
    epochs: LeaderEpochs | None,
    now_ms: int,
) -> Steps[None]:
    """Apply the batches that begin in [start, stop). Raises LogDamagedError, OSError."""
    for segment in segments:
        if segment.end_offset <= start or segment.base_offset >= stop:
            continue
        _, position = segment.locate(start)
        try:
            batches = scan_batches(segment.file, position, segment.size, verify=False)
            for count, (_, header) in enumerate(batches, 1):
                if not count % BATCHES_PER_STEP:
                    yield
                if header.base_offset >= stop:
                    break
                producers.update(header, header.base_offset, now_ms)
                if epochs is not None:
                    epochs.assign(header.partition_leader_epoch, header.base_offset)
        except DamageError as error:
            raise LogDamagedError(
                f"{segment.path} is damaged at byte {error.damage.position}: {error.damage.reason}"
            ) from error


def producers_at(segments: Sequence[Segment], offset: int, now_ms: int) -> Steps[ProducerStates]:
    """The producers as of `offset`: the newest snapshot at or before it, and the batches from there on.

    Raises LogDamagedError, OSError.
    """
    producers, start = ProducerStates(), segments[0].base_offset
    for segment in reversed(segments):
        if segment.base_offset <= offset:
            found = snapshot_of(segment)
            if found is not None:
                producers, start = found, segment.base_offset
                break
    yield from replay(segments, start, offset, producers, None, now_ms)
    return producers


async def before_cut(log: "PartitionLog", offset: int) -> CutFacts | None:
    """What `PartitionLog.truncate_to(offset)` has to read, read in steps before it. None when there is nothing to.

    Raises LogDamagedError, LogOfflineError.
    """
    if not log.log_start_offset <= offset < log.log_end_offset:
        return None
    with log.fencing("read"):
        return await in_turn(_cut_facts(log, offset), log.unchanged())


def _cut_facts(log: "PartitionLog", offset: int) -> Steps[CutFacts]:
    segment = log.segments[log.segment_index(offset)]
    end, cuts, producers = segment.cut_point(offset)[0], log.cuts, ProducerStates()
    if len(log.producers):
        producers = yield from producers_at(list(log.segments), end, log.clock_ms)
    newest = yield from segment.newest_before(end)
    return CutFacts(end, cuts, producers, newest)


def facts_of_cut(log: "PartitionLog", offset: int, known: CutFacts | None) -> CutFacts:
    """`known` if it is still true, otherwise read now. Raises LogDamagedError, OSError."""
    if known is not None and known.cuts == log.cuts:
        segment = log.segments[log.segment_index(offset)]
        if known.end == segment.cut_point(offset)[0]:
            return known
    return at_once(_cut_facts(log, offset))


def snapshot_of(segment: Segment) -> ProducerStates | None:
    """The producers as of the segment's base offset, if they were written down and can be read."""
    if segment.snapshot is not None:
        return ProducerStates.decode(segment.snapshot)
    try:
        found = checkpoint.read(segment.disk, segment.side_path("snapshot"))
        return ProducerStates.decode(found[1]) if found is not None else None
    except (UnreadableFileError, msgspec.DecodeError):
        # An older one and more of the log give the same state.
        return None


async def save_snapshot(disk: Disk, segment: Segment) -> None:
    """Write the segment's pending snapshot of producers, if any. Raises OSError."""
    snapshot = segment.snapshot
    if snapshot is not None:
        await checkpoint.write(disk, segment.side_path("snapshot"), snapshot, SNAPSHOT_VERSION)
        segment.snapshot = None

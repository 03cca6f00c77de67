"""Producer states and leader epochs from the log itself: what a restart or a cut needs to know again."""

from collections.abc import Sequence

import msgspec

from storage import checkpoint
from storage.batch_scan import DamageError, scan_batches
from storage.disk import Disk
from storage.errors import LogDamagedError, UnreadableFileError
from storage.leader_epochs import LeaderEpochs
from storage.producer_state import SNAPSHOT_VERSION, ProducerStates
from storage.segment import Segment


def replay(
    segments: Sequence[Segment],
    start: int,
    stop: int,
    producers: ProducerStates,
    epochs: LeaderEpochs | None,
    now_ms: int,
) -> None:
    """Apply the batches that begin in [start, stop). Raises LogDamagedError, OSError."""
    for segment in segments:
        if segment.end_offset <= start or segment.base_offset >= stop:
            continue
        _, position = segment.locate(start)
        try:
            for _, header in scan_batches(segment.file, position, segment.size, verify=False):
                if header.base_offset >= stop:
                    break
                producers.update(header, header.base_offset, now_ms)
                if epochs is not None:
                    epochs.assign(header.partition_leader_epoch, header.base_offset)
        except DamageError as error:
            raise LogDamagedError(
                f"{segment.path} is damaged at byte {error.damage.position}: {error.damage.reason}"
            ) from error


def producers_at(segments: Sequence[Segment], offset: int, now_ms: int) -> ProducerStates:
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
    replay(segments, start, offset, producers, None, now_ms)
    return producers


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

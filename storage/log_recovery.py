"""Opening a partition log: which files make it up, where it ends, what its producers and leaders were.

A torn tail (bytes after the last whole batch, nothing valid behind them, past the recovery point) is cut: no record
in it was acknowledged. Anything else that is not right is damage and refuses the log; it is never cut.
"""

from dataclasses import dataclass, field

from storage import log_checkpoint
from storage.batch_scan import Damage, valid_batch_from
from storage.disk import Disk
from storage.errors import LogDamagedError
from storage.leader_epochs import LeaderEpochs
from storage.log_checkpoint import LogCheckpoint
from storage.log_config import LogConfig
from storage.log_replay import producers_at, replay
from storage.producer_state import ProducerStates
from storage.segment import Segment
from storage.segment_name import SegmentName, parse, resolve
from storage.steps import at_once


@dataclass(slots=True)
class RecoveredLog:
    """What opening found.

    saved: the checkpoint as it lies on the disk.
    dropped: segments after a lost tail were dropped. A new segment must begin at the end before anything is
    appended, so that they can't be taken for its continuation when the next start finds them still there.
    notes: what an operator should know (a tail was cut).
    """

    segments: list[Segment]
    void: list[SegmentName]
    log_start_offset: int
    synced_offset: int
    sequence: int
    first_dirty_offset: int
    gaps: bool
    epochs: LeaderEpochs
    producers: ProducerStates
    saved: LogCheckpoint | None = None
    dropped: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Recovery:
    """One run: the inputs, and what the checkpoint still says after later cuts are taken into account."""

    disk: Disk
    folder: str
    config: LogConfig
    now_ms: int
    saved: LogCheckpoint | None
    recovery_point: int
    verified: int = 0
    """Bytes of the segment opened last that had been synced for certain."""
    dropped: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def checkpoint_holds(self) -> bool:
        """No cut below the checkpoint's recovery point happened since."""
        return self.saved is not None and self.saved.recovery_point == self.recovery_point


def recover(
    disk: Disk, folder: str, config: LogConfig, *, clean: bool, now_ms: int
) -> RecoveredLog:
    """Open what lies in `folder`. Raises LogDamagedError, UnreadableFileError, OSError."""
    saved = log_checkpoint.load(disk, folder)
    names = [name for name in map(parse, disk.list(folder)) if name is not None]
    if not names:
        raise LogDamagedError(f"{folder} holds no segment: its files were removed by someone else")
    live, void = resolve(names)
    newer = [name for name in names if saved is not None and name.sequence > saved.sequence]
    reset = max((name for name in newer if name.resets), key=lambda n: n.sequence, default=None)
    log_start = live[0].base_offset
    if saved is not None and reset is None:
        log_start = max(log_start, saved.log_start_offset)
    while len(live) > 1 and live[1].base_offset <= log_start:
        void.append(live.pop(0))
    point = log_start if saved is None else saved.recovery_point
    point = min([point, *(name.base_offset for name in newer)])
    run = _Recovery(disk, folder, config, now_ms, saved, max(point, live[0].base_offset))
    segments = _open_segments(run, live, void, clean=clean)
    end = segments[-1].end_offset
    unclean = not clean or end != run.recovery_point
    for segment in segments:
        segment.named = not unclean
    epochs, producers = _rebuild(run, segments)
    epochs.truncate_from_start(log_start)
    return RecoveredLog(
        segments=segments,
        void=void,
        log_start_offset=log_start,
        synced_offset=run.recovery_point,
        sequence=max(name.sequence for name in names),
        first_dirty_offset=min(saved.first_dirty_offset, end) if saved else 0,
        gaps=config.compacts or segments[-1].name.gaps,
        epochs=epochs,
        producers=producers,
        saved=saved,
        dropped=run.dropped,
        notes=run.notes,
    )


def _open_segments(
    run: _Recovery, live: list[SegmentName], void: list[SegmentName], *, clean: bool
) -> list[Segment]:
    segments: list[Segment] = []
    for index, name in enumerate(live):
        following = live[index + 1] if index + 1 < len(live) else None
        segment = _open_segment(run, name)
        segments.append(segment)
        damage = _load(run, segment, following, clean=clean)
        if following is not None and segment.end_offset >= following.base_offset:
            if segment.end_offset > following.base_offset:
                segment.cut(following.base_offset)
            if segment.end_offset == following.base_offset:
                if segment.settled:
                    segment.release_indexes()
                continue
        if following is not None and not following.provisional:
            what = f"{segment.path} ends" if damage is None else f"{segment.path} is damaged"
            raise LogDamagedError(
                f"{what} at offset {segment.end_offset}, but the next segment begins at {following.base_offset}: "
                "records in between are lost here; other replicas have them"
            )
        if damage is not None:
            _judge(run, segment, damage)
        elif segment.end_offset < run.recovery_point:
            raise LogDamagedError(
                f"{segment.path} ends at offset {segment.end_offset}, but everything before "
                f"{run.recovery_point} had been synced"
            )
        if following is None:
            break
        # The lost tail was never synced, so nothing after it was acknowledged.
        void.extend(live[index + 1 :])
        run.dropped = True
        run.notes.append(
            f"{segment.path}: {len(live) - index - 1} unsynced segments after it dropped"
        )
        break
    return segments


def _open_segment(run: _Recovery, name: SegmentName) -> Segment:
    file = run.disk.open(f"{run.folder}/{name.file_name}")
    segment = Segment(run.disk, run.folder, name, file, run.config.index_interval_bytes)
    segment.created_ms = segment.last_append_ms = run.now_ms
    saved = run.saved
    if saved is not None and saved.segment[0] == name.sequence:
        segment.created_ms = min(saved.created_ms, run.now_ms)
        segment.last_append_ms = min(saved.last_append_ms, run.now_ms)
    return segment


def _load(
    run: _Recovery, segment: Segment, following: SegmentName | None, *, clean: bool
) -> Damage | None:
    """Fill a segment's facts; the damage that stopped it, if any."""
    saved, size = run.saved, segment.file.size
    last = following is None
    at_point = (
        saved is not None
        and run.checkpoint_holds
        and saved.segment == (segment.name.sequence, segment.name.revision)
    )
    verified = saved.position if at_point and saved is not None else 0
    below = following is not None and following.base_offset <= run.recovery_point
    enough = run.recovery_point if following is None else following.base_offset
    trusted = below or (clean and last and at_point and verified == size)
    if trusted and segment.load_saved() and segment.end_offset >= enough:
        segment.settled = not last
        return None
    appended = segment.last_append_ms
    if below:
        verified = size
    if verified > size:
        raise LogDamagedError(f"{segment.path} has {size} bytes, {verified} had been synced")
    due = run.recovery_point if at_point else None
    damage = segment.rescan(size if trusted else verified, due)
    segment.last_append_ms = appended
    if at_point and segment.size > verified:
        # Appended after the checkpoint, nobody knows when: retention must not take it for as old as that.
        segment.last_append_ms = run.now_ms
    elif segment.max_timestamp >= 0 and not at_point:
        segment.last_append_ms = min(appended, segment.max_timestamp)
    run.verified = verified
    return damage


def _judge(run: _Recovery, segment: Segment, damage: Damage) -> None:
    """Cut a torn tail; raise for anything else."""
    where = f"{segment.path} is damaged at byte {damage.position} (offset {segment.end_offset}): {damage.reason}"
    if segment.end_offset < run.recovery_point:
        raise LogDamagedError(
            f"{where}; it lies before offset {run.recovery_point}, up to which all had been synced; "
            "nothing was cut, the other replicas have these records"
        )
    if damage.position < run.verified:
        raise LogDamagedError(
            f"{where}; the first {run.verified} bytes had been synced; nothing was cut, the other replicas have "
            "these records"
        )
    size = segment.file.size
    valid = valid_batch_from(segment.file, damage.position, size, segment.base_offset)
    if valid is not None:
        raise LogDamagedError(
            f"{where}; a valid batch lies at byte {valid}, so it is no torn tail; nothing was cut"
        )
    run.notes.append(f"{where}; {size - segment.size} bytes of a torn write cut off")
    segment.file.truncate(segment.size)


def _rebuild(run: _Recovery, segments: list[Segment]) -> tuple[LeaderEpochs, ProducerStates]:
    """(epochs, producers): the checkpoint's and what the batches since then add."""
    saved, point = run.saved, run.recovery_point
    epochs = LeaderEpochs(saved.epochs if saved is not None else ())
    epochs.truncate_from_end(point)
    if saved is not None and run.checkpoint_holds:
        producers = ProducerStates.decode(saved.producers)
    else:
        producers = at_once(producers_at(segments, point, run.now_ms))
    end = segments[-1].end_offset
    at_once(replay(segments, point, end, producers, epochs, run.now_ms))
    return epochs, producers

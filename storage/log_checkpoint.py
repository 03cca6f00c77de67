"""What a partition log writes down now and then, so that a start need not read the whole log: one file, atomically."""

import msgspec

from storage import checkpoint
from storage.disk import Disk
from storage.errors import UnreadableFileError

FILE_NAME = "log.checkpoint"
VERSION = 1


class LogCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that were durable, or true of durable bytes, when this was written.

    recovery_point: every byte before this offset was synced.
    sequence: the newest segment's at that moment; a cut is told by a newer segment that begins lower.
    segment, position: sequence and revision of the segment that ended at the recovery point, and its size.
    first_dirty_offset: compaction has worked through what lies before.
    epochs, producers: leader epochs and producer states as of the recovery point.
    """

    log_start_offset: int
    recovery_point: int
    sequence: int
    segment: tuple[int, int]
    position: int
    first_dirty_offset: int
    epochs: list[tuple[int, int]]
    producers: bytes
    last_append_ms: int
    created_ms: int


_decoder = msgspec.msgpack.Decoder(LogCheckpoint)


def load(disk: Disk, folder: str) -> LogCheckpoint | None:
    """The folder's checkpoint, None when there is none. Raises UnreadableFileError."""
    path = f"{folder}/{FILE_NAME}"
    found = checkpoint.read(disk, path)
    if found is None:
        return None
    version, payload = found
    if version != VERSION:
        raise UnreadableFileError(f"{path} has version {version}; this release reads {VERSION}")
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise UnreadableFileError(f"{path} is damaged: {error}") from error


async def save(disk: Disk, folder: str, facts: LogCheckpoint) -> None:
    """Replace the folder's checkpoint. Raises OSError."""
    await checkpoint.write(disk, f"{folder}/{FILE_NAME}", msgspec.msgpack.encode(facts), VERSION)

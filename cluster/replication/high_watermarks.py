"""The checkpoint of high watermarks: Kafka's replication-offset-checkpoint."""

from collections.abc import Mapping

import msgspec

from storage import checkpoint
from storage.disk import Disk
from storage.errors import UnreadableFileError

FILE = "high-watermarks"
VERSION = 1

# (topic id as text, partition) -> offset
HighWatermarks = dict[tuple[str, int], int]


def read(disk: Disk) -> HighWatermarks:
    """What was written last; empty on a new disk. Raises UnreadableFileError."""
    found = checkpoint.read(disk, FILE)
    if found is None:
        return {}
    try:
        rows = msgspec.msgpack.decode(found[1], type=list[tuple[str, int, int]])
    except msgspec.MsgspecError as error:
        raise UnreadableFileError(f"{FILE} is damaged: {error}") from error
    return {(topic_id, partition): offset for topic_id, partition, offset in rows}


async def write(disk: Disk, known: Mapping[tuple[str, int], int]) -> None:
    """Replace what was written before. Raises OSError."""
    rows = [(topic_id, partition, offset) for (topic_id, partition), offset in known.items()]
    await checkpoint.write(disk, FILE, msgspec.msgpack.encode(rows), VERSION)

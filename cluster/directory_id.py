"""The data folder's own id: drawn when the folder was new, so that a broker that lost its disk is told from one that
was merely away.
"""

import random
from uuid import UUID

from storage import checkpoint
from storage.disk import Disk
from storage.errors import UnreadableFileError

FILE = "directory.id"
VERSION = 1


async def read_or_draw(disk: Disk, rng: random.Random) -> UUID:
    """The folder's id. Raises UnreadableFileError, OSError."""
    found = checkpoint.read(disk, FILE)
    if found is not None:
        if len(found[1]) != 16:
            raise UnreadableFileError(f"{FILE} holds {len(found[1])} bytes, an id has 16")
        return UUID(bytes=found[1])
    drawn = UUID(int=rng.getrandbits(128), version=4)
    await checkpoint.write(disk, FILE, drawn.bytes, VERSION)
    return drawn

"""Small facts on disk: old or new and never between, with version and CRC. A damaged file is an error that names
it, never "empty": whoever took it for empty would forget a vote, or delete what it did not mention (NATS #7556).

    "OTCP" 4 | version 2 | payload length 4 | CRC-32C of version, length and payload 4 | payload
"""

from struct import Struct

from crc32c import crc32c

from storage.disk import Disk
from storage.errors import UnreadableFileError

Buffer = bytes | bytearray | memoryview

_MAGIC = b"OTCP"
_HEAD = Struct(">4sHII")
_CHECKED = Struct(">HI")


def encode(payload: Buffer, version: int) -> bytes:
    """The file's bytes. `version` (0..65535) is the payload's and belongs to the caller."""
    crc = crc32c(bytes(payload), crc32c(_CHECKED.pack(version, len(payload))))
    return _HEAD.pack(_MAGIC, version, len(payload), crc) + bytes(payload)


def decode(data: Buffer, path: str) -> tuple[int, bytes]:
    """(version, payload). Raises UnreadableFileError naming `path`."""
    if len(data) < _HEAD.size:
        raise UnreadableFileError(
            f"{path} is damaged: {len(data)} bytes, a checkpoint has {_HEAD.size} or more"
        )
    magic, version, length, crc = _HEAD.unpack_from(data)
    payload = bytes(data[_HEAD.size :])
    if magic != _MAGIC or length != len(payload):
        raise UnreadableFileError(f"{path} is damaged: it is no checkpoint or has lost bytes")
    if crc32c(payload, crc32c(_CHECKED.pack(version, length))) != crc:
        raise UnreadableFileError(f"{path} is damaged: its CRC-32C does not match")
    return version, payload


def read(disk: Disk, path: str) -> tuple[int, bytes] | None:
    """(version, payload), None when there is no such file. Raises UnreadableFileError, also for an IO error."""
    try:
        data = disk.read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableFileError(f"{path} cannot be read: {error}") from error
    return decode(data, path)


async def write(disk: Disk, path: str, payload: Buffer, version: int) -> None:
    """Replace the file durably. Raises OSError; then the old content still stands."""
    await disk.write_atomic(path, encode(payload, version))

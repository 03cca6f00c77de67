"""Walking over the batches in a file: to rebuild indexes, to find a place, to tell a torn tail from damage."""

from collections.abc import Iterator
from typing import NamedTuple

from crc32c import crc32c

from storage.disk import DiskFile
from storage.errors import CorruptBatchError
from storage.record_batch import (
    CRC_FROM,
    HEADER_BYTES,
    MAGIC,
    BatchHeader,
    parse_header,
)

SCAN_BYTES = 1024 * 1024
SEEK_BYTES = 8 * 1024
OFFSET_LEAP_MAX = 2**40
"""A batch found behind damage is believed when its offset is at most so far ahead."""
_MAGIC_AT = 16


class Damage(NamedTuple):
    """From `position` on, the file's bytes are no record batches."""

    position: int
    reason: str


class DamageError(Exception):
    """Ends a scan; carries the Damage."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.reason)
        self.damage = damage


def scan_batches(
    file: DiskFile, position: int, stop: int, *, verify: bool, chunk_bytes: int = SCAN_BYTES
) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of the batches in [position, stop), with `verify` their CRCs checked.

    Offsets must rise. Raises DamageError at the first batch that is not whole and right, OSError.
    """
    chunk, origin, next_offset = memoryview(b""), position, 0
    while position < stop:
        at = position - origin
        if len(chunk) - at < HEADER_BYTES:
            chunk, origin, at = _read(file, position, stop, chunk_bytes), position, 0
        try:
            header = parse_header(chunk, at)
        except CorruptBatchError as error:
            raise DamageError(Damage(position, str(error))) from None
        if position + header.size > stop:
            raise DamageError(Damage(position, f"a batch of {header.size} bytes is cut off"))
        if header.last_offset_delta < 0 or header.base_offset < next_offset:
            raise DamageError(Damage(position, f"offset {header.base_offset} is out of place"))
        if verify:
            if len(chunk) - at < header.size:
                length = max(chunk_bytes, header.size)
                chunk, origin, at = _read(file, position, stop, length), position, 0
            if crc32c(chunk[at + CRC_FROM : at + header.size]) != header.crc:
                raise DamageError(Damage(position, "CRC-32C does not match"))
        yield position, header
        position += header.size
        next_offset = header.next_offset


def _read(file: DiskFile, position: int, stop: int, length: int) -> memoryview:
    return file.read(position, min(length, stop - position))


def seek(
    file: DiskFile, start: tuple[int, int], stop: int, offset: int, *, contiguous: bool
) -> tuple[int, int] | None:
    """(base offset, position) of the first batch from `start` (the same pair) that ends at or after `offset`.

    None when all in the file end before. Raises DamageError, also for a gap in a `contiguous` log, and OSError.
    """
    expected = start[0]
    # Where gaps are allowed nothing but the CRC tells that a batch lies about its last offset.
    batches = scan_batches(file, start[1], stop, verify=not contiguous, chunk_bytes=SEEK_BYTES)
    for position, header in batches:
        if contiguous and header.base_offset != expected:
            raise DamageError(
                Damage(position, f"offset {header.base_offset} where {expected} is due")
            )
        expected = header.next_offset
        if expected > offset:
            return header.base_offset, position
    return None


def valid_batch_from(file: DiskFile, position: int, stop: int, min_offset: int) -> int | None:
    """Position of a whole, undamaged batch of offset `min_offset` or later in [position, stop), None without one.

    A torn write leaves nothing valid; damage in the middle does (FAST'18, protocol-aware recovery), and so does a
    batch that is only out of place, because it or its predecessor lies outside the CRC. Raises OSError.
    """
    origin = position
    while origin + HEADER_BYTES <= stop:
        window = bytes(file.read(origin, min(SCAN_BYTES + HEADER_BYTES, stop - origin)))
        at = window.find(MAGIC, _MAGIC_AT)
        while 0 <= at < SCAN_BYTES + _MAGIC_AT:
            begin = at - _MAGIC_AT
            if _is_batch(file, window, begin, origin, stop, min_offset):
                return origin + begin
            at = window.find(MAGIC, at + 1)
        origin += SCAN_BYTES
    return None


def _is_batch(
    file: DiskFile, window: bytes, begin: int, origin: int, stop: int, min_offset: int
) -> bool:
    try:
        header = parse_header(window, begin)
    except CorruptBatchError:
        return False
    if header.last_offset_delta < 0 or origin + begin + header.size > stop:
        return False
    if not min_offset <= header.base_offset < min_offset + OFFSET_LEAP_MAX:
        return False
    batch = file.read(origin + begin, header.size)
    return crc32c(batch[CRC_FROM:]) == header.crc

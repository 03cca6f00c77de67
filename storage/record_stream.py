"""Several batches one after the other, as a fetch returns them."""

import struct
from collections.abc import Iterator

from storage.compression import MAX_DECOMPRESSED_BYTES
from storage.disk import Buffer
from storage.record_batch import iter_headers
from storage.records import Record, decode_batch

# Base offset, batch length, and after epoch, magic, CRC and attributes the last offset delta.
_SPAN = struct.Struct(">qi4x1x4x2xi")
_LENGTH_OVERHEAD = 12


def end_offset(batches: Buffer) -> int:
    """The offset after the last record of whole batches. They must not be empty."""
    position = 0
    size = len(batches)
    while True:
        base, length, last_delta = _SPAN.unpack_from(batches, position)
        position += length + _LENGTH_OVERHEAD
        if position >= size:
            return int(base + last_delta + 1)


def decode_batches(batches: Buffer, *, max_bytes: int = MAX_DECOMPRESSED_BYTES) -> Iterator[Record]:
    """All records, control batches left out.

    Raises CorruptBatchError, InvalidRecordError, UnsupportedCompressionError while iterating.
    """
    for position, header in iter_headers(batches):
        if not header.is_control:
            yield from decode_batch(batches, position, max_bytes=max_bytes)

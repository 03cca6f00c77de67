"""The header of a Kafka record batch, version 2 (magic 2), read and patched in place; records are never touched.

Layout (https://kafka.apache.org/documentation/#recordbatch), big-endian, 61 bytes before the records:

    base offset 8 | batch length 4 | partition leader epoch 4 | magic 1 | CRC-32C 4 | attributes 2
    | last offset delta 4 | base timestamp 8 | max timestamp 8 | producer id 8 | producer epoch 2
    | base sequence 4 | records count 4

`batch length` counts what follows it. The CRC covers everything from the attributes on, so the broker gives a
batch its base offset and leader epoch without touching the checksum.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from crc32c import crc32c

from storage.errors import CorruptBatchError, InvalidRecordError

Buffer = bytes | bytearray | memoryview

HEADER = Struct(">qiibIhiqqqhii")
HEADER_BYTES = HEADER.size
LENGTH_OVERHEAD = 12
"""Bytes before the part that `batch length` counts."""
CRC_FROM = 21
"""First byte under the checksum: the attributes."""
MAGIC = 2
NO_PRODUCER_ID = -1
NO_SEQUENCE = -1
NO_TIMESTAMP = -1

COMPRESSION_MASK = 0x07
LOG_APPEND_TIME_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
DELETE_HORIZON_BIT = 0x40

_PREFIX = Struct(">qi")
_FRAME = Struct(">qiibIhi")
_EPOCH = Struct(">i")
_EPOCH_AT = 12
_CRC = Struct(">I")
_ATTRIBUTES = Struct(">h")
_MAX_TIMESTAMP = Struct(">q")
_MAX_TIMESTAMP_AT = 35
_CRC_AT = 17


class BatchHeader(NamedTuple):
    """The 61 bytes, in their order. Timestamps in milliseconds since the epoch; -1 for "none" everywhere."""

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return self.batch_length + LENGTH_OVERHEAD

    @property
    def last_offset(self) -> int:
        """Offset of the last record (also when compaction took that record away)."""
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        """Where the batch after this one begins in a log without gaps."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def compression(self) -> int:
        """Codec number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & COMPRESSION_MASK

    @property
    def is_log_append_time(self) -> bool:
        """Whether the broker stamped the batch; then every record has `max_timestamp`."""
        return bool(self.attributes & LOG_APPEND_TIME_BIT)

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return bool(self.attributes & TRANSACTIONAL_BIT)

    @property
    def is_control(self) -> bool:
        """Whether the records are markers for the brokers and not for consumers."""
        return bool(self.attributes & CONTROL_BIT)

    @property
    def has_delete_horizon(self) -> bool:
        """Whether `base_timestamp` says when the batch's tombstones may go (KIP-534)."""
        return bool(self.attributes & DELETE_HORIZON_BIT)


_make = BatchHeader._make
_unpack = HEADER.unpack_from


def parse_header(buffer: Buffer, position: int = 0) -> BatchHeader:
    """The header at `position`, its magic and length plausible; neither CRC nor presence of the records is checked.

    Raises CorruptBatchError.
    """
    if len(buffer) - position < HEADER_BYTES:
        raise CorruptBatchError(
            f"a record batch needs {HEADER_BYTES} bytes of header, {len(buffer) - position} are left"
        )
    header = _make(_unpack(buffer, position))
    if header.magic != MAGIC:
        raise CorruptBatchError(
            f"record batch of magic {header.magic}: only magic {MAGIC} is spoken"
        )
    if header.batch_length < HEADER_BYTES - LENGTH_OVERHEAD:
        raise CorruptBatchError(f"record batch claims a length of {header.batch_length} bytes")
    return header


def validate_batch(buffer: Buffer, position: int = 0) -> BatchHeader:
    """A whole batch at `position`: all its bytes there, CRC right, counts and deltas possible.

    Raises CorruptBatchError for damage, InvalidRecordError for a whole batch that breaks a rule.
    """
    header = parse_header(buffer, position)
    end = position + header.batch_length + LENGTH_OVERHEAD
    if end > len(buffer):
        raise CorruptBatchError(
            f"record batch of {header.size} bytes is cut off after {len(buffer) - position}"
        )
    crc = crc32c(memoryview(buffer)[position + CRC_FROM : end])
    if crc != header.crc:
        raise CorruptBatchError(
            f"record batch at offset {header.base_offset}: CRC-32C is {crc:#010x}, header says {header.crc:#010x}"
        )
    if header.records_count < 0 or header.last_offset_delta < 0:
        raise InvalidRecordError(
            f"record batch with {header.records_count} records and last offset delta {header.last_offset_delta}"
        )
    return header


def iter_headers(buffer: Buffer) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of the whole batches in a buffer, CRC not checked; a cut-off last batch is left out."""
    position, end = 0, len(buffer)
    while end - position >= HEADER_BYTES:
        header = parse_header(buffer, position)
        if position + header.size > end:
            return
        yield position, header
        position += header.size


def iter_validated(buffer: Buffer) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of the batches that fill a buffer completely, each validated as `validate_batch` does."""
    position, end = 0, len(buffer)
    while position < end:
        header = validate_batch(buffer, position)
        yield position, header
        position += header.batch_length + LENGTH_OVERHEAD


def whole_batches(
    buffer: Buffer, *, end_offset: int, expected: int | None, epochs: tuple[int, int]
) -> tuple[int, int, bool]:
    """How far undamaged whole batches reach, stopping before one that ends at or past `end_offset`.

    Returns (bytes, offset after the last batch or -1, whether damage stopped the walk). A batch that is merely cut
    off by the end of the buffer is no damage. The base offset and the leader epoch are outside the CRC, so they
    are held against what the log knows: `expected`, the first base offset of a log without gaps, and the lowest
    and highest epoch of the range. This is the read path: no header object is built.
    """
    size, position, next_offset = len(buffer), 0, -1
    view, low_high = memoryview(buffer), range(epochs[0], epochs[1] + 1)
    frame, checksum, overhead = _FRAME.unpack_from, crc32c, LENGTH_OVERHEAD
    while size - position >= HEADER_BYTES:
        base, length, epoch, magic, crc, _, last_delta = frame(buffer, position)
        end = position + length + overhead
        if (
            magic != MAGIC
            or length < HEADER_BYTES - overhead
            or last_delta < 0
            or (epoch not in low_high and epoch != -1)
            or (base != expected if expected is not None else base < next_offset)
        ):
            return position, next_offset, True
        if end > size:
            break
        if checksum(view[position + CRC_FROM : end]) != crc:
            return position, next_offset, True
        if base + last_delta >= end_offset:
            break
        position, next_offset = end, base + last_delta + 1
        if expected is not None:
            expected = next_offset
    return position, next_offset, False


def batch_size(buffer: Buffer, position: int = 0) -> int:
    """Bytes of the batch that begins at `position`, from its first twelve bytes."""
    return int(_PREFIX.unpack_from(buffer, position)[1]) + LENGTH_OVERHEAD


def assign(
    buffer: bytearray | memoryview, position: int, base_offset: int, leader_epoch: int
) -> None:
    """Give a batch its place in the log, in place: base offset and partition leader epoch, both outside the CRC."""
    length = _PREFIX.unpack_from(buffer, position)[1]
    _PREFIX.pack_into(buffer, position, base_offset, length)
    _EPOCH.pack_into(buffer, position + _EPOCH_AT, leader_epoch)


def set_log_append_time(buffer: bytearray, position: int, now_ms: int) -> None:
    """Stamp a whole batch with the broker's time: attribute bit, max timestamp, CRC recomputed."""
    header = parse_header(buffer, position)
    attributes = (header.attributes & 0xFFFF) | LOG_APPEND_TIME_BIT
    _ATTRIBUTES.pack_into(buffer, position + CRC_FROM, attributes - (attributes >> 15 << 16))
    _MAX_TIMESTAMP.pack_into(buffer, position + _MAX_TIMESTAMP_AT, now_ms)
    with memoryview(buffer) as view:
        crc = crc32c(view[position + CRC_FROM : position + header.size])
    _CRC.pack_into(buffer, position + _CRC_AT, crc)


def seal(header: BatchHeader, records: Buffer) -> bytes:
    """A batch from a header and its (compressed) records; length and CRC are computed here."""
    length = HEADER_BYTES - LENGTH_OVERHEAD + len(records)
    head = bytearray(HEADER.pack(*header._replace(batch_length=length, crc=0)))
    crc = crc32c(records, crc32c(bytes(head[CRC_FROM:])))
    _CRC.pack_into(head, _CRC_AT, crc)
    return b"".join((head, records))

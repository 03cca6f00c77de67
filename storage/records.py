"""Records inside a batch (Kafka's record format, magic 2): packing for clients, unpacking for who must look inside.

    length varint | attributes 1 | timestamp delta varlong | offset delta varint
    | key length varint, key | value length varint, value | headers count varint, (key, value)...

Varints are zigzag. The broker's produce, fetch and replication paths never come here.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from storage.compression import MAX_DECOMPRESSED_BYTES, Compression, codec, compress, decompress
from storage.errors import CorruptBatchError, InvalidRecordError
from storage.record_batch import (
    CONTROL_BIT,
    HEADER_BYTES,
    MAGIC,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    TRANSACTIONAL_BIT,
    BatchHeader,
    Buffer,
    seal,
    validate_batch,
)

Header = tuple[str, bytes | None]

RECORD_BYTES_MIN = 7
"""Length, attributes, two deltas, two lengths, headers count: one byte each."""
RECORDS_MAX = 2**31 - 1


class Record(NamedTuple):
    """One record as a consumer sees it. `value` None is a tombstone."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


def _varint(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append((zigzag & 0x7F) | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


_TABLE_SIZE = 8192
_VARINTS = [_varint(number) for number in range(_TABLE_SIZE)]
_NULL = _varint(-1)
_NO_HEADERS = _varint(0)


def varint(number: int) -> bytes:
    """Zigzag varint of a signed 64-bit number."""
    return _VARINTS[number] if 0 <= number < _TABLE_SIZE else _varint(number)


def _encode_headers(headers: Sequence[Header]) -> bytes:
    parts = [varint(len(headers))]
    for key, value in headers:
        name = key.encode()
        parts += (varint(len(name)), name)
        if value is None:
            parts.append(_NULL)
        else:
            parts += (varint(len(value)), value)
    return b"".join(parts)


class BatchBuilder:
    """Collects records and seals them into one batch.

    The first record's timestamp is the batch's base unless `base_timestamp_ms` is given; offsets count from 0.
    """

    __slots__ = ("_base_timestamp", "_max_timestamp", "_offset", "_parts", "_size", "count")

    def __init__(self, *, base_timestamp_ms: int | None = None) -> None:
        self._parts: list[bytes] = []
        self._size = HEADER_BYTES
        self._base_timestamp = base_timestamp_ms
        self._max_timestamp = NO_TIMESTAMP
        self._offset = 0
        self.count = 0

    def append(
        self,
        timestamp_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header] = (),
        *,
        offset: int | None = None,
    ) -> int:
        """Add a record; returns its offset relative to the batch. `offset` leaves a gap (compaction)."""
        base = self._base_timestamp
        if base is None:
            base = self._base_timestamp = timestamp_ms
        if timestamp_ms > self._max_timestamp:
            self._max_timestamp = timestamp_ms
        at = self._offset if offset is None else offset
        delta = timestamp_ms - base
        table, small = _VARINTS, _TABLE_SIZE
        when = table[delta] if 0 <= delta < small else _varint(delta)
        which = table[at] if at < small else _varint(at)
        if key is None:
            key_length, key, size = _NULL, b"", 1
        else:
            length = len(key)
            key_length = table[length] if length < small else _varint(length)
            size = length + len(key_length)
        if value is None:
            value_length, value = _NULL, b""
            size += 1
        else:
            length = len(value)
            value_length = table[length] if length < small else _varint(length)
            size += length + len(value_length)
        tail = _encode_headers(headers) if headers else _NO_HEADERS
        size += 1 + len(when) + len(which) + len(tail)
        prefix = table[size] if size < small else _varint(size)
        self._parts += (prefix, b"\0", when, which, key_length, key, value_length, value, tail)
        self._size += size + len(prefix)
        self._offset = at + 1
        self.count += 1
        return at

    @property
    def size(self) -> int:
        """Bytes of the batch so far, before compression."""
        return self._size

    @property
    def max_timestamp_ms(self) -> int:
        """The largest timestamp so far, -1 when empty."""
        return self._max_timestamp

    def build(
        self,
        *,
        producer_id: int = NO_PRODUCER_ID,
        producer_epoch: int = -1,
        base_sequence: int = NO_SEQUENCE,
        compression: Compression = Compression.NONE,
        transactional: bool = False,
        control: bool = False,
        base_offset: int = 0,
        leader_epoch: int = -1,
    ) -> bytes:
        """The batch's bytes. An empty builder is our caller's mistake."""
        assert self.count, "a batch without records"
        attributes = int(compression)
        attributes |= TRANSACTIONAL_BIT if transactional else 0
        attributes |= CONTROL_BIT if control else 0
        header = BatchHeader(
            base_offset=base_offset,
            batch_length=0,
            partition_leader_epoch=leader_epoch,
            magic=MAGIC,
            crc=0,
            attributes=attributes,
            last_offset_delta=self._offset - 1,
            base_timestamp=NO_TIMESTAMP if self._base_timestamp is None else self._base_timestamp,
            max_timestamp=self._max_timestamp,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            base_sequence=base_sequence,
            records_count=self.count,
        )
        return self.build_with(header)

    def build_with(self, header: BatchHeader) -> bytes:
        """The batch with a header of the caller's making (length and CRC aside): how compaction rewrites."""
        return seal(header, compress(codec(header.compression), b"".join(self._parts)))


def encode_batch(
    records: Sequence[tuple[int, bytes | None, bytes | None, Sequence[Header]]],
    *,
    compression: Compression = Compression.NONE,
    base_offset: int = 0,
    leader_epoch: int = -1,
) -> bytes:
    """One batch of (timestamp_ms, key, value, headers), without a producer id."""
    builder = BatchBuilder()
    for record in records:
        builder.append(*record)
    return builder.build(
        compression=compression, base_offset=base_offset, leader_epoch=leader_epoch
    )


def decode_batch(
    buffer: Buffer, position: int = 0, *, max_bytes: int = MAX_DECOMPRESSED_BYTES
) -> Iterator[Record]:
    """The records of the batch at `position`, CRC checked first, unpacked to at most `max_bytes`.

    Raises CorruptBatchError, InvalidRecordError, UnsupportedCompressionError, some of them while iterating.
    """
    header = validate_batch(buffer, position)
    packed = memoryview(buffer)[position + HEADER_BYTES : position + header.size]
    data = decompress(codec(header.compression), packed, max_bytes=max_bytes)
    return decode_records(header, data)


def decode_records(header: BatchHeader, data: bytes) -> Iterator[Record]:
    """The records in unpacked data. Raises InvalidRecordError while iterating."""
    if header.records_count * RECORD_BYTES_MIN > len(data):
        raise InvalidRecordError(
            f"batch at offset {header.base_offset} claims {header.records_count} records in {len(data)} bytes"
        )
    return _decode_records(header, data)


def _decode_records(header: BatchHeader, data: bytes) -> Iterator[Record]:
    base_offset, base_timestamp = header.base_offset, header.base_timestamp
    stamped = header.max_timestamp if header.is_log_append_time else None
    position = 0
    try:
        for _ in range(header.records_count):
            length, position = _read_varint(data, position)
            end = position + length
            if length < RECORD_BYTES_MIN - 1 or end > len(data):
                raise InvalidRecordError(f"a record claims {length} bytes")
            delta, position = _read_varint(data, position + 1)
            offset, position = _read_varint(data, position)
            key, position = _read_bytes(data, position, end)
            value, position = _read_bytes(data, position, end)
            headers, position = _read_headers(data, position, end)
            if position != end:
                raise InvalidRecordError(f"a record of {length} bytes has {end - position} left")
            if not 0 <= offset <= header.last_offset_delta:
                raise InvalidRecordError(f"a record claims offset delta {offset}")
            when = base_timestamp + delta if stamped is None else stamped
            yield Record(base_offset + offset, when, key, value, headers)
    except IndexError:
        raise _cut_off(header) from None
    if position != len(data):
        raise InvalidRecordError(
            f"batch at offset {base_offset}: {len(data) - position} bytes after its last record"
        )


def _cut_off(header: BatchHeader) -> CorruptBatchError:
    return CorruptBatchError(f"batch at offset {header.base_offset}: its records end early")


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    byte = data[position]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position + 1
    number, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = data[position]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position + 1
        shift += 7
        if shift > 63:
            raise InvalidRecordError("a number in a record never ends")


def _read_bytes(data: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    length, position = _read_varint(data, position)
    if length == -1:
        return None, position
    stop = position + length
    if length < 0 or stop > end:
        raise InvalidRecordError(f"a field of a record claims {length} bytes")
    return data[position:stop], stop


def _read_headers(data: bytes, position: int, end: int) -> tuple[tuple[Header, ...], int]:
    count, position = _read_varint(data, position)
    if count == 0:
        return (), position
    if count < 0 or count * 2 > end - position:
        raise InvalidRecordError(f"a record claims {count} headers")
    headers: list[Header] = []
    for _ in range(count):
        name, position = _read_bytes(data, position, end)
        value, position = _read_bytes(data, position, end)
        try:
            headers.append(((name or b"").decode(), value))
        except UnicodeDecodeError as error:
            raise InvalidRecordError(f"a header's key is not UTF-8: {error}") from error
    return tuple(headers), position

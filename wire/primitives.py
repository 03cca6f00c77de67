"""The smallest parts: varints, and byte strings with the length in front.

`narrow` byte strings (Kafka's STRING) have a length of two bytes outside of flexible versions, others of four.
"""

import struct

from wire.errors import WireError

_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")
UVARINT_BYTES = 5


def read_uvarint(data: memoryview, position: int) -> tuple[int, int]:
    """An unsigned varint of at most 32 bits, and where it ends. Raises WireError, IndexError at the end of the data."""
    value = data[position]
    if value < 0x80:
        return value, position + 1
    value &= 0x7F
    for index in range(1, UVARINT_BYTES):
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value > 0xFFFFFFFF:
                break
            return value, position + index + 1
    raise WireError("a varint of more than 32 bits")


def write_uvarint(out: bytearray, value: int) -> None:
    """An unsigned varint."""
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def read_bytes(data: memoryview, position: int, narrow: bool) -> tuple[memoryview | None, int]:
    """A byte string, None when it is null, and where it ends. Raises WireError, struct.error."""
    if narrow:
        (size,) = _INT16.unpack_from(data, position)
        position += 2
    else:
        (size,) = _INT32.unpack_from(data, position)
        position += 4
    return _take(data, position, size)


def read_compact_bytes(
    data: memoryview, position: int, narrow: bool
) -> tuple[memoryview | None, int]:
    """The same with a varint of the length plus one. Raises WireError, IndexError."""
    raw, position = read_uvarint(data, position)
    if narrow and raw > 0x8000:
        raise WireError(f"a string claims {raw - 1} bytes")
    return _take(data, position, raw - 1)


def _take(data: memoryview, position: int, size: int) -> tuple[memoryview | None, int]:
    if size < 0:
        if size != -1:
            raise WireError(f"a length of {size}")
        return None, position
    end = position + size
    if end > len(data):
        raise WireError(f"a length of {size} where {len(data) - position} bytes are left")
    return data[position:end], end


def write_bytes(out: bytearray, value: bytes | None, narrow: bool) -> None:
    """A byte string or null."""
    size = -1 if value is None else len(value)
    out += _INT16.pack(size) if narrow else _INT32.pack(size)
    if value is not None:
        out += value


def write_compact_bytes(out: bytearray, value: bytes | None, narrow: bool) -> None:  # noqa: ARG001 - one signature
    """The same with a varint of the length plus one."""
    if value is None:
        out.append(0)
        return
    write_uvarint(out, len(value) + 1)
    out += value

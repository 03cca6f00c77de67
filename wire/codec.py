"""Readers and writers for the messages, compiled from their descriptions when first needed.

Nothing is allocated by a length that has not arrived: a count or a length is compared with the bytes that are left
first. Tagged fields that are not known are skipped, as KIP-482 demands.
"""

import struct
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast
from uuid import UUID

from wire.errors import WireError
from wire.primitives import (
    read_bytes,
    read_compact_bytes,
    read_uvarint,
    write_bytes,
    write_compact_bytes,
    write_uvarint,
)
from wire.schema import Field, Message

Reader = Callable[[memoryview, int], tuple[Any, int]]
Writer = Callable[[bytearray, Any], None]
M = TypeVar("M", bound=Message)

_FIXED = {
    "int8": struct.Struct(">b"),
    "int16": struct.Struct(">h"),
    "int32": struct.Struct(">i"),
    "int64": struct.Struct(">q"),
    "uint16": struct.Struct(">H"),
    "uint32": struct.Struct(">I"),
    "float64": struct.Struct(">d"),
    "bool": struct.Struct(">?"),
}
_NO_UUID = bytes(16)


def decode(message: type[M], version: int, flexible: bool, data: memoryview) -> M:
    """A message that begins `data`. Raises WireError.

    What follows it is left alone, as Kafka leaves it: librdkafka 2.16 sends three bytes too many when it asks for all
    topics.
    """
    try:
        found, _ = reader_of(message, version, flexible)(data, 0)
    except (struct.error, IndexError):
        raise WireError(
            f"{message.__name__} v{version} is cut off after {len(data)} bytes"
        ) from None
    except UnicodeDecodeError as error:
        raise WireError(f"{message.__name__} v{version}: {error}") from None
    assert isinstance(found, message)
    return found


class _Encoded(bytes):
    """A part of an array, as it is to be written."""


def encoded(part: M, version: int, flexible: bool) -> M:
    """A part of an array, encoded: it is put in its place, as often as one likes, in messages of that version. Nothing
    can be read from it.
    """
    return cast("M", _Encoded(encode(part, version, flexible)))


def encode(message: Message, version: int, flexible: bool) -> bytearray:
    """A message as bytes."""
    out = bytearray()
    writer_of(type(message), version, flexible)(out, message)
    return out


@cache
def reader_of(message: type[Message], version: int, flexible: bool) -> Reader:
    """Reads one version of a class."""
    present = [each for each in message.FIELDS if each.since <= version <= each.until]
    plain = [
        (each.name, _field_reader(each, version, flexible)) for each in present if each.tag < 0
    ]
    tagged = {
        each.tag: (each.name, _field_reader(each, version, flexible))
        for each in present
        if each.tag >= 0
    }

    def read(data: memoryview, position: int) -> tuple[Message, int]:
        values: dict[str, Any] = {}
        for name, read_field in plain:
            values[name], position = read_field(data, position)
        if flexible:
            position = _read_tagged(data, position, tagged, values)
        return message(**values), position

    return read


def _read_tagged(
    data: memoryview, position: int, known: dict[int, tuple[str, Reader]], values: dict[str, Any]
) -> int:
    count, position = read_uvarint(data, position)
    for _ in range(count):
        tag, position = read_uvarint(data, position)
        size, position = read_uvarint(data, position)
        end = position + size
        if end > len(data):
            raise WireError(
                f"tagged field {tag} claims {size} bytes, {len(data) - position} are left"
            )
        found = known.get(tag)
        if found is not None:
            name, read = found
            values[name], stop = read(data[:end], position)
            if stop != end:
                raise WireError(
                    f"tagged field {tag} ({name}) has {size} bytes, not {stop - position}"
                )
        position = end
    return position


def _field_reader(field: Field, version: int, flexible: bool) -> Reader:
    nullable = version >= field.nullable_since
    if not field.array:
        return _item_reader(field, version, flexible, nullable)
    item = _item_reader(field, version, flexible, field.kind == "uuid")

    def read(data: memoryview, position: int) -> tuple[tuple[Any, ...] | None, int]:
        if flexible:
            raw, position = read_uvarint(data, position)
            count = raw - 1
        else:
            (count,) = _FIXED["int32"].unpack_from(data, position)
            position += 4
        if count < 0:
            if count < -1 or not nullable:
                raise WireError(f"{field.name} has a count of {count}")
            return None, position
        if count > len(data) - position:
            raise WireError(f"{field.name} claims {count} items in {len(data) - position} bytes")
        items = []
        for _ in range(count):
            found, position = item(data, position)
            items.append(found)
        return tuple(items), position

    return read


def _item_reader(field: Field, version: int, flexible: bool, nullable: bool) -> Reader:
    if field.kind == "struct":
        assert field.item is not None
        inner = reader_of(field.item, version, flexible)
        # A part of an array is never null.
        return _nullable_struct(inner) if nullable and not field.array else inner
    if field.kind == "uuid":
        return _read_uuid
    fixed = _FIXED.get(field.kind)
    if fixed is not None:
        unpack, size = fixed.unpack_from, fixed.size
        return lambda data, position: (unpack(data, position)[0], position + size)
    raw = read_compact_bytes if flexible else read_bytes
    narrow = field.kind == "string"

    def read(data: memoryview, position: int) -> tuple[Any, int]:
        found, position = raw(data, position, narrow)
        if found is None:
            if not nullable:
                raise WireError(f"{field.name} is null")
            return None, position
        return (str(found, "utf-8") if narrow else bytes(found)), position

    return read


def _nullable_struct(inner: Reader) -> Reader:
    def read(data: memoryview, position: int) -> tuple[Any, int]:
        if data[position] == 0xFF:
            return None, position + 1
        return inner(data, position + 1)

    return read


def _read_uuid(data: memoryview, position: int) -> tuple[UUID | None, int]:
    raw = bytes(data[position : position + 16])
    if len(raw) < 16:
        raise WireError("a UUID is cut off")
    return (None if raw == _NO_UUID else UUID(bytes=raw)), position + 16


@cache
def writer_of(message: type[Message], version: int, flexible: bool) -> Writer:
    """Writes one version of a class."""
    present = [each for each in message.FIELDS if each.since <= version <= each.until]
    plain = [
        (each.name, _field_writer(each, version, flexible)) for each in present if each.tag < 0
    ]
    blank = message() if any(each.tag >= 0 for each in present) else None
    tagged = sorted(
        (each.tag, each.name, _field_writer(each, version, flexible), getattr(blank, each.name))
        for each in present
        if each.tag >= 0
    )

    def write(out: bytearray, value: Message) -> None:
        for name, write_field in plain:
            write_field(out, getattr(value, name))
        if not flexible:
            return
        there = [
            (tag, write_field, getattr(value, name))
            for tag, name, write_field, default in tagged
            if getattr(value, name) != default
        ]
        write_uvarint(out, len(there))
        for tag, write_field, found in there:
            part = bytearray()
            write_field(part, found)
            write_uvarint(out, tag)
            write_uvarint(out, len(part))
            out += part

    return write


def _field_writer(field: Field, version: int, flexible: bool) -> Writer:
    nullable = version >= field.nullable_since
    if not field.array:
        return _item_writer(field, version, flexible, nullable)
    item = _item_writer(field, version, flexible, nullable=False)
    int32 = _FIXED["int32"]

    def write(out: bytearray, value: tuple[Any, ...] | None) -> None:
        if value is None:
            assert nullable, f"{field.name} must not be null in version {version}"
            out += b"\x00" if flexible else b"\xff\xff\xff\xff"
            return
        if flexible:
            write_uvarint(out, len(value) + 1)
        else:
            out += int32.pack(len(value))
        for each in value:
            if type(each) is _Encoded:
                out += each
            else:
                item(out, each)

    return write


def _item_writer(field: Field, version: int, flexible: bool, nullable: bool) -> Writer:
    if field.kind == "struct":
        assert field.item is not None
        inner = writer_of(field.item, version, flexible)
        return _nullable_struct_writer(inner) if nullable and not field.array else inner
    if field.kind == "uuid":
        return _write_uuid
    fixed = _FIXED.get(field.kind)
    if fixed is not None:
        pack = fixed.pack

        def write_fixed(out: bytearray, value: Any) -> None:
            out += pack(value)

        return write_fixed
    raw = write_compact_bytes if flexible else write_bytes
    narrow = field.kind == "string"

    def write(out: bytearray, value: Any) -> None:
        if value is None:
            assert nullable, f"{field.name} must not be null in version {version}"
            raw(out, None, narrow)
            return
        raw(out, value.encode() if narrow else value, narrow)

    return write


def _nullable_struct_writer(inner: Writer) -> Writer:
    def write(out: bytearray, value: Any) -> None:
        if value is None:
            out.append(0xFF)
            return
        out.append(1)
        inner(out, value)

    return write


def _write_uuid(out: bytearray, value: UUID | None) -> None:
    out += _NO_UUID if value is None else value.bytes

"""What the members of a consumer group tell each other, in Kafka's bytes: subscriptions and assignments.

Both begin with a version; a newer one than ours is read as ours, as Kafka does, because later versions only append.
Source: Kafka's clients/src/main/resources/common/message/ConsumerProtocol*.json.
"""

import struct
from typing import ClassVar, TypeVar

from wire.codec import reader_of, writer_of
from wire.errors import WireError
from wire.schema import Field, Message

PROTOCOL_TYPE = "consumer"
VERSION = 3
_VERSION = struct.Struct(">h")

M = TypeVar("M", bound=Message)


class Partitions(Message):
    """Partitions of one topic."""

    topic: str = ""
    partitions: tuple[int, ...] = ()

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("topic", "string", 0, VERSION),
        Field("partitions", "int32", 0, VERSION, array=True),
    )


class ConsumerProtocolSubscription(Message):
    """What a member wants. owned_partitions, generation_id: what it reads and since which generation; -1: not said."""

    topics: tuple[str, ...] = ()
    user_data: bytes | None = None
    owned_partitions: tuple[Partitions, ...] = ()
    generation_id: int = -1
    rack_id: str | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("topics", "string", 0, VERSION, array=True),
        Field("user_data", "bytes", 0, VERSION, nullable_since=0),
        Field("owned_partitions", "struct", 1, VERSION, array=True, item=Partitions),
        Field("generation_id", "int32", 2, VERSION),
        Field("rack_id", "string", 3, VERSION, nullable_since=3),
    )


class ConsumerProtocolAssignment(Message):
    """What a member has to read."""

    assigned_partitions: tuple[Partitions, ...] = ()
    user_data: bytes | None = None

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("assigned_partitions", "struct", 0, VERSION, array=True, item=Partitions),
        Field("user_data", "bytes", 0, VERSION, nullable_since=0),
    )


def version_of(data: bytes) -> int:
    """The version that bytes were written in, as far as it is known here. Raises WireError."""
    try:
        (version,) = _VERSION.unpack_from(data)
    except struct.error:
        raise WireError(f"{len(data)} bytes have no version") from None
    if version < 0:
        raise WireError(f"version {version}")
    return int(min(version, VERSION))


def write(message: Message, version: int) -> bytes:
    """One of these messages, with its version before it."""
    out = bytearray(_VERSION.pack(version))
    writer_of(type(message), version, False)(out, message)
    return bytes(out)


def read(kind: type[M], data: bytes) -> M:
    """One of these messages. Raises WireError."""
    version = version_of(data)
    try:
        found, _ = reader_of(kind, version, False)(memoryview(data), _VERSION.size)
    except (struct.error, IndexError, UnicodeDecodeError, WireError) as error:
        raise WireError(f"{len(data)} bytes are no {kind.__name__}: {error}") from None
    assert isinstance(found, kind)
    return found

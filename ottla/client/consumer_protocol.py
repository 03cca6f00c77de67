"""What the members of a consumer group tell each other, in words of the SDK; the bytes are those of the wire. Pure."""

import struct
from collections.abc import Iterable
from typing import ClassVar, NamedTuple, TypeVar

from ottla.client.errors import ClientError
from ottla.client.records import TopicPartition
from wire.codec import reader_of, writer_of
from wire.consumer_protocol import (
    VERSION,
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    Partitions,
    read,
    write,
)
from wire.errors import WireError
from wire.schema import Field, Message

_GENERATION = struct.Struct(">i")

M = TypeVar("M", bound=Message)


class _StickyData(Message):
    """What the sticky assignor keeps beside a subscription: the last assignment, since version 1 its generation."""

    previous_assignment: tuple[Partitions, ...] = ()
    generation: int = -1

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("previous_assignment", "struct", 0, 1, array=True, item=Partitions),
        Field("generation", "int32", 1, 1),
    )


class Subscription(NamedTuple):
    """What a member wants. owned, generation: what it reads and since which generation; -1: not said."""

    topics: tuple[str, ...]
    owned: tuple[TopicPartition, ...] = ()
    generation: int = -1
    user_data: bytes | None = None
    rack: str | None = None


def encode_subscription(wanted: Subscription, version: int = VERSION) -> bytes:
    """Kafka's ConsumerProtocolSubscription."""
    message = ConsumerProtocolSubscription(
        topics=tuple(sorted(wanted.topics)),
        user_data=wanted.user_data,
        owned_partitions=_grouped(wanted.owned),
        generation_id=wanted.generation,
        rack_id=wanted.rack,
    )
    return write(message, version)


def decode_subscription(data: bytes) -> Subscription:
    """Raises ClientError for bytes that are none."""
    found = _read(ConsumerProtocolSubscription, data)
    return Subscription(
        found.topics,
        _flat(found.owned_partitions),
        found.generation_id,
        found.user_data,
        found.rack_id,
    )


def encode_assignment(partitions: Iterable[TopicPartition], version: int = VERSION) -> bytes:
    """Kafka's ConsumerProtocolAssignment."""
    return write(ConsumerProtocolAssignment(assigned_partitions=_grouped(partitions)), version)


def decode_assignment(data: bytes) -> tuple[TopicPartition, ...]:
    """Raises ClientError for bytes that are none. No bytes: nothing is assigned."""
    return _flat(_read(ConsumerProtocolAssignment, data).assigned_partitions) if data else ()


def encode_sticky_data(owned: Iterable[TopicPartition], generation: int) -> bytes:
    """User data of the sticky assignor (KIP-54)."""
    out = bytearray()
    message = _StickyData(previous_assignment=_grouped(owned), generation=generation)
    writer_of(_StickyData, 1, False)(out, message)
    return bytes(out)


def decode_sticky_data(data: bytes) -> tuple[tuple[TopicPartition, ...], int]:
    """What was owned, and in which generation. Bytes that are none say nothing."""
    for version in (1, 0):
        try:
            found, end = reader_of(_StickyData, version, False)(memoryview(data), 0)
        except (struct.error, IndexError, WireError, UnicodeDecodeError):
            continue
        assert isinstance(found, _StickyData)
        if end == len(data):
            return _flat(found.previous_assignment), found.generation
    return (), -1


def encode_generation(generation: int) -> bytes:
    """User data of the cooperative sticky assignor."""
    return _GENERATION.pack(generation)


def decode_generation(data: bytes | None) -> int:
    """-1 when it is not said."""
    if data is None or len(data) < _GENERATION.size:
        return -1
    return int(_GENERATION.unpack_from(data)[0])


def _read(kind: type[M], data: bytes) -> M:
    try:
        return read(kind, data)
    except WireError as error:
        raise ClientError(f"a member of the group sent what cannot be read: {error}") from None


def _grouped(partitions: Iterable[TopicPartition]) -> tuple[Partitions, ...]:
    topics: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        topics.setdefault(topic, []).append(partition)
    return tuple(
        Partitions(topic=topic, partitions=tuple(found)) for topic, found in topics.items()
    )


def _flat(topics: Iterable[Partitions]) -> tuple[TopicPartition, ...]:
    return tuple(TopicPartition(each.topic, index) for each in topics for index in each.partitions)

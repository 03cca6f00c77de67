"""What stands in `__consumer_offsets`: Kafka's own schema, so that Kafka's tools read it.

A key begins with its kind, a value with its version, two bytes each. A null value takes back what the key stood for.
Source: Kafka's group-coordinator/src/main/resources/common/message.
"""

import struct
from typing import ClassVar, NamedTuple, TypeVar

from cluster.groups.consumer_records import CONSUMER_KINDS, ConsumerKey, ConsumerValue
from storage.errors import ErrorCode, OttlaError
from wire.codec import decode, encode
from wire.errors import WireError
from wire.schema import Field, Message

_PREFIX = struct.Struct(">h")
OFFSET_KINDS = (0, 1)
GROUP_KIND = 2


class OffsetCommitKey(Message):
    """Whose position in which partition."""

    group: str = ""
    topic: str = ""
    partition: int = 0

    KIND: ClassVar[int] = 1
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("group", "string", 0, 1),
        Field("topic", "string", 0, 1),
        Field("partition", "int32", 0, 1),
    )


class OffsetCommitValue(Message):
    """A position. commit_timestamp: milliseconds since the epoch."""

    offset: int = 0
    leader_epoch: int = -1
    metadata: str = ""
    commit_timestamp: int = 0
    expire_timestamp: int = -1

    VERSION: ClassVar[int] = 3
    EXPIRING_VERSION: ClassVar[int] = 1
    """The only one that says when a position expires; whoever asks for that knows no leader epochs."""
    FLEXIBLE: ClassVar[int] = 4
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("offset", "int64", 0, 4),
        Field("leader_epoch", "int32", 3, 4),
        Field("metadata", "string", 0, 4),
        Field("commit_timestamp", "int64", 0, 4),
        Field("expire_timestamp", "int64", 1, 1),
    )


class GroupMetadataKey(Message):
    """A classic group."""

    group: str = ""

    KIND: ClassVar[int] = GROUP_KIND
    FIELDS: ClassVar[tuple[Field, ...]] = (Field("group", "string", 0, GROUP_KIND),)


class MemberMetadata(Message):
    """A member as the generation has it. Timeouts in milliseconds."""

    member_id: str = ""
    group_instance_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    rebalance_timeout: int = -1
    session_timeout: int = 0
    subscription: bytes = b""
    assignment: bytes = b""

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("member_id", "string", 0, 4),
        Field("group_instance_id", "string", 3, 4, nullable_since=3),
        Field("client_id", "string", 0, 4),
        Field("client_host", "string", 0, 4),
        Field("rebalance_timeout", "int32", 1, 4),
        Field("session_timeout", "int32", 0, 4),
        Field("subscription", "bytes", 0, 4),
        Field("assignment", "bytes", 0, 4),
    )


class GroupMetadataValue(Message):
    """A generation of a classic group."""

    protocol_type: str = ""
    generation: int = 0
    protocol: str | None = None
    leader: str | None = None
    current_state_timestamp: int = -1
    members: tuple[MemberMetadata, ...] = ()

    VERSION: ClassVar[int] = 3
    FLEXIBLE: ClassVar[int] = 4
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("protocol_type", "string", 0, 4),
        Field("generation", "int32", 0, 4),
        Field("protocol", "string", 0, 4, nullable_since=0),
        Field("leader", "string", 0, 4, nullable_since=0),
        Field("current_state_timestamp", "int64", 2, 4),
        Field("members", "struct", 0, 4, array=True, item=MemberMetadata),
    )


Key = OffsetCommitKey | GroupMetadataKey | ConsumerKey
Value = OffsetCommitValue | GroupMetadataValue | ConsumerValue
ValueT = TypeVar("ValueT", bound=Value)
_CONSUMER = {key.KIND: (key, value) for key, value in CONSUMER_KINDS}


class GroupRecord(NamedTuple):
    """One record. value None: a tombstone."""

    key: Key
    value: Value | None


class DamagedGroupRecordError(OttlaError):
    """A record of `__consumer_offsets` that cannot be read. It is not guessed at."""

    code = ErrorCode.COORDINATOR_NOT_AVAILABLE


def encode_key(key: Key) -> bytes:
    """A record's key."""
    return _PREFIX.pack(key.KIND) + bytes(encode(key, key.KIND, flexible=False))


def encode_value(value: Value | None) -> bytes | None:
    """A record's value."""
    if value is None:
        return None
    version = value.VERSION
    if isinstance(value, OffsetCommitValue) and value.expire_timestamp >= 0:
        version = value.EXPIRING_VERSION
    flexible = version >= value.FLEXIBLE
    return _PREFIX.pack(version) + bytes(encode(value, version, flexible))


def decode_record(key: bytes, value: bytes | None) -> GroupRecord | None:
    """A record as it was read; None for a kind that this release does not know. Raises DamagedGroupRecordError."""
    try:
        (kind,) = _PREFIX.unpack_from(key)
        if kind in OFFSET_KINDS:
            where = decode(OffsetCommitKey, kind, False, memoryview(key)[_PREFIX.size :])
            return GroupRecord(where, _decode_value(OffsetCommitValue, value))
        if kind == GROUP_KIND:
            group = decode(GroupMetadataKey, kind, False, memoryview(key)[_PREFIX.size :])
            return GroupRecord(group, _decode_value(GroupMetadataValue, value))
        if kind in _CONSUMER:
            of_key, of_value = _CONSUMER[kind]
            found = decode(of_key, kind, False, memoryview(key)[_PREFIX.size :])
            return GroupRecord(found, _decode_value(of_value, value))
    except (WireError, struct.error) as error:
        raise DamagedGroupRecordError(
            f"a record of __consumer_offsets cannot be read: {error}"
        ) from None
    return None


def _decode_value(kind: type[ValueT], value: bytes | None) -> ValueT | None:
    if value is None:
        return None
    (version,) = _PREFIX.unpack_from(value)
    return decode(kind, version, version >= kind.FLEXIBLE, memoryview(value)[_PREFIX.size :])

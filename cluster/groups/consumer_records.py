"""What `__consumer_offsets` has of groups with the protocol of KIP-848: Kafka's own schema.

A group is many records, so that a change writes what changed: its epoch, the epoch of its target assignment, its
regular expressions, and of each member the subscription, the target and what it has at present.
"""

from typing import ClassVar
from uuid import UUID

from wire.schema import Field, Message


class TopicPartitions(Message):
    """Partitions of one topic."""

    topic_id: UUID | None = None
    partitions: tuple[int, ...] = ()

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("topic_id", "uuid", 0, 0, nullable_since=0),
        Field("partitions", "int32", 0, 0, array=True),
    )


class _GroupKey(Message):
    group: str = ""


class _MemberKey(Message):
    group: str = ""
    member_id: str = ""


class ConsumerGroupMetadataKey(_GroupKey):
    """A group."""

    KIND: ClassVar[int] = 3
    FIELDS: ClassVar[tuple[Field, ...]] = (Field("group", "string", 3, 3),)


class ConsumerGroupMetadataValue(Message):
    """Its epoch. metadata_hash: of the topics that it reads, so that a change is noticed after a failover, too."""

    epoch: int = 0
    metadata_hash: int = 0

    VERSION: ClassVar[int] = 0
    FLEXIBLE: ClassVar[int] = 0
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("epoch", "int32", 0, 0),
        Field("metadata_hash", "int64", 0, 0, tag=0),
    )


class ConsumerGroupMemberMetadataKey(_MemberKey):
    """A member's subscription."""

    KIND: ClassVar[int] = 5
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("group", "string", 5, 5),
        Field("member_id", "string", 5, 5),
    )


class ClassicProtocol(Message):
    """One of the assignors that a member with the classic protocol offers."""

    name: str = ""
    metadata: bytes = b""

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("name", "string", 0, 0),
        Field("metadata", "bytes", 0, 0),
    )


class ClassicMemberMetadata(Message):
    """What the classic protocol has beside."""

    session_timeout_ms: int = 0
    supported_protocols: tuple[ClassicProtocol, ...] = ()

    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("session_timeout_ms", "int32", 0, 0),
        Field("supported_protocols", "struct", 0, 0, array=True, item=ClassicProtocol),
    )


class ConsumerGroupMemberMetadataValue(Message):
    """What a member wants, and who it is. rebalance_timeout_ms: -1 when it never said.

    classic_member_metadata: of a member with the classic protocol.
    """

    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    subscribed_topic_names: tuple[str, ...] = ()
    subscribed_topic_regex: str | None = None
    rebalance_timeout_ms: int = -1
    server_assignor: str | None = None
    classic_member_metadata: ClassicMemberMetadata | None = None

    VERSION: ClassVar[int] = 0
    FLEXIBLE: ClassVar[int] = 0
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("instance_id", "string", 0, 0, nullable_since=0),
        Field("rack_id", "string", 0, 0, nullable_since=0),
        Field("client_id", "string", 0, 0),
        Field("client_host", "string", 0, 0),
        Field("subscribed_topic_names", "string", 0, 0, array=True),
        Field("subscribed_topic_regex", "string", 0, 0, nullable_since=0),
        Field("rebalance_timeout_ms", "int32", 0, 0),
        Field("server_assignor", "string", 0, 0, nullable_since=0),
        Field(
            "classic_member_metadata",
            "struct",
            0,
            0,
            nullable_since=0,
            tag=0,
            item=ClassicMemberMetadata,
        ),
    )


class ConsumerGroupTargetAssignmentMetadataKey(_GroupKey):
    """A group's target assignment as a whole."""

    KIND: ClassVar[int] = 6
    FIELDS: ClassVar[tuple[Field, ...]] = (Field("group", "string", 6, 6),)


class ConsumerGroupTargetAssignmentMetadataValue(Message):
    """The epoch of the group that the target was made for."""

    assignment_epoch: int = 0

    VERSION: ClassVar[int] = 0
    FLEXIBLE: ClassVar[int] = 0
    FIELDS: ClassVar[tuple[Field, ...]] = (Field("assignment_epoch", "int32", 0, 0),)


class ConsumerGroupTargetAssignmentMemberKey(_MemberKey):
    """A member's target."""

    KIND: ClassVar[int] = 7
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("group", "string", 7, 7),
        Field("member_id", "string", 7, 7),
    )


class ConsumerGroupTargetAssignmentMemberValue(Message):
    """What a member shall have."""

    topic_partitions: tuple[TopicPartitions, ...] = ()

    VERSION: ClassVar[int] = 0
    FLEXIBLE: ClassVar[int] = 0
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("topic_partitions", "struct", 0, 0, array=True, item=TopicPartitions),
    )


class ConsumerGroupCurrentMemberAssignmentKey(_MemberKey):
    """What a member has."""

    KIND: ClassVar[int] = 8
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("group", "string", 8, 8),
        Field("member_id", "string", 8, 8),
    )


class ConsumerGroupCurrentMemberAssignmentValue(Message):
    """state: a MemberState. Partitions pending revocation are the member's until it says that it let them go."""

    member_epoch: int = 0
    previous_member_epoch: int = 0
    state: int = 0
    assigned_partitions: tuple[TopicPartitions, ...] = ()
    partitions_pending_revocation: tuple[TopicPartitions, ...] = ()

    VERSION: ClassVar[int] = 0
    FLEXIBLE: ClassVar[int] = 0
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("member_epoch", "int32", 0, 0),
        Field("previous_member_epoch", "int32", 0, 0),
        Field("state", "int8", 0, 0),
        Field("assigned_partitions", "struct", 0, 0, array=True, item=TopicPartitions),
        Field("partitions_pending_revocation", "struct", 0, 0, array=True, item=TopicPartitions),
    )


class ConsumerGroupRegularExpressionKey(Message):
    """A regular expression that somebody in the group subscribed to."""

    group: str = ""
    regular_expression: str = ""

    KIND: ClassVar[int] = 16
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("group", "string", 16, 16),
        Field("regular_expression", "string", 16, 16),
    )


class ConsumerGroupRegularExpressionValue(Message):
    """The topics that it matched. version: the metadata log's offset; timestamp: milliseconds since the epoch."""

    topics: tuple[str, ...] = ()
    version: int = 0
    timestamp: int = 0

    VERSION: ClassVar[int] = 0
    FLEXIBLE: ClassVar[int] = 0
    FIELDS: ClassVar[tuple[Field, ...]] = (
        Field("topics", "string", 0, 0, array=True),
        Field("version", "int64", 0, 0),
        Field("timestamp", "int64", 0, 0),
    )


ConsumerKey = (
    ConsumerGroupMetadataKey
    | ConsumerGroupMemberMetadataKey
    | ConsumerGroupTargetAssignmentMetadataKey
    | ConsumerGroupTargetAssignmentMemberKey
    | ConsumerGroupCurrentMemberAssignmentKey
    | ConsumerGroupRegularExpressionKey
)
ConsumerValue = (
    ConsumerGroupMetadataValue
    | ConsumerGroupMemberMetadataValue
    | ConsumerGroupTargetAssignmentMetadataValue
    | ConsumerGroupTargetAssignmentMemberValue
    | ConsumerGroupCurrentMemberAssignmentValue
    | ConsumerGroupRegularExpressionValue
)
CONSUMER_KINDS: tuple[tuple[type[ConsumerKey], type[ConsumerValue]], ...] = (
    (ConsumerGroupMetadataKey, ConsumerGroupMetadataValue),
    (ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue),
    (ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue),
    (ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMemberValue),
    (ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue),
    (ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue),
)
"""Keys with what stands under them."""

"""Metadata records: what the quorum's log holds and what an image is made of.

A batch is msgpack of `[metadata level, [record, ...]]`. Within a level the format only grows: unknown fields are
ignored and missing ones take their defaults, so that neighbouring releases read each other. A new record *kind* needs
a new level, because a reader that skipped it would hold another image; hence an unknown tag is an error.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import Struct

from kraft.metadata.errors import UnreadableMetadataError

MIN_METADATA_LEVEL = 1
LATEST_METADATA_LEVEL = 2
# From this level on groups and subscriptions to client metrics have settings, and clients quotas.
CLIENT_SETTINGS_LEVEL = 2

NO_LEADER = -1
NIL_ID = UUID(int=0)


class Endpoint(NamedTuple):
    """Where a listener is reached, as advertised."""

    host: str
    port: int


class ResourceType(IntEnum):
    """What a configuration value belongs to (numbers of ottla.v1.ResourceType, as far as that has them)."""

    TOPIC = 1
    BROKER = 2
    CLIENT_METRICS = 3
    GROUP = 4


class ConfigResource(NamedTuple):
    """A topic, a group or a subscription by name, a broker by its node id in digits, or with BROKER and an empty name
    all brokers.
    """

    type: ResourceType
    name: str


class QuotaPart(NamedTuple):
    """kind: `user` or `client-id`. name: None stands for all that have no quota of their own."""

    kind: str
    name: str | None


QuotaEntity = tuple[QuotaPart, ...]
"""Whose quota, the parts in the order of their kinds."""

CLUSTER = ConfigResource(ResourceType.BROKER, "")


class _Record(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """The base of all records: immutable, tagged by kind, absent fields are defaults."""


class FeatureLevel(_Record, frozen=True, tag="level"):
    """The cluster speaks this metadata level from here on."""

    metadata_level: int


class ClusterId(_Record, frozen=True, tag="cluster"):
    """The cluster's name for ever, chosen at its first election."""

    cluster_id: str


class RegisterBroker(_Record, frozen=True, tag="register_broker"):
    """A new incarnation of a broker, or the same one with changed facts.

    broker_epoch: the log offset of this incarnation's first registration. directory_id: names the data folder; another
    one than before means that the broker came back without what it once acknowledged.
    """

    node_id: int
    broker_epoch: int
    incarnation: UUID
    listeners: dict[str, Endpoint]
    rack: str = ""
    fenced: bool = True
    shutdown_offset: int = -1
    directory_id: UUID = NIL_ID
    min_metadata_level: int = 1
    max_metadata_level: int = 1


class UnregisterBroker(_Record, frozen=True, tag="unregister_broker"):
    """A broker is gone for good."""

    node_id: int
    broker_epoch: int


class BrokerChange(_Record, frozen=True, tag="broker_change"):
    """A broker was fenced or unfenced, or began its controlled shutdown. None: unchanged.

    shutdown_offset: the metadata offset at which the shutdown began.
    """

    node_id: int
    broker_epoch: int
    fenced: bool | None = None
    shutdown_offset: int | None = None


class Topic(_Record, frozen=True, tag="topic"):
    """A topic was created; its partitions follow in the same batch."""

    name: str
    topic_id: UUID


class RemoveTopic(_Record, frozen=True, tag="remove_topic"):
    """A topic went away with its partitions and its configuration."""

    topic_id: UUID


class PartitionRecord(_Record, frozen=True, tag="partition"):
    """A partition's whole state.

    elr: replicas outside the ISR that hold everything below the high watermark (KIP-966). last_known_elr: replicas
    that once did but came back without their disk: a hint for an unclean election, no more.
    """

    topic_id: UUID
    partition: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    elr: tuple[int, ...] = ()
    last_known_elr: tuple[int, ...] = ()
    leader: int = NO_LEADER
    leader_epoch: int = 0
    partition_epoch: int = 0
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()


class PartitionChange(_Record, frozen=True, tag="partition_change"):
    """What changed in a partition; None: unchanged. partition_epoch is always the old one plus one.

    unclean: the new leader may lack acknowledged records; counted in the image.
    """

    topic_id: UUID
    partition: int
    partition_epoch: int
    replicas: tuple[int, ...] | None = None
    isr: tuple[int, ...] | None = None
    elr: tuple[int, ...] | None = None
    last_known_elr: tuple[int, ...] | None = None
    leader: int | None = None
    leader_epoch: int | None = None
    adding: tuple[int, ...] | None = None
    removing: tuple[int, ...] | None = None
    unclean: bool = False


class Config(_Record, frozen=True, tag="config"):
    """A configuration value was set, or unset with None. Values are kept as text, as they were given."""

    resource_type: ResourceType
    name: str
    key: str
    value: str | None = None


class ProducerIds(_Record, frozen=True, tag="producer_ids"):
    """Producer ids below next_id are handed out; the last block went to this broker."""

    next_id: int
    broker: int = -1
    broker_epoch: int = -1


class ClientQuota(_Record, frozen=True, tag="client_quota"):
    """A quota was set, or unset with None. rate: bytes a second."""

    entity: QuotaEntity
    key: str
    rate: float | None = None


class UncleanElections(_Record, frozen=True, tag="unclean_elections"):
    """How many unclean elections there have been. Only snapshots hold it: a log holds the elections themselves."""

    count: int


Record = (
    FeatureLevel
    | ClusterId
    | RegisterBroker
    | UnregisterBroker
    | BrokerChange
    | Topic
    | RemoveTopic
    | PartitionRecord
    | PartitionChange
    | Config
    | ProducerIds
    | ClientQuota
    | UncleanElections
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, list[Record]])
_raw_decoder = msgspec.msgpack.Decoder(tuple[int, list[msgspec.Raw]])
_record_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(records: Sequence[Record], level: int = LATEST_METADATA_LEVEL) -> bytes:
    """One batch of records as bytes, written at a metadata level that this build knows; 0: none is set yet."""
    level = level or MIN_METADATA_LEVEL
    assert MIN_METADATA_LEVEL <= level <= LATEST_METADATA_LEVEL, level
    return _encoder.encode((level, records))


def decode(data: bytes | bytearray | memoryview) -> list[Record]:
    """The records of one batch. Raises UnreadableMetadataError naming the record, the level and what to do."""
    try:
        return _decoder.decode(data)[1]
    except msgspec.MsgspecError as error:
        raise _explain(data, error) from error


def _explain(data: bytes | bytearray | memoryview, error: Exception) -> UnreadableMetadataError:
    """Find out which record of the batch, if any, could not be read."""
    try:
        level, raws = _raw_decoder.decode(data)
    except msgspec.MsgspecError:
        return UnreadableMetadataError(
            f"{len(data)} bytes of metadata are no batch of records ({error}): the log or snapshot is damaged; "
            f"take this node out of the quorum, move its metadata folder away and add it again"
        )
    for number, raw in enumerate(raws):
        try:
            _record_decoder.decode(raw)
        except msgspec.MsgspecError as found:
            return UnreadableMetadataError(
                f"record {number} of a metadata batch of level {level} cannot be read ({found}); this build knows "
                f"the levels {MIN_METADATA_LEVEL} to {LATEST_METADATA_LEVEL}: run a release that knows level {level}"
            )
    return UnreadableMetadataError(f"a metadata batch of level {level} cannot be read: {error}")

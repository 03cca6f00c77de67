"""What the active controller answers. A reply is sent once its records are committed.

`Refused` answers a request that failed as a whole (the controller raised); entries of bulk replies carry their own
`refusal`, None when it went well.
"""

from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from kraft.metadata.errors import InvalidRequestError, Refusal
from kraft.metadata.records import NIL_ID, NO_LEADER


class _Reply(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="reply"):
    """The base of all replies."""


class Refused(_Reply, frozen=True, tag="refused"):
    """The request as a whole was refused."""

    refusal: Refusal


class Done(_Reply, frozen=True, tag="done"):
    """It is done; there is no more to say."""


class BrokerRegistered(_Reply, frozen=True, tag="registered"):
    """broker_epoch: this incarnation's, to be said in every later request. The broker begins fenced: it heartbeats
    until it has applied the metadata up to that offset.
    """

    broker_epoch: int
    cluster_id: str


class HeartbeatReply(_Reply, frozen=True, tag="heartbeat"):
    """may_stop: its leaderships have moved and the others know; the process may end."""

    fenced: bool
    caught_up: bool
    in_controlled_shutdown: bool = False
    may_stop: bool = False


class CreatedTopic(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One topic of TopicsCreated."""

    name: str
    topic_id: UUID = NIL_ID
    partitions: int = 0
    replication_factor: int = 0
    refusal: Refusal | None = None


class TopicsCreated(_Reply, frozen=True, tag="topics_created"):
    """To CreateTopics."""

    topics: tuple[CreatedTopic, ...]


class DeletedTopic(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One topic of TopicsDeleted."""

    name: str
    topic_id: UUID = NIL_ID
    refusal: Refusal | None = None


class TopicsDeleted(_Reply, frozen=True, tag="topics_deleted"):
    """To DeleteTopics."""

    topics: tuple[DeletedTopic, ...]


class AlteredConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One resource of ConfigsAltered."""

    refusal: Refusal | None = None


class ConfigsAltered(_Reply, frozen=True, tag="configs_altered"):
    """To AlterConfigs."""

    changes: tuple[AlteredConfig, ...]


class AlteredQuota(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entity of ClientQuotasAltered."""

    refusal: Refusal | None = None


class ClientQuotasAltered(_Reply, frozen=True, tag="client_quotas_altered"):
    """To AlterClientQuotas."""

    entries: tuple[AlteredQuota, ...]


class AlteredPartition(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One proposal of PartitionsAltered: the partition as it is now.

    A leader takes its new ISR from the metadata log, not from here: the log orders it with `min.insync.replicas`, on
    which the meaning of a small ISR depends (KIP-966). This says whether to wait for the log or to propose again.
    """

    topic_id: UUID
    partition: int
    leader: int = NO_LEADER
    leader_epoch: int = -1
    partition_epoch: int = -1
    isr: tuple[int, ...] = ()
    refusal: Refusal | None = None


class PartitionsAltered(_Reply, frozen=True, tag="partitions_altered"):
    """To AlterPartition."""

    partitions: tuple[AlteredPartition, ...]


class ElectedLeader(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One partition of LeadersElected."""

    topic: str
    partition: int
    leader: int = NO_LEADER
    refusal: Refusal | None = None


class LeadersElected(_Reply, frozen=True, tag="leaders_elected"):
    """To ElectLeaders."""

    partitions: tuple[ElectedLeader, ...]


class AlteredReassignment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One partition of ReassignmentsAltered."""

    topic: str
    partition: int
    refusal: Refusal | None = None


class ReassignmentsAltered(_Reply, frozen=True, tag="reassignments_altered"):
    """To AlterPartitionReassignments."""

    partitions: tuple[AlteredReassignment, ...]


class ProducerIdBlock(_Reply, frozen=True, tag="producer_ids"):
    """To AllocateProducerIds: first_id up to first_id + count - 1, given to nobody else ever."""

    first_id: int
    count: int


class MetadataLevelUpdated(_Reply, frozen=True, tag="metadata_level"):
    """To UpdateMetadataLevel."""

    level: int


class LeadersRebalanced(_Reply, frozen=True, tag="rebalanced"):
    """To RebalanceLeaders. more: there are others that could move."""

    moved: int
    more: bool = False


Reply = (
    Refused
    | Done
    | BrokerRegistered
    | HeartbeatReply
    | TopicsCreated
    | TopicsDeleted
    | ConfigsAltered
    | ClientQuotasAltered
    | PartitionsAltered
    | LeadersElected
    | ReassignmentsAltered
    | ProducerIdBlock
    | MetadataLevelUpdated
    | LeadersRebalanced
)

_encoder = msgspec.msgpack.Encoder()
_decoder: Any = msgspec.msgpack.Decoder(Reply)


def encode(reply: Reply) -> bytes:
    """A reply as bytes."""
    return _encoder.encode(reply)


def decode(data: bytes) -> Reply:
    """A reply that came over the network. Raises InvalidRequestError when it is none."""
    try:
        reply: Reply = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise InvalidRequestError(f"{len(data)} bytes are no controller reply: {error}") from error
    return reply

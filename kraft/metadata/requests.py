"""What the active controller is asked, by brokers over the peer RPC (`ControllerRequest`) or by its own shell
(`InternalRequest`, never taken from the network). `encode`/`decode` are their form on the wire.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from kraft.metadata.errors import InvalidRequestError
from kraft.metadata.records import (
    LATEST_METADATA_LEVEL,
    MIN_METADATA_LEVEL,
    NIL_ID,
    ConfigResource,
    Endpoint,
    QuotaEntity,
)


class _Request(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="request"):
    """The base of all requests."""


class RegisterBrokerRequest(_Request, frozen=True, tag="register"):
    """A broker process introduces itself. Reply: BrokerRegistered.

    cluster_id: as its data folder says, empty when that is new. incarnation: drawn anew at each start of the process.
    directory_id: drawn when the data folder was made. clean_shutdown: whether the last process on this folder ended
    with everything flushed.
    """

    node_id: int
    cluster_id: str
    incarnation: UUID
    listeners: Mapping[str, Endpoint]
    rack: str = ""
    directory_id: UUID = NIL_ID
    clean_shutdown: bool = True
    min_metadata_level: int = MIN_METADATA_LEVEL
    max_metadata_level: int = LATEST_METADATA_LEVEL


class BrokerHeartbeat(_Request, frozen=True, tag="heartbeat"):
    """A broker renews its lease. Reply: HeartbeatReply. metadata_offset: what it has applied."""

    node_id: int
    broker_epoch: int
    metadata_offset: int
    wants_fence: bool = False
    wants_shutdown: bool = False


class UnregisterBrokerRequest(_Request, frozen=True, tag="unregister"):
    """A broker is gone for good, its disk included. Reply: Done."""

    node_id: int


class NewTopic(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """partitions, replication_factor: -1 or 0 for the cluster's default. assignments: replicas of partition 0, 1, ...
    instead of those two.
    """

    name: str
    partitions: int = -1
    replication_factor: int = -1
    assignments: tuple[tuple[int, ...], ...] = ()
    configs: Mapping[str, str] = {}


class CreateTopics(_Request, frozen=True, tag="create_topics"):
    """Reply: TopicsCreated, one entry a topic in order."""

    topics: tuple[NewTopic, ...]
    validate_only: bool = False


class DeleteTopics(_Request, frozen=True, tag="delete_topics"):
    """Reply: TopicsDeleted, one entry a name in order."""

    names: tuple[str, ...]


class CreatePartitions(_Request, frozen=True, tag="create_partitions"):
    """total_count: partitions afterwards. assignments: of the new ones. Reply: Done."""

    topic: str
    total_count: int
    assignments: tuple[tuple[int, ...], ...] = ()
    validate_only: bool = False


class ConfigChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Keys to set and to unset on one resource; all or nothing."""

    resource: ConfigResource
    set: Mapping[str, str] = {}
    unset: tuple[str, ...] = ()


class AlterConfigs(_Request, frozen=True, tag="alter_configs"):
    """Reply: ConfigsAltered, one entry a change in order."""

    changes: tuple[ConfigChange, ...]
    validate_only: bool = False


class QuotaAlteration(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """ops: (key, rate in bytes a second), None to unset; all or nothing."""

    entity: QuotaEntity
    ops: tuple[tuple[str, float | None], ...] = ()


class AlterClientQuotas(_Request, frozen=True, tag="alter_client_quotas"):
    """Reply: ClientQuotasAltered, one entry an alteration in order (KIP-546)."""

    alterations: tuple[QuotaAlteration, ...]
    validate_only: bool = False


class IsrMember(Struct, frozen=True, array_like=True):
    """A proposed member and the incarnation of it that the leader saw catch up (KIP-903); -1: the leader cannot tell,
    which is taken for members that are in the ISR already.
    """

    node_id: int
    broker_epoch: int = -1


class IsrProposal(Struct, frozen=True, kw_only=True):
    """What a leader wants its ISR to be, and the picture it was made from."""

    topic_id: UUID
    partition: int
    leader_epoch: int
    partition_epoch: int
    isr: tuple[IsrMember, ...]


class AlterPartition(_Request, frozen=True, tag="alter_partition"):
    """ISR proposals of one leader (KIP-497). Reply: PartitionsAltered, one entry a proposal in order."""

    node_id: int
    broker_epoch: int
    proposals: tuple[IsrProposal, ...]


class ElectLeaders(_Request, frozen=True, tag="elect_leaders"):
    """unclean False: the preferred replica; True: any live one, where no eligible one is alive. partitions: (topic
    name, number); none: all. Reply: LeadersElected; of `all` only those that need one.
    """

    unclean: bool = False
    partitions: tuple[tuple[str, int], ...] = ()


class Reassignment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """replicas: the wanted ones, preferred leader first; none: cancel the reassignment under way."""

    topic: str
    partition: int
    replicas: tuple[int, ...] = ()


class AlterPartitionReassignments(_Request, frozen=True, tag="reassign"):
    """Reply: ReassignmentsAltered, one entry a reassignment in order (KIP-455)."""

    reassignments: tuple[Reassignment, ...]


class AllocateProducerIds(_Request, frozen=True, tag="producer_ids"):
    """A block of producer ids for a broker. Reply: ProducerIdBlock."""

    node_id: int
    broker_epoch: int


class UpdateMetadataLevel(_Request, frozen=True, tag="metadata_level"):
    """Raise the metadata level, on purpose and for good. Reply: MetadataLevelUpdated."""

    level: int


class FenceBroker(_Request, frozen=True, tag="fence"):
    """The lease of this incarnation ran out, or a probe found its process dead. Reply: Done, even if it is no news."""

    node_id: int
    broker_epoch: int


class RebalanceLeaders(_Request, frozen=True, tag="rebalance"):
    """Give leadership back to preferred replicas, at most so many. brokers: those that may get it.

    Reply: LeadersRebalanced.
    """

    brokers: tuple[int, ...]
    max_changes: int = 1000


class Bootstrap(_Request, frozen=True, tag="bootstrap"):
    """The first controller of a cluster gives it its id and level. Reply: Done, also when there was nothing to do.

    cluster_id: the wanted one; empty: drawn by chance.
    """

    cluster_id: str = ""


ControllerRequest = (
    RegisterBrokerRequest
    | BrokerHeartbeat
    | UnregisterBrokerRequest
    | CreateTopics
    | DeleteTopics
    | CreatePartitions
    | AlterConfigs
    | AlterClientQuotas
    | AlterPartition
    | ElectLeaders
    | AlterPartitionReassignments
    | AllocateProducerIds
    | UpdateMetadataLevel
)
InternalRequest = FenceBroker | RebalanceLeaders | Bootstrap
Request = ControllerRequest | InternalRequest

_encoder = msgspec.msgpack.Encoder()
_decoder: Any = msgspec.msgpack.Decoder(ControllerRequest)


def encode(request: ControllerRequest) -> bytes:
    """A request as bytes."""
    return _encoder.encode(request)


def decode(data: bytes) -> ControllerRequest:
    """A request that came over the network. Raises InvalidRequestError."""
    try:
        request: ControllerRequest = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise InvalidRequestError(
            f"{len(data)} bytes are no controller request ({error}); "
            f"do both nodes run a release that speaks the same metadata level?"
        ) from error
    return request

"""ISR proposals of leaders (AlterPartition: KIP-497; who may join: KIP-841, KIP-903).

What an answer proves to the leader, whose high watermark stands on the *maximal* ISR while a proposal is in flight:

- Taken, NEW_LEADER_ELECTED, INVALID_UPDATE_VERSION, FENCED_LEADER_EPOCH, NOT_CONTROLLER, silence: the proposal, or an
  earlier sending of it, may be true. It stays in flight until the metadata log says more. Unless it was taken, it is
  sent again until then: what a controller refused it for may be a change of its own that is never committed.
- DEFINITE_REFUSALS: this sending changed nothing. Only if no earlier sending of it has an unknown fate may the leader
  go back to its committed ISR; otherwise the earlier one could still arrive and be taken.
- To get rid of a proposal of unknown fate the leader proposes its committed ISR: that raises the partition epoch, so
  that whatever is still on its way comes too late.
"""

from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.errors import (
    FencedLeaderEpochError,
    IneligibleReplicaError,
    InvalidRequestError,
    InvalidUpdateVersionError,
    MetadataError,
    NewLeaderElectedError,
    NotControllerError,
    Refusal,
    UnknownTopicError,
    UnknownTopicIdError,
)
from kraft.metadata.image import PartitionRegistration
from kraft.metadata.partition_change import Wanted
from kraft.metadata.records import PartitionChange
from kraft.metadata.replies import AlteredPartition, PartitionsAltered
from kraft.metadata.requests import AlterPartition, IsrMember, IsrProposal
from storage.errors import ErrorCode

DEFINITE_REFUSALS = frozenset([ErrorCode.INELIGIBLE_REPLICA, ErrorCode.INVALID_REQUEST])


def alter_partition(draft: Draft, request: AlterPartition) -> ControllerResult:
    """Take or refuse each proposal by itself. Raises BrokerNotRegisteredError, StaleBrokerEpochError."""
    draft.caller(request.node_id, request.broker_epoch)
    altered = []
    for proposal in request.proposals:
        try:
            altered.append(_alter(draft, request.node_id, proposal))
        except MetadataError as error:
            altered.append(
                AlteredPartition(
                    topic_id=proposal.topic_id,
                    partition=proposal.partition,
                    refusal=Refusal.of(error),
                )
            )
    return draft.result(PartitionsAltered(partitions=tuple(altered)))


def _alter(draft: Draft, leader: int, proposal: IsrProposal) -> AlteredPartition:
    partition = _known_partition(draft, proposal)
    _check_picture(leader, partition, proposal)
    _check_members(draft, leader, partition, proposal)
    isr = tuple(member.node_id for member in proposal.isr)
    if draft.change(proposal.topic_id, proposal.partition, partition, Wanted(isr=isr)) is None:
        draft.emit(_only_epoch(partition, proposal))
    now = _known_partition(draft, proposal)
    refusal = None
    if now.leader != leader:
        refusal = Refusal.of(
            NewLeaderElectedError(
                f"{_named(proposal)}: the ISR {isr} completed a reassignment, {now.leader} leads now"
            )
        )
    return AlteredPartition(
        topic_id=proposal.topic_id,
        partition=proposal.partition,
        leader=now.leader,
        leader_epoch=now.leader_epoch,
        partition_epoch=now.partition_epoch,
        isr=now.isr,
        refusal=refusal,
    )


def _only_epoch(partition: PartitionRegistration, proposal: IsrProposal) -> PartitionChange:
    """The ISR as it is, so that proposals made before this one are void."""
    return PartitionChange(
        topic_id=proposal.topic_id,
        partition=proposal.partition,
        partition_epoch=partition.partition_epoch + 1,
    )


def _known_partition(draft: Draft, proposal: IsrProposal) -> PartitionRegistration:
    if draft.delta.topic_name(proposal.topic_id) is None:
        raise UnknownTopicIdError(f"no topic has the id {proposal.topic_id}")
    partition = draft.delta.partition(proposal.topic_id, proposal.partition)
    if partition is None:
        raise UnknownTopicError(f"there is no {_named(proposal)}")
    return partition


def _check_picture(leader: int, partition: PartitionRegistration, proposal: IsrProposal) -> None:
    """The proposal must be made from exactly the state that it is to change."""
    named = _named(proposal)
    epochs = f"leader epoch {proposal.leader_epoch}, partition epoch {proposal.partition_epoch}"
    known = f"leader epoch {partition.leader_epoch}, partition epoch {partition.partition_epoch}"
    if (
        proposal.leader_epoch > partition.leader_epoch
        or proposal.partition_epoch > partition.partition_epoch
    ):
        raise NotControllerError(
            f"{named}: {epochs} are newer than this controller's {known}: another controller is active"
        )
    if proposal.leader_epoch < partition.leader_epoch:
        raise FencedLeaderEpochError(f"{named}: {epochs} are not current, which is {known}")
    if leader != partition.leader:
        raise InvalidRequestError(
            f"{named}: broker {leader} does not lead it in {epochs}, {partition.leader} does"
        )
    if proposal.partition_epoch < partition.partition_epoch:
        raise InvalidUpdateVersionError(f"{named}: {epochs} are not current, which is {known}")


def _check_members(
    draft: Draft, leader: int, partition: PartitionRegistration, proposal: IsrProposal
) -> None:
    named = _named(proposal)
    members = [member.node_id for member in proposal.isr]
    strangers = [member for member in members if member not in partition.replicas]
    if strangers or len(set(members)) != len(members):
        raise InvalidRequestError(
            f"{named}: the ISR {members} is no set of its replicas {list(partition.replicas)}"
        )
    if leader not in members:
        raise InvalidRequestError(f"{named}: the ISR {members} lacks its leader {leader}")
    for member in proposal.isr:
        _check_member(draft, partition, member, named)


def _check_member(
    draft: Draft, partition: PartitionRegistration, member: IsrMember, named: str
) -> None:
    """A member must be alive, staying, and the incarnation that the leader saw catch up."""
    broker = draft.delta.broker(member.node_id)
    if broker is None:
        raise IneligibleReplicaError(
            f"{named}: replica {member.node_id} cannot be in the ISR: it is not registered"
        )
    if not broker.eligible:
        state = "fenced" if broker.fenced else "shutting down"
        raise IneligibleReplicaError(
            f"{named}: replica {member.node_id} cannot be in the ISR: it is {state}"
        )
    unsaid = member.broker_epoch == -1 and member.node_id in partition.isr
    if not unsaid and member.broker_epoch != broker.broker_epoch:
        raise IneligibleReplicaError(
            f"{named}: replica {member.node_id} cannot be in the ISR: the leader saw its broker epoch "
            f"{member.broker_epoch}, it is registered with {broker.broker_epoch}"
        )


def _named(proposal: IsrProposal) -> str:
    return f"partition {proposal.partition} of topic {proposal.topic_id}"

"""Elections that somebody asks for: preferred leaders, unclean ones, and the periodic return to preferred leaders."""

from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.effective_config import broker_value
from kraft.metadata.errors import (
    ElectionNotNeededError,
    EligibleLeadersNotAvailableError,
    MetadataError,
    PreferredLeaderNotAvailableError,
    Refusal,
)
from kraft.metadata.image import PartitionRegistration
from kraft.metadata.leader_election import Election
from kraft.metadata.partition_change import Wanted
from kraft.metadata.records import NO_LEADER
from kraft.metadata.replies import ElectedLeader, LeadersElected, LeadersRebalanced
from kraft.metadata.requests import ElectLeaders, RebalanceLeaders

PREFERRED = Wanted(election=Election.PREFERRED)
UNCLEAN = Wanted(election=Election.UNCLEAN)


def elect_leaders(draft: Draft, request: ElectLeaders) -> ControllerResult:
    """Elect in the named partitions, or wherever there is something to do; each is elected or refused by itself."""
    if request.partitions:
        elected = [
            _elect_or_refuse(draft, topic, number, unclean=request.unclean)
            for topic, number in request.partitions
        ]
    else:
        names = [
            (draft.delta.topic_name(topic_id) or "", number)
            for topic_id, number, partition in draft.partitions()
            if _needed(partition, unclean=request.unclean)
        ]
        elected = [
            _elect_or_refuse(draft, topic, number, unclean=request.unclean)
            for topic, number in names
        ]
    return draft.result(LeadersElected(partitions=tuple(elected)))


def _needed(partition: PartitionRegistration, *, unclean: bool) -> bool:
    if unclean:
        return partition.leader == NO_LEADER
    return partition.leader != partition.preferred_leader


def _elect_or_refuse(draft: Draft, topic: str, number: int, *, unclean: bool) -> ElectedLeader:
    try:
        leader = _elect(draft, topic, number, unclean=unclean)
        return ElectedLeader(topic=topic, partition=number, leader=leader)
    except MetadataError as error:
        return ElectedLeader(topic=topic, partition=number, refusal=Refusal.of(error))


def _elect(draft: Draft, topic: str, number: int, *, unclean: bool) -> int:
    topic_id, partition = draft.known_partition(topic, number)
    named = f"partition {number} of topic {topic!r}"
    preferred = partition.preferred_leader
    if not _needed(partition, unclean=unclean):
        raise ElectionNotNeededError(f"{named} is led by {partition.leader} already")
    change = draft.change(topic_id, number, partition, UNCLEAN if unclean else PREFERRED)
    leader = partition.leader if change is None or change.leader is None else change.leader
    if unclean and leader == NO_LEADER:
        raise EligibleLeadersNotAvailableError(
            f"{named}: none of its replicas {list(partition.replicas)} is alive"
        )
    if not unclean and leader != preferred:
        raise PreferredLeaderNotAvailableError(
            f"{named}: its preferred leader {preferred} is not in the ISR {list(partition.isr)}"
        )
    return leader


def rebalance_leaders(draft: Draft, request: RebalanceLeaders) -> ControllerResult:
    """Give leadership back to preferred replicas that are in sync, a bounded number at a time, where that is wanted."""
    moved = 0
    if not broker_value(draft.floors(), "auto.leader.rebalance.enable"):
        return draft.result(LeadersRebalanced(moved=moved))
    for topic_id, number, partition in draft.partitions():
        preferred = partition.preferred_leader
        if partition.leader == preferred or preferred not in partition.isr:
            continue
        if preferred not in request.brokers:
            continue
        if moved == request.max_changes:
            return draft.result(LeadersRebalanced(moved=moved, more=True))
        moved += draft.change(topic_id, number, partition, PREFERRED) is not None
    return draft.result(LeadersRebalanced(moved=moved))

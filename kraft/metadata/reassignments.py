"""Replicas move between brokers (KIP-455).

While a reassignment is under way the assignment is the target followed by the replicas that are to go; it completes
by itself, in partition_change, with the ISR change that brings the last new replica in.
"""

from collections.abc import Iterator
from uuid import UUID

from msgspec import Struct

from kraft.metadata.assignments import check_replicas
from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.errors import (
    InvalidReplicaAssignmentError,
    MetadataError,
    NoReassignmentInProgressError,
    Refusal,
)
from kraft.metadata.image import MetadataImage, PartitionRegistration
from kraft.metadata.partition_change import Wanted
from kraft.metadata.replies import AlteredReassignment, ReassignmentsAltered
from kraft.metadata.requests import AlterPartitionReassignments, Reassignment


class OngoingReassignment(Struct, frozen=True):
    """replicas: all that hold the partition now."""

    topic: str
    partition: int
    replicas: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]


def ongoing_reassignments(image: MetadataImage) -> Iterator[OngoingReassignment]:
    """What is under way; any node can answer it from its image."""
    for topic, number, partition in image.partitions():
        if partition.reassigning:
            yield OngoingReassignment(
                topic.name, number, partition.replicas, partition.adding, partition.removing
            )


def alter_reassignments(draft: Draft, request: AlterPartitionReassignments) -> ControllerResult:
    """Begin, replace or cancel reassignments; each is taken or refused by itself."""
    altered = []
    for wanted in request.reassignments:
        refusal = None
        try:
            topic_id, partition = draft.known_partition(wanted.topic, wanted.partition)
            if wanted.replicas:
                _begin(draft, topic_id, partition, wanted)
            else:
                _cancel(draft, topic_id, partition, wanted)
        except MetadataError as error:
            refusal = Refusal.of(error)
        altered.append(
            AlteredReassignment(topic=wanted.topic, partition=wanted.partition, refusal=refusal)
        )
    return draft.result(ReassignmentsAltered(partitions=tuple(altered)))


def _begin(
    draft: Draft, topic_id: UUID, partition: PartitionRegistration, wanted: Reassignment
) -> None:
    """A newer target replaces the one under way; half-made replicas go at once, unless they hold what others lack."""
    check_replicas(draft, wanted.topic, wanted.replicas)
    target = wanted.replicas
    original = [replica for replica in partition.replicas if replica not in partition.adding]
    holders = partition.isr + partition.elr
    leaving = tuple(
        replica
        for replica in partition.replicas
        if replica not in target and (replica in original or replica in holders)
    )
    draft.change(
        topic_id,
        wanted.partition,
        partition,
        Wanted(
            replicas=target + leaving,
            adding=tuple(replica for replica in target if replica not in original),
            removing=leaving,
        ),
    )


def _cancel(
    draft: Draft, topic_id: UUID, partition: PartitionRegistration, wanted: Reassignment
) -> None:
    named = f"partition {wanted.partition} of topic {wanted.topic!r}"
    if not partition.reassigning:
        raise NoReassignmentInProgressError(f"{named} has no reassignment to cancel")
    replicas = tuple(replica for replica in partition.replicas if replica not in partition.adding)
    holders = partition.isr or partition.elr
    if not any(replica in holders for replica in replicas):
        raise InvalidReplicaAssignmentError(
            f"{named}: cancelling would leave the replicas {list(replicas)}, of which none holds all acknowledged "
            f"records; wait until one is in sync or let the reassignment complete"
        )
    draft.change(
        topic_id,
        wanted.partition,
        partition,
        Wanted(replicas=replicas, adding=(), removing=()),
    )

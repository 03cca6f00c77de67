"""The replicas of new partitions: by hand or placed, checked, and made into records."""

from collections.abc import Sequence
from uuid import UUID

from kraft.metadata.draft import Draft
from kraft.metadata.errors import (
    InvalidPartitionsError,
    InvalidReplicaAssignmentError,
    InvalidReplicationFactorError,
    PolicyViolationError,
)
from kraft.metadata.placement import UsableBroker, place
from kraft.metadata.records import PartitionRecord

MAX_PARTITIONS_PER_REQUEST = 10_000


def placed(
    draft: Draft,
    topic: str,
    partitions: int,
    replication_factor: int,
    existing: Sequence[Sequence[int]] = (),
) -> list[tuple[int, ...]]:
    """Replicas chosen by us. Raises InvalidPartitionsError, InvalidReplicationFactorError, PolicyViolationError."""
    check_count(topic, partitions)
    brokers = draft.delta.brokers()
    alive = sorted(draft.eligible)
    if not 1 <= replication_factor <= len(brokers):
        raise InvalidReplicationFactorError(
            f"topic {topic!r} cannot have replication factor {replication_factor}: {len(brokers)} brokers are "
            f"registered, {len(alive)} of them alive ({_listed(alive)}); ask for 1 to {len(brokers)}"
        )
    if not alive:
        raise InvalidReplicationFactorError(
            f"topic {topic!r} cannot be placed: none of the {len(brokers)} registered brokers is alive"
        )
    usable = [
        UsableBroker(node_id, broker.rack, broker.eligible)
        for node_id, broker in sorted(brokers.items())
    ]
    return place(usable, partitions, replication_factor, draft.rng, existing)


def check_count(topic: str, partitions: int) -> None:
    """Raises InvalidPartitionsError, PolicyViolationError."""
    if partitions < 1:
        raise InvalidPartitionsError(
            f"topic {topic!r} cannot have {partitions} partitions: it needs at least one"
        )
    if partitions > MAX_PARTITIONS_PER_REQUEST:
        raise PolicyViolationError(
            f"{partitions} new partitions of topic {topic!r} are more than one request may make "
            f"({MAX_PARTITIONS_PER_REQUEST}): create fewer and add the others afterwards"
        )


def by_hand(
    draft: Draft, topic: str, assignments: Sequence[tuple[int, ...]], replication_factor: int
) -> list[tuple[int, ...]]:
    """Assignments as they were given; all must have `replication_factor` replicas.

    Raises InvalidReplicaAssignmentError, PolicyViolationError.
    """
    check_count(topic, len(assignments))
    for replicas in assignments:
        check_replicas(draft, topic, replicas)
        if len(replicas) != replication_factor:
            raise InvalidReplicaAssignmentError(
                f"topic {topic!r} has {replication_factor} replicas a partition, the assignment "
                f"{_listed(replicas)} has {len(replicas)}"
            )
        if not any(replica in draft.eligible for replica in replicas):
            raise InvalidReplicaAssignmentError(
                f"none of the brokers {_listed(replicas)} assigned to a partition of topic {topic!r} is alive; "
                f"alive are {_listed(sorted(draft.eligible))}"
            )
    return list(assignments)


def check_replicas(draft: Draft, topic: str, replicas: Sequence[int]) -> None:
    """Raises InvalidReplicaAssignmentError naming the unknown or repeated broker."""
    if not replicas:
        raise InvalidReplicaAssignmentError(f"an assignment of topic {topic!r} names no broker")
    if len(set(replicas)) != len(replicas):
        raise InvalidReplicaAssignmentError(
            f"the assignment {_listed(replicas)} of topic {topic!r} names a broker twice"
        )
    brokers = draft.delta.brokers()
    unknown = [replica for replica in replicas if replica not in brokers]
    if unknown:
        raise InvalidReplicaAssignmentError(
            f"the assignment {_listed(replicas)} of topic {topic!r} names brokers that are not registered: "
            f"{_listed(unknown)}; registered are {_listed(sorted(brokers))}"
        )


def new_partition(
    draft: Draft, topic_id: UUID, number: int, replicas: tuple[int, ...]
) -> PartitionRecord:
    """A partition that begins with its living replicas in sync, the first of them as leader."""
    isr = tuple(replica for replica in replicas if replica in draft.eligible)
    assert isr, replicas
    return PartitionRecord(
        topic_id=topic_id, partition=number, replicas=replicas, isr=isr, leader=isr[0]
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers) or "none"

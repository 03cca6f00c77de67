"""Replicas move between brokers (KIP-455)."""

import pytest

from kraft.metadata import replies
from kraft.metadata.effective_config import topic_resource
from kraft.metadata.errors import Refusal
from kraft.metadata.reassignments import OngoingReassignment, ongoing_reassignments
from kraft.metadata.records import CLUSTER, ConfigResource
from kraft.metadata.requests import AlterPartitionReassignments, Reassignment
from storage.errors import ErrorCode
from tests.kraft.metadata.lab import Lab


def reassign(lab: Lab, *replicas: int, topic: str = "t", partition: int = 0) -> Refusal | None:
    wanted = Reassignment(topic=topic, partition=partition, replicas=replicas)
    request = AlterPartitionReassignments(reassignments=(wanted,))
    return lab.ask(request, replies.ReassignmentsAltered).partitions[0].refusal


def lab_with_topic(*replicas: int) -> Lab:
    lab = Lab(5)
    lab.create("t", replicas or (1, 2, 3))
    return lab


def state(lab: Lab) -> tuple[tuple[int, ...], ...]:
    partition = lab.partition("t")
    return (partition.replicas, partition.isr, partition.adding, partition.removing)


def test_a_reassignment_from_begin_to_end() -> None:
    lab = lab_with_topic()
    assert reassign(lab, 4, 5, 1) is None
    assert state(lab) == ((4, 5, 1, 2, 3), (1, 2, 3), (4, 5), (2, 3))
    assert list(ongoing_reassignments(lab.image)) == [
        OngoingReassignment("t", 0, (4, 5, 1, 2, 3), (4, 5), (2, 3))
    ]
    lab.propose_isr("t", (1, 2, 3, 4))
    assert lab.partition("t").reassigning
    lab.propose_isr("t", (1, 2, 3, 4, 5))
    assert state(lab) == ((4, 5, 1), (4, 5, 1), (), ())
    assert lab.partition("t").leader == 1, "it stays while it is among the replicas"
    assert list(ongoing_reassignments(lab.image)) == []


def test_fewer_replicas_at_once() -> None:
    lab = lab_with_topic()
    reassign(lab, 3, 1)
    assert state(lab) == ((3, 1), (3, 1), (), ())


def test_another_order_is_another_preferred_leader() -> None:
    lab = lab_with_topic()
    reassign(lab, 2, 1, 3)
    assert (lab.partition("t").preferred_leader, lab.partition("t").leader) == (2, 1)


def test_the_same_replicas_again_are_no_news() -> None:
    lab = lab_with_topic()
    entries = len(lab.log)
    assert reassign(lab, 1, 2, 3) is None
    assert len(lab.log) == entries


def test_a_leader_may_die_meanwhile() -> None:
    lab = lab_with_topic()
    reassign(lab, 4, 5)
    lab.fence(1)
    assert (lab.partition("t").leader, lab.partition("t").isr) == (2, (2, 3))
    lab.propose_isr("t", (2, 3, 4, 5))
    assert state(lab) == ((4, 5), (4, 5), (), ())
    assert lab.partition("t").leader == 4


@pytest.mark.parametrize("resource", [topic_resource("t"), CLUSTER])
def test_a_smaller_min_isr_may_be_all_that_a_reassignment_waited_for(
    resource: ConfigResource,
) -> None:
    lab = lab_with_topic()
    lab.configure(resource, {"min.insync.replicas": "2"})
    reassign(lab, 4, 2, 3)
    lab.fence(2, 3)
    lab.propose_isr("t", (1, 4))
    assert lab.partition("t").reassigning, "1 is still needed"
    lab.configure(resource, {"min.insync.replicas": "1"})
    assert state(lab) == ((4, 2, 3), (4,), (), ())


def test_a_reassignment_is_cancelled() -> None:
    lab = lab_with_topic()
    reassign(lab, 4, 5)
    lab.propose_isr("t", (1, 2, 3, 4))
    epoch = lab.partition("t").leader_epoch
    assert reassign(lab) is None
    assert state(lab) == ((1, 2, 3), (1, 2, 3), (), ())
    assert lab.partition("t").leader_epoch == epoch + 1, "4 and 5 must fetch no more"


def test_there_may_be_nothing_to_cancel() -> None:
    refusal = reassign(lab_with_topic())
    assert refusal is not None
    assert refusal.code == ErrorCode.NO_REASSIGNMENT_IN_PROGRESS


def test_a_cancel_that_would_lose_records_is_refused() -> None:
    lab = lab_with_topic(1)
    reassign(lab, 4, 5)
    lab.propose_isr("t", (1, 4))
    lab.fence(1)
    assert lab.partition("t").isr == (4,)
    refusal = reassign(lab)
    assert refusal is not None
    assert (refusal.code, "none holds all" in refusal.message) == (39, True)


def test_a_newer_reassignment_drops_what_is_half_made() -> None:
    lab = lab_with_topic()
    reassign(lab, 4, 2, 3)
    reassign(lab, 5, 2, 3)
    assert state(lab) == ((5, 2, 3, 1), (2, 3, 1), (5,), (1,))


def test_a_newer_reassignment_keeps_who_is_in_sync_until_it_completes() -> None:
    lab = lab_with_topic(1)
    reassign(lab, 4, 5)
    lab.propose_isr("t", (1, 4))
    lab.fence(1, 4)
    assert lab.partition("t").elr == (4,)
    reassign(lab, 2)
    assert lab.partition("t").elr == (4,), "it is the only one that holds everything"
    lab.heartbeat(4)
    assert lab.partition("t").leader == 4
    lab.propose_isr("t", (4, 2))
    assert state(lab) == ((2,), (2,), (), ())


@pytest.mark.parametrize(
    ("replicas", "topic", "partition", "code", "words"),
    [
        ((1, 9), "t", 0, ErrorCode.INVALID_REPLICA_ASSIGNMENT, "not registered: 9"),
        ((1, 1), "t", 0, ErrorCode.INVALID_REPLICA_ASSIGNMENT, "twice"),
        ((1,), "u", 0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "'u'"),
        ((1,), "t", 1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "no partition 1"),
    ],
)
def test_reassignments_that_cannot_be(
    replicas: tuple[int, ...], topic: str, partition: int, code: ErrorCode, words: str
) -> None:
    refusal = reassign(lab_with_topic(), *replicas, topic=topic, partition=partition)
    assert refusal is not None
    assert (refusal.code, words in refusal.message) == (code, True), refusal

"""ISR proposals of leaders: who may propose what (I2: KIP-841, KIP-903; I8)."""

from uuid import UUID

import pytest

from kraft.metadata import replies
from kraft.metadata.errors import StaleBrokerEpochError
from kraft.metadata.requests import (
    AlterPartition,
    AlterPartitionReassignments,
    DeleteTopics,
    IsrMember,
    IsrProposal,
    Reassignment,
    UnregisterBrokerRequest,
)
from storage.errors import ErrorCode
from tests.kraft.metadata.lab import Lab


def lab_with_topic(brokers: int = 3) -> Lab:
    lab = Lab(brokers)
    lab.create("t", (1, 2, 3), configs={"min.insync.replicas": "2"})
    return lab


def refusal(altered: replies.AlteredPartition) -> tuple[ErrorCode, str]:
    assert altered.refusal is not None
    return ErrorCode(altered.refusal.code), altered.refusal.message


def test_a_leader_shrinks_and_expands_its_isr() -> None:
    lab = lab_with_topic()
    altered = lab.propose_isr("t", (1, 2))
    assert (altered.refusal, altered.isr, altered.partition_epoch) == (None, (1, 2), 1)
    altered = lab.propose_isr("t", (3, 2, 1))
    assert (altered.refusal, altered.isr, altered.partition_epoch) == (None, (1, 2, 3), 2)
    assert (altered.leader, altered.leader_epoch) == (1, 0)


def test_who_leaves_below_the_min_isr_stays_eligible() -> None:
    lab = lab_with_topic()
    lab.propose_isr("t", (1, 2))
    lab.propose_isr("t", (1,))
    assert lab.partition("t").elr == (2,)
    lab.propose_isr("t", (1, 3))
    assert lab.partition("t").elr == ()


def test_a_proposal_of_the_isr_as_it_is_voids_those_still_on_their_way() -> None:
    """A leader that does not know what became of a proposal withdraws it so."""
    lab = lab_with_topic()
    altered = lab.propose_isr("t", (1, 2, 3))
    assert (altered.refusal, altered.isr, altered.partition_epoch) == (None, (1, 2, 3), 1)
    assert lab.partition("t").leader_epoch == 0
    late = lab.propose_isr("t", (1,), partition_epoch=0)
    assert refusal(late)[0] is ErrorCode.INVALID_UPDATE_VERSION


def test_a_fenced_replica_does_not_join() -> None:
    """KIP-841."""
    lab = lab_with_topic()
    lab.fence(3)
    code, message = refusal(lab.propose_isr("t", (1, 2, 3)))
    assert code is ErrorCode.INELIGIBLE_REPLICA
    assert "replica 3 cannot be in the ISR: it is fenced" in message


def test_a_leaving_replica_does_not_join() -> None:
    lab = lab_with_topic()
    lab.heartbeat(3, wants_shutdown=True)
    code, message = refusal(lab.propose_isr("t", (1, 2, 3)))
    assert (code, "shutting down" in message) == (ErrorCode.INELIGIBLE_REPLICA, True)


def test_a_replica_that_started_anew_does_not_join_on_its_past() -> None:
    """KIP-903, KAFKA-15221: the leader saw the last incarnation catch up."""
    lab = lab_with_topic()
    seen = lab.epoch(3)
    lab.fence(3)
    lab.start(3)
    code, message = refusal(lab.propose_isr("t", (1, 2, 3), member_epoch=seen))
    assert code is ErrorCode.INELIGIBLE_REPLICA
    assert f"it is registered with {lab.epoch(1)}" in message
    assert lab.propose_isr("t", (1, 2, 3)).refusal is None


def test_an_epoch_may_be_left_unsaid_only_of_present_members() -> None:
    lab = lab_with_topic()
    lab.propose_isr("t", (1, 2))
    code, _ = refusal(lab.propose_isr("t", (1, 2, 3), member_epoch=-1))
    assert code is ErrorCode.INELIGIBLE_REPLICA
    assert lab.propose_isr("t", (1,), member_epoch=-1).refusal is None


@pytest.mark.parametrize(
    ("isr", "override", "code"),
    [
        ((1, 2), {"leader_epoch": -1}, ErrorCode.FENCED_LEADER_EPOCH),
        ((1, 2), {"leader_epoch": 1}, ErrorCode.NOT_CONTROLLER),
        ((1, 2), {"partition_epoch": -1}, ErrorCode.INVALID_UPDATE_VERSION),
        ((1, 2), {"partition_epoch": 1}, ErrorCode.NOT_CONTROLLER),
        ((1, 2), {"leader": 2}, ErrorCode.INVALID_REQUEST),
        ((2, 3), {}, ErrorCode.INVALID_REQUEST),
        ((1, 1), {}, ErrorCode.INVALID_REQUEST),
        ((1, 4), {}, ErrorCode.INVALID_REQUEST),
        ((), {}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_proposals_from_another_picture_are_refused(
    isr: tuple[int, ...], override: dict[str, int], code: ErrorCode
) -> None:
    """I9: retriable codes where the metadata log will bring the truth, others where the leader is wrong."""
    lab = lab_with_topic(4)
    entries = len(lab.log)
    found, message = refusal(lab.propose_isr("t", isr, **override))
    assert (found, len(lab.log)) == (code, entries)
    assert "partition 0 of topic" in message


def test_an_unregistered_replica_does_not_join() -> None:
    lab = lab_with_topic()
    lab.ask(UnregisterBrokerRequest(node_id=3), replies.Done)
    code, message = refusal(lab.propose_isr("t", (1, 2, 3)))
    assert (code, "not registered" in message) == (ErrorCode.INELIGIBLE_REPLICA, True)


def test_a_leader_of_a_deleted_topic_changes_nothing_in_its_successor() -> None:
    """I8, KAFKA-12257."""
    lab = lab_with_topic()
    old = lab.image.topics_by_name["t"].topic_id
    lab.ask(DeleteTopics(names=("t",)), replies.TopicsDeleted)
    lab.create("t", (1, 2, 3))
    proposal = IsrProposal(
        topic_id=old,
        partition=0,
        leader_epoch=0,
        partition_epoch=0,
        isr=(IsrMember(1, lab.epoch(1)),),
    )
    gone = IsrProposal(
        topic_id=lab.image.topics_by_name["t"].topic_id,
        partition=7,
        leader_epoch=0,
        partition_epoch=0,
        isr=(IsrMember(1, lab.epoch(1)),),
    )
    request = AlterPartition(node_id=1, broker_epoch=lab.epoch(1), proposals=(proposal, gone))
    altered = lab.ask(request, replies.PartitionsAltered).partitions
    assert refusal(altered[0])[0] is ErrorCode.UNKNOWN_TOPIC_ID
    assert refusal(altered[1])[0] is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert lab.partition("t").isr == (1, 2, 3)
    assert UUID(int=0) != old


def test_a_leader_that_was_replaced_by_its_next_incarnation_is_refused() -> None:
    lab = lab_with_topic()
    old = lab.epoch(1)
    lab.fence(1)
    lab.start(1)
    with pytest.raises(StaleBrokerEpochError):
        lab.ask(
            AlterPartition(node_id=1, broker_epoch=old, proposals=()), replies.PartitionsAltered
        )


def test_a_leader_that_completes_its_own_replacement_is_told() -> None:
    lab = lab_with_topic(4)
    wanted = Reassignment(topic="t", partition=0, replicas=(4, 2))
    lab.ask(AlterPartitionReassignments(reassignments=(wanted,)), replies.ReassignmentsAltered)
    altered = lab.propose_isr("t", (1, 2, 3, 4))
    assert refusal(altered)[0] is ErrorCode.NEW_LEADER_ELECTED
    assert (altered.leader, altered.isr) == (4, (4, 2))
    assert lab.partition("t").replicas == (4, 2)

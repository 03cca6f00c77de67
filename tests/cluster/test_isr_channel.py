"""ISR proposals on their way: the leader's own epoch is the one it has now, and every refusal comes back."""

from uuid import UUID

from cluster.isr_channel import isr_channel
from cluster.replication.isr_proposals import IsrAnswer, IsrProposal
from cluster.replication.partition import TopicIdPartition
from kraft.metadata.errors import IneligibleReplicaError, Refusal
from kraft.metadata.replies import AlteredPartition, PartitionsAltered, Reply
from kraft.metadata.requests import AlterPartition, IsrMember
from storage.errors import ErrorCode
from tests.simulation.loop import simulate

GOOD, BAD = UUID(int=1), UUID(int=2)


class Controller:
    """Refuses what belongs to the topic BAD."""

    def __init__(self) -> None:
        self.asked: list[AlterPartition] = []

    async def ask_once(self, request: object, _timeout_s: float) -> Reply:
        assert isinstance(request, AlterPartition)
        self.asked.append(request)
        refusal = Refusal.of(IneligibleReplicaError("fenced"))
        return PartitionsAltered(
            partitions=tuple(
                AlteredPartition(
                    topic_id=each.topic_id,
                    partition=each.partition,
                    refusal=refusal if each.topic_id == BAD else None,
                )
                for each in request.proposals
            )
        )


def test_proposals_and_answers_come_through() -> None:
    """KIP-903: members as the leader saw them, itself as it is registered now."""
    controller = Controller()
    propose = isr_channel(1, controller, lambda: 11)  # type: ignore[arg-type]
    members = {1: -1, 2: 22}
    wanted = [IsrProposal(TopicIdPartition(topic_id, 0), 5, 7, members) for topic_id in (GOOD, BAD)]

    async def ask() -> list[IsrAnswer]:
        return await propose(wanted)

    assert simulate(ask()) == [
        IsrAnswer(TopicIdPartition(GOOD, 0), ErrorCode.NONE),
        IsrAnswer(TopicIdPartition(BAD, 0), ErrorCode.INELIGIBLE_REPLICA),
    ]
    request = controller.asked[0]
    assert (request.node_id, request.broker_epoch) == (1, 11)
    assert request.proposals[0].isr == (IsrMember(1, 11), IsrMember(2, 22))
    assert (request.proposals[0].leader_epoch, request.proposals[0].partition_epoch) == (5, 7)

"""ISR proposals as requests to the active controller."""

from collections.abc import Callable

from cluster.failover.controller_client import ControllerClient
from cluster.replication.isr_proposals import IsrAnswer, IsrProposal, Propose
from cluster.replication.partition import TopicIdPartition
from kraft.metadata import requests
from kraft.metadata.replies import PartitionsAltered
from storage.errors import ErrorCode

TIMEOUT_S = 2.0


def isr_channel(
    node_id: int, controller: ControllerClient, broker_epoch: Callable[[], int]
) -> Propose:
    """The `propose` of IsrProposals."""

    async def propose(proposals: list[IsrProposal]) -> list[IsrAnswer]:
        request = requests.AlterPartition(
            node_id=node_id,
            broker_epoch=broker_epoch(),
            proposals=tuple(
                requests.IsrProposal(
                    topic_id=each.identity.topic_id,
                    partition=each.identity.partition,
                    leader_epoch=each.leader_epoch,
                    partition_epoch=each.partition_epoch,
                    isr=tuple(
                        requests.IsrMember(member, broker_epoch() if member == node_id else epoch)
                        for member, epoch in each.members.items()
                    ),
                )
                for each in proposals
            ),
        )
        reply = await controller.ask_once(request, TIMEOUT_S)
        assert isinstance(reply, PartitionsAltered), reply
        return [
            IsrAnswer(
                TopicIdPartition(each.topic_id, each.partition),
                ErrorCode(each.refusal.code) if each.refusal else ErrorCode.NONE,
            )
            for each in reply.partitions
        ]

    return propose

"""ISR changes on their way to the controller: proposed in batches, repeated until they are answered.

A proposal is over when the metadata log brings a newer partition epoch, or when the controller definitely refuses its
only sending. Silence proves nothing: it is sent again, while the partition goes on counting with the maximal ISR. So is
what is refused for newer metadata: they may be a change that its controller never got committed. When a proposal of
which one sending has an unknown fate is refused, the leader proposes its committed ISR instead: once that is taken,
whatever is still on its way comes too late (kraft.metadata.isr_changes says what an answer proves).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

import structlog

from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from kraft.metadata.isr_changes import DEFINITE_REFUSALS
from storage.errors import ErrorCode, OttlaError

log = structlog.get_logger("isr")

RETRY_S = 0.1
REST_S = 0.3
MAX_BATCH = 1000


class IsrProposal(NamedTuple):
    """The ISR that a leader wants. members: node id -> the broker epoch that the leader has seen (KIP-903).

    doubtful: an earlier sending may still arrive.
    """

    identity: TopicIdPartition
    leader_epoch: int
    partition_epoch: int
    members: Mapping[int, int]
    doubtful: bool = False


class IsrAnswer(NamedTuple):
    """What the controller said of one proposal."""

    identity: TopicIdPartition
    error: ErrorCode


# (node id, broker epoch) -> whether that incarnation may be in an ISR, as far as this node knows.
Eligible = Callable[[int, int], bool]
# Sends once, and raises OttlaError when it is not known what became of it.
Propose = Callable[[list[IsrProposal]], Awaitable[list[IsrAnswer]]]


class IsrProposals:
    """One task sends what partitions want changed; `propose` asks the controller and raises OttlaError on silence."""

    def __init__(self, propose: Propose, eligible: Eligible) -> None:
        self._propose = propose
        self._eligible = eligible
        self._waiting: dict[TopicIdPartition, tuple[Partition, IsrProposal]] = {}
        self._resting: dict[Partition, None] = {}
        self._wake = asyncio.Event()

    def consider_join(self, partition: Partition) -> None:
        """Propose the follower that has become fit to join, if there is one."""
        state = partition.role
        if not isinstance(state, LeaderState) or partition in self._resting:
            return
        joining = state.may_join(self._eligible)
        if joining is not None:
            log.info("replica caught up", partition=partition.name, replica=joining)
            self._send(partition, state, state.propose_join(joining))

    def consider_leave(self, partition: Partition, lag_time_max_ms: int, now_ms: int) -> None:
        """Propose to remove members that have fallen behind, or whose disks are full."""
        state = partition.role
        if not isinstance(state, LeaderState):
            return
        behind = state.lagging(partition.log.log_end_offset, lag_time_max_ms, now_ms)
        full = state.without_room(behind)
        if behind:
            log.warning("replicas fell behind", partition=partition.name, replicas=sorted(behind))
        if full:
            log.warning("replicas have no room", partition=partition.name, replicas=sorted(full))
        if behind or full:
            self._send(partition, state, state.propose_leave(behind | full))

    async def run(self) -> None:
        """Send proposals as they come, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch = list(self._waiting.values())[:MAX_BATCH]
            current = [
                (partition, each) for partition, each in batch if _still_wanted(partition, each)
            ]
            for _, each in batch:
                self._waiting.pop(each.identity, None)
            if current:
                await self._ask(current)
            if self._waiting:
                self._wake.set()

    def _send(self, partition: Partition, state: LeaderState, members: Mapping[int, int]) -> None:
        self._waiting[partition.identity] = (
            partition,
            IsrProposal(partition.identity, state.leader_epoch, state.partition_epoch, members),
        )
        self._wake.set()

    async def _ask(self, batch: list[tuple[Partition, IsrProposal]]) -> None:
        try:
            answers = await self._propose([each for _, each in batch])
        except OttlaError as error:
            log.info("the controller did not answer an ISR proposal", reason=str(error))
            self._again((partition, each._replace(doubtful=True)) for partition, each in batch)
            await asyncio.sleep(RETRY_S)
            return
        codes = {answer.identity: answer.error for answer in answers if answer.error}
        for partition, proposal in batch:
            code = codes.get(proposal.identity)
            if code is None:
                continue
            log.info("ISR proposal refused", partition=partition.name, error=code.name)
            if not _still_wanted(partition, proposal):
                continue
            if code in DEFINITE_REFUSALS:
                self._refused(partition, proposal)
            else:
                self._again_later(partition, proposal._replace(doubtful=True))

    def _refused(self, partition: Partition, proposal: IsrProposal) -> None:
        state = partition.role
        assert isinstance(state, LeaderState), "only a leader's proposals are still wanted"
        if proposal.doubtful:
            members = state.withdrawal()
            self._again([(partition, proposal._replace(members=members))])
            return
        if state.proposal_refused(proposal.partition_epoch):
            partition.commit()
        self._rest(partition)

    def _rest(self, partition: Partition) -> None:
        """After a refusal, ask again only after a while: the reason (a fenced broker, say) needs time to go."""
        self._resting[partition] = None

        def rested() -> None:
            self._resting.pop(partition, None)
            self.consider_join(partition)

        asyncio.get_running_loop().call_later(REST_S, rested)

    def _again_later(self, partition: Partition, proposal: IsrProposal) -> None:
        asyncio.get_running_loop().call_later(REST_S, self._again, [(partition, proposal)])

    def _again(self, batch: Iterable[tuple[Partition, IsrProposal]]) -> None:
        for partition, proposal in batch:
            self._waiting.setdefault(proposal.identity, (partition, proposal))
        self._wake.set()


def _still_wanted(partition: Partition, proposal: IsrProposal) -> bool:
    state = partition.role
    return (
        isinstance(state, LeaderState)
        and state.leader_epoch == proposal.leader_epoch
        and state.partition_epoch == proposal.partition_epoch
        and state.in_flight
    )

"""ISR proposals whose fate is known, unknown, or both (bugs.md I3)."""

import asyncio
from collections.abc import Callable

import pytest

from cluster.replication.isr_proposals import REST_S, IsrAnswer, IsrProposal, IsrProposals
from cluster.replication.partition import Partition
from storage.errors import ErrorCode, OttlaError
from tests.cluster.replication.replicas import append, lead, replica
from tests.simulation.cluster import until
from tests.simulation.loop import simulate

Answer = ErrorCode | None


class Controller:
    """Answers by the book: an error code, or None for silence."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[IsrProposal] = []

    async def propose(self, proposals: list[IsrProposal]) -> list[IsrAnswer]:
        await asyncio.sleep(0.001)
        self.asked += proposals
        answer = self.answers.pop(0) if self.answers else ErrorCode.NONE
        if answer is None:
            raise OttlaError("silence")
        return [IsrAnswer(each.identity, answer) for each in proposals]


def after(controller: Controller, asked: int, check: Callable[[Partition], None]) -> None:
    """Node 1 leads alone, node 2 has caught up; look when the controller was asked so often."""

    async def run() -> None:
        partition = replica(1)
        state = lead(partition, 1, isr=(1,), min_isr=1)
        append(partition, b"a")
        state.follower_acked(2, 1, log_end_offset=1, broker_epoch=20, now_ms=0)
        proposals = IsrProposals(controller.propose, lambda node, epoch: epoch == 20)
        running = asyncio.get_running_loop().create_task(proposals.run())
        proposals.consider_join(partition)
        await until(lambda: len(controller.asked) >= asked, 5.0, f"{asked} proposals")
        await asyncio.sleep(0.01)
        check(partition)
        running.cancel()

    simulate(run())


def test_a_proposal_that_was_taken_stays_in_flight_until_the_metadata_says_so() -> None:
    controller = Controller(ErrorCode.NONE)

    def check(partition: Partition) -> None:
        assert partition.leader().in_flight
        assert dict(controller.asked[0].members) == {1: -1, 2: 20}

    after(controller, 1, check)


def test_silence_proves_nothing_and_is_asked_again() -> None:
    controller = Controller(None, None)

    def check(partition: Partition) -> None:
        assert partition.leader().in_flight
        assert [each.doubtful for each in controller.asked] == [False, True, True]

    after(controller, 3, check)


def test_what_cannot_be_false_alone_stays_in_flight() -> None:
    """These answers may mean that an earlier sending was taken."""
    for code in (ErrorCode.INVALID_UPDATE_VERSION, ErrorCode.NOT_CONTROLLER):
        after(Controller(code), 1, lambda partition: _in_flight(partition, True))


@pytest.mark.parametrize(
    "code",
    [ErrorCode.INVALID_UPDATE_VERSION, ErrorCode.FENCED_LEADER_EPOCH, ErrorCode.NOT_CONTROLLER],
)
def test_what_is_refused_for_newer_metadata_is_asked_again_until_they_come(code: ErrorCode) -> None:
    """They may be a change that is never committed: then nothing else would ever end what is in flight."""

    async def run() -> None:
        controller = Controller(code)
        partition = replica(1)
        state = lead(partition, 1, isr=(1,), min_isr=1)
        proposals = IsrProposals(controller.propose, lambda _node, _epoch: True)
        running = asyncio.get_running_loop().create_task(proposals.run())
        state.follower_acked(2, 0, log_end_offset=0, broker_epoch=20, now_ms=0)
        proposals.consider_join(partition)
        await asyncio.sleep(REST_S / 2)
        assert [each.doubtful for each in controller.asked] == [False]
        await asyncio.sleep(REST_S)
        assert [each.doubtful for each in controller.asked] == [False, True]
        controller.answers = [code]
        proposals._again([(partition, controller.asked[0])])
        await until(lambda: len(controller.asked) == 3, 1.0, "another refusal")
        state.metadata_changed(partition_epoch=2, replicas=(1, 2), isr=(1, 2), now_ms=0)
        await asyncio.sleep(2 * REST_S)
        assert len(controller.asked) == 3
        running.cancel()

    simulate(run())


def test_the_definite_refusal_of_the_only_sending_ends_it() -> None:
    after(
        Controller(ErrorCode.INELIGIBLE_REPLICA), 1, lambda partition: _in_flight(partition, False)
    )


def test_a_refusal_after_silence_is_answered_with_a_withdrawal() -> None:
    """The first sending may still be on its way: only a newer partition epoch makes it come too late."""
    controller = Controller(None, ErrorCode.INELIGIBLE_REPLICA)

    def check(partition: Partition) -> None:
        assert partition.leader().in_flight
        assert dict(controller.asked[2].members) == {1: -1}

    after(controller, 3, check)


def test_a_refused_joiner_is_proposed_again_after_a_rest() -> None:
    """What made it unfit needs time to go; without a rest leader and controller would talk of nothing else."""

    async def run() -> None:
        controller = Controller(ErrorCode.INELIGIBLE_REPLICA)
        partition = replica(1)
        state = lead(partition, 1, isr=(1,), min_isr=1)
        proposals = IsrProposals(controller.propose, lambda _node, _epoch: True)
        running = asyncio.get_running_loop().create_task(proposals.run())
        state.follower_acked(2, 0, log_end_offset=0, broker_epoch=20, now_ms=0)
        proposals.consider_join(partition)
        await until(lambda: controller.asked and not state.in_flight, 1.0, "the refusal")
        proposals.consider_join(partition)
        await asyncio.sleep(REST_S / 2)
        assert len(controller.asked) == 1
        await asyncio.sleep(REST_S)
        assert len(controller.asked) == 2
        running.cancel()

    simulate(run())


def test_a_refusal_of_what_a_replica_was_before_it_left_does_not_rest_its_successor() -> None:
    """It may be assigned here again at once, and its follower says only once that it has caught up."""

    async def run() -> None:
        controller = Controller(ErrorCode.INELIGIBLE_REPLICA)
        before, after = replica(1), replica(1)
        proposals = IsrProposals(controller.propose, lambda _node, _epoch: True)
        running = asyncio.get_running_loop().create_task(proposals.run())
        for partition in (before, after):
            state = lead(partition, 1, isr=(1,), min_isr=1)
            state.follower_acked(2, 0, log_end_offset=0, broker_epoch=20, now_ms=0)
            proposals.consider_join(partition)
            await asyncio.sleep(0.01)
            if partition is before:
                partition.close()
        assert len(controller.asked) == 2
        assert after.leader().in_flight
        running.cancel()

    simulate(run())


def _in_flight(partition: Partition, wanted: bool) -> None:
    assert partition.leader().in_flight is wanted

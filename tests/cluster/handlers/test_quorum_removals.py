"""Changes of the quorum that must not be made."""

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.handlers.quorum import QuorumHandler
from kraft.metadata.errors import InvalidRequestError
from kraft.raft.membership import ChangeKind, Member, MembershipChange
from tests.simulation.loop import simulate


def remove(
    node: int, alive: Collection[int], dead: Collection[int] = (), *, learners: tuple[int, ...] = ()
) -> list[MembershipChange]:
    """Ask the leader, node 1, to remove a node; what it proposed. The dead were heard of a moment before."""
    proposed: list[MembershipChange] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def now_ms() -> int:
            return int(loop.time() * 1000)

        began_ms = now_ms()

        class Driver:
            def status(self) -> Any:
                followers = [
                    SimpleNamespace(node_id=each, match_index=1, last_contact_ms=heard_ms)
                    for those, heard_ms in ((alive, now_ms()), (dead, began_ms))
                    for each in those
                ]
                members = [Member(each, f"h:{each}", each not in learners) for each in nodes]
                return SimpleNamespace(leader_id=1, members=members, followers=followers)

            async def propose_membership(self, change: MembershipChange) -> object:
                proposed.append(change)
                return None

            async def transfer_leadership(self, target: int) -> None:
                raise AssertionError(target)

        nodes = [1, *alive, *dead]
        network: Any = None
        handler = QuorumHandler(
            1, Driver(), network, lambda _: None, lambda: "nobody leads", now_ms
        )
        await handler.remove(node)

    simulate(run())
    return proposed


def test_a_removal_that_would_leave_no_majority_alive_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"voters are 1, 3, .* only 1 can be heard"):
        remove(2, [2], [3])
    with pytest.raises(InvalidRequestError, match=r"voters are 2, 3, .* only 2 can be heard"):
        remove(1, [2], [3])


@pytest.mark.parametrize("node", [1, 2, 3])
def test_any_voter_can_be_removed_while_all_are_alive(node: int) -> None:
    assert [(each.kind, each.node_id) for each in remove(node, [2, 3])] == [
        (ChangeKind.REMOVE, node)
    ]


def test_a_dead_voter_can_be_removed() -> None:
    assert remove(3, [2], [3])


def test_dead_learners_do_not_count_and_can_be_removed() -> None:
    assert remove(2, [2, 3], [4], learners=(4,))
    assert remove(4, [2, 3], [4], learners=(4,))

"""Changes of the quorum that must not be made."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.handlers.quorum import QuorumHandler
from kraft.metadata.errors import InvalidRequestError
from kraft.raft.membership import ChangeKind, Member, MembershipChange

NOW_MS = 100_000


def remove(
    node: int, heard_ms_ago: Mapping[int, int], *, me: int = 1, learners: tuple[int, ...] = ()
) -> list[MembershipChange]:
    """Ask the leader `me`, which heard of the others so long ago, to remove a node; what it proposed."""
    proposed: list[MembershipChange] = []
    nodes = [me, *heard_ms_ago]
    status = SimpleNamespace(
        leader_id=me,
        members=tuple(Member(each, f"h:{each}", each not in learners) for each in nodes),
        followers=tuple(
            SimpleNamespace(node_id=each, match_index=1, last_contact_ms=NOW_MS - ago)
            for each, ago in heard_ms_ago.items()
        ),
    )

    class Driver:
        def status(self) -> Any:
            return status

        async def propose_membership(self, change: MembershipChange) -> object:
            proposed.append(change)
            return None

        async def transfer_leadership(self, target: int) -> None:
            raise AssertionError(target)

    network: Any = None
    handler = QuorumHandler(me, Driver(), network, lambda _: None, lambda: NOW_MS)
    asyncio.run(handler.remove(node))
    return proposed


def test_a_removal_that_would_leave_no_majority_alive_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"voters are 1, 3, .* only 1 can be heard"):
        remove(2, {2: 10, 3: 60_000})
    with pytest.raises(InvalidRequestError, match=r"voters are 2, 3, .* only 2 can be heard"):
        remove(1, {2: 10, 3: 60_000})


@pytest.mark.parametrize("node", [1, 2, 3])
def test_any_voter_can_be_removed_while_all_are_alive(node: int) -> None:
    assert [(each.kind, each.node_id) for each in remove(node, {2: 10, 3: 2999})] == [
        (ChangeKind.REMOVE, node)
    ]


def test_a_dead_voter_can_be_removed() -> None:
    assert remove(3, {2: 10, 3: 60_000})


def test_silent_learners_do_not_count() -> None:
    assert remove(2, {2: 10, 4: 60_000}, learners=(4,))

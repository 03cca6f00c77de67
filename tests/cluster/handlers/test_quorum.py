"""Operators' requests are carried out by the quorum's leader and by nobody else, and handed on once."""

from dataclasses import replace

import msgspec
import pytest

from cluster.handlers.quorum import Join, QuorumHandler, VoterError
from cluster.peers.network import Peer, PeerGoneError
from kraft.raft.membership import ChangeKind, Member, MembershipChange
from kraft.raft.progress import ReplicationState
from kraft.raft.ready import Role
from kraft.raft.status import FollowerStatus, RaftStatus
from storage.errors import ErrorCode, OttlaError
from tests.simulation.loop import simulate

MEMBERS = (
    Member(1, "node1:9190"),
    Member(2, "node2:9190"),
    Member(3, "node3:9190"),
    Member(4, "node4:9190", voter=False),
)
MATCH = {2: 90, 3: 95, 4: 99}
LEADING = RaftStatus(
    node_id=1,
    role=Role.LEADER,
    term=5,
    leader_id=1,
    commit_index=95,
    applied_index=95,
    persisted_index=100,
    first_index=1,
    last_index=100,
    snapshot_index=0,
    members=MEMBERS,
    transfer_target=None,
    followers=tuple(
        FollowerStatus(node_id, match, ReplicationState.REPLICATE, last_contact_ms=1)
        for node_id, match in MATCH.items()
    ),
)


class Node:
    """Node 1, its driver, and the calls that it makes to others, which nobody answers."""

    def __init__(self, status: RaftStatus) -> None:
        self._status = status
        self.changes: list[MembershipChange] = []
        self.transfers: list[int] = []
        self.calls: list[int] = []
        self.handler = QuorumHandler(
            1,
            self,
            self,  # type: ignore[arg-type]
            lambda node_id: Peer(node_id, f"node{node_id}:9190"),
            lambda: "nobody leads",
            lambda: 0,
        )

    def status(self) -> RaftStatus:
        """The driver's."""
        return self._status

    async def propose_membership(self, change: MembershipChange) -> int:
        """The driver's."""
        self.changes.append(change)
        return 1

    async def transfer_leadership(self, target: int) -> None:
        """The driver's."""
        self.transfers.append(target)

    async def call(self, peer: Peer, _method: str, _request: bytes, _timeout_s: float) -> bytes:
        """The network's."""
        self.calls.append(peer.node_id)
        raise PeerGoneError("nobody answers")

    def serve(self, request: Join) -> ErrorCode | None:
        """What a peer that sends this is refused with."""
        answer = msgspec.msgpack.decode(
            simulate(self.handler.serve(msgspec.msgpack.encode(request)))
        )
        refusal = answer["refusal"]
        return None if refusal is None else ErrorCode(refusal["code"])


def test_the_leader_admits_a_node_and_takes_its_new_address() -> None:
    node = Node(LEADING)
    assert node.serve(Join(5, "node5:9190")) is None
    assert node.serve(Join(4, "elsewhere:9190")) is None
    assert node.serve(Join(4, "node4:9190")) is None
    assert [(each.kind, each.node_id) for each in node.changes] == [
        (ChangeKind.ADD_LEARNER, 5),
        (ChangeKind.UPDATE, 4),
    ]


def test_who_does_not_lead_changes_nothing() -> None:
    """R9: a change must be appended by the leader of a term that knows what is committed."""
    node = Node(replace(LEADING, role=Role.FOLLOWER, leader_id=2, followers=()))
    assert node.serve(Join(5, "node5:9190", forwarded=True)) == ErrorCode.NOT_CONTROLLER
    assert node.changes == []


def test_a_question_is_handed_on_once() -> None:
    """Two nodes that take each other for the leader would ask each other for ever."""
    node = Node(replace(LEADING, role=Role.FOLLOWER, leader_id=2, followers=()))
    assert node.serve(Join(5, "node5:9190")) == ErrorCode.BROKER_NOT_AVAILABLE
    assert node.calls == [2]
    node.serve(Join(5, "node5:9190", forwarded=True))
    assert node.calls == [2]


@pytest.mark.parametrize("target", [4, 9])
def test_leadership_goes_to_voters_only(target: int) -> None:
    node = Node(LEADING)
    with pytest.raises(VoterError, match=f"node {target} is not a voter"):
        simulate(node.handler.transfer(target))
    assert node.transfers == []


def test_leadership_goes_to_the_voter_furthest_ahead() -> None:
    node = Node(LEADING)
    assert simulate(node.handler.transfer(-1)) == 3
    assert simulate(node.handler.transfer(1)) == 1
    assert node.transfers == [3]


def test_only_members_become_voters_or_are_removed() -> None:
    node = Node(LEADING)
    for change in (node.handler.add, node.handler.remove):
        with pytest.raises(OttlaError, match="node 9 is no member"):
            simulate(change(9))
    simulate(node.handler.add(4))
    simulate(node.handler.remove(3))
    assert [(each.kind, each.node_id) for each in node.changes] == [
        (ChangeKind.PROMOTE, 4),
        (ChangeKind.REMOVE, 3),
    ]


def test_a_silent_leader_leaves_what_is_known_here() -> None:
    node = Node(replace(LEADING, role=Role.FOLLOWER, leader_id=2, followers=()))
    described = simulate(node.handler.describe())
    assert (described.node_id, described.leader_id) == (1, 2)
    assert {each.node_id: each.match_index for each in described.replicas} == {
        1: 100,
        2: -1,
        3: -1,
        4: -1,
    }

"""Who led the quorum before: the next controller suspects it first."""

from typing import Any

from cluster.quorum_port import QuorumPort
from kraft.raft.ready import LeadershipFact, Role
from tests.simulation.loop import simulate


def test_the_leader_before_the_one_of_now_is_known() -> None:
    async def run() -> None:
        driver: Any = None
        port = QuorumPort(1, driver, frozenset)
        for term, leader_id in enumerate((2, None, 3, 3, None, 1)):
            port.leadership_changed(LeadershipFact(0, term, Role.FOLLOWER, leader_id, "a test"))
        assert port.previous_leader == 3

    simulate(run())

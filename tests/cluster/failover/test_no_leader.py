"""What operators are told when the metadata quorum has no leader."""

import asyncio

import pytest

from cluster.failover.controller_client import ControllerUnavailableError
from cluster.failover.no_leader import no_leader
from kraft.metadata.errors import NotControllerError
from kraft.metadata.requests import DeleteTopics
from tests.simulation.cluster import SimCluster, until
from tests.simulation.loop import simulate


@pytest.mark.parametrize(
    ("voters", "gone", "said"),
    [
        (
            {1, 2, 3},
            {2, 3},
            "nodes 1, 2 and 3, 2 of them must be up, and nobody answers at nodes 2 and 3; start",
        ),
        (
            {1, 2},
            {2, 9},
            "nodes 1 and 2, 2 of them must be up, and nobody answers at node 2; start it",
        ),
        ({1, 2, 3}, {3}, "2 of them must be up (nobody answers at 3) and reach each other"),
        ({1, 2, 3}, set(), "2 of them must be up and reach each other"),
        ({7}, {7}, "its voters are nodes 7, 1 of them must be up, and nobody answers at node 7"),
    ],
)
def test_it_names_the_voters_and_the_way_out(voters: set[int], gone: set[int], said: str) -> None:
    text = no_leader(1, voters, gone)
    assert text.startswith("there is no controller: node 1 knows no leader")
    assert said in text


def test_a_change_without_a_majority_says_what_is_missing() -> None:
    async def run() -> None:
        cluster = SimCluster(1, 3)
        cluster.start()
        await until(
            lambda: any(broker.controller.active for broker in cluster.brokers()),
            10,
            "a controller",
        )
        for node in cluster.nodes[1:]:
            await node.crash(power_loss=False)
        left = cluster.node(1).broker
        assert left is not None
        await asyncio.sleep(5)
        with pytest.raises(ControllerUnavailableError, match="nobody answers at nodes 2 and 3"):
            await left.admin.change(DeleteTopics(names=("t",)), 1.0)
        with pytest.raises(NotControllerError, match="nobody answers at nodes 2 and 3"):
            await left.quorum.remove(2)
        await cluster.stop()

    simulate(run())

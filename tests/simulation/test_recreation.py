"""Deletion and recreation of a topic's name under faults (bugs.md I8, KAFKA-12257)."""

import pytest

from tests.simulation.faults import Fault
from tests.simulation.loop import simulate
from tests.simulation.recreation import run_recreation

CHUNK = 10


@pytest.mark.parametrize("first", range(0, 30, CHUNK))
def test_a_recreated_topic_shares_nothing_with_the_one_before(first: int) -> None:
    lives = [simulate(run_recreation(seed)) for seed in range(first, first + CHUNK)]
    assert max(lives) > 1, "no topic was ever deleted and made again: this proved nothing"


def test_a_node_that_slept_through_the_deletion_takes_part_in_the_new_topic() -> None:
    """Its old log lies in the folder that the new one needs: it is removed because its id is nobody's any more."""
    faults = [Fault(0.3, "crash", 3), Fault(3.0, "restart")]
    assert simulate(run_recreation(7, faults)) > 2

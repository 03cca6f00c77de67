"""G3 for KIP-848 groups: whatever is lost, repeated, paused or moved, nobody reads what another reads; all is read."""

import pytest

from tests.cluster.groups.consumer_simulation import (
    REBALANCE_MS,
    REQUEST_TIMEOUT_MS,
    SESSION_MS,
    Simulation,
)

SEEDS_A_CHUNK = 10
# Who is gone is noticed, who comes back joins, and twice partitions are let go and given out.
QUIET_MS = SESSION_MS * 3 + REBALANCE_MS + 20 * REQUEST_TIMEOUT_MS


def simulate(seed: int, *, breaks: bool = False) -> Simulation:
    """Two minutes of faults, then quiet."""
    simulation = Simulation(seed, same_topics=seed % 2 == 0, breaks=breaks)
    simulation.run(120_000)
    simulation.faults = simulation.house.hold = False
    simulation.run(QUIET_MS)
    assert simulation.settled(), f"seed {seed}"
    return simulation


@pytest.mark.parametrize("chunk", range(4))
def test_no_partition_has_two_readers_and_all_are_read_in_the_end(chunk: int) -> None:
    moved = 0
    for seed in range(chunk * SEEDS_A_CHUNK, (chunk + 1) * SEEDS_A_CHUNK):
        moved += simulate(seed).moved
    assert moved > SEEDS_A_CHUNK, "the coordinator moved too rarely to say anything"


@pytest.mark.parametrize("chunk", range(2))
def test_connections_that_break_change_nothing_of_that(chunk: int) -> None:
    for seed in range(chunk * SEEDS_A_CHUNK, (chunk + 1) * SEEDS_A_CHUNK):
        simulate(seed, breaks=True)


def test_equal_seeds_make_equal_histories() -> None:
    assert simulate(3).house.log == simulate(3).house.log

"""Classic groups under seeded faults. A failure says its seed; `simulate(seed)` plays it again."""

from collections import Counter

import pytest

from tests.cluster.groups.simulation import Simulation

SEEDS = 400
CHUNK = 50
LEAST = {
    "commits": 1000,
    "moves": 200,
    "REBALANCE_IN_PROGRESS": 100,
    "fenced": 10,
    "ILLEGAL_GENERATION": 2,
}


def simulate(seed: int, *, breaks: bool = False) -> Counter[str]:
    """One history. Returns how often what happened."""
    simulation = Simulation(seed, breaks=breaks)
    try:
        simulation.play(200_000)
        simulation.settle()
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    return simulation.seen


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_commits_and_ownership_survive_whatever_happens(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        seen += simulate(seed)
    # A simulation in which nothing happens proves nothing.
    assert all(seen[each] >= least for each, least in LEAST.items()), seen


@pytest.mark.parametrize("first", range(0, SEEDS // 2, CHUNK))
def test_they_survive_connections_that_break(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + CHUNK):
        seen += simulate(seed, breaks=True)
    assert seen["breaks"] > 100 * CHUNK
    assert all(seen[each] >= least for each, least in LEAST.items()), seen


def test_equal_seeds_make_equal_histories() -> None:
    assert simulate(7) == simulate(7)

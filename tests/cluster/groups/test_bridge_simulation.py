"""G3 while a group changes its protocol: of who read a partition one at most could commit, and all is read."""

from collections import Counter

import pytest

from tests.cluster.groups.bridge_house import REBALANCE_MS
from tests.cluster.groups.bridge_simulation import BridgeSimulation
from tests.cluster.groups.consumer_simulation import SESSION_MS

SEEDS_A_CHUNK = 10
# A join whose answer was lost is waited for, then whoever is gone is noticed, and partitions move twice.
QUIET_MS = 3 * REBALANCE_MS + 5 * SESSION_MS


def simulate(seed: int) -> BridgeSimulation:
    """All classic, then more and more of the new protocol, then back; and quiet, whatever it is then."""
    simulation = BridgeSimulation(seed)
    for share in (0.0, 0.5, 1.0, 0.5, 0.0, 0.5):
        simulation.new_share = share
        simulation.run(25_000)
    simulation.faults = simulation.house.hold = False
    simulation.run(QUIET_MS)
    assert simulation.settled(), f"seed {seed}"
    return simulation


@pytest.mark.parametrize("chunk", range(4))
def test_no_partition_has_two_readers_and_all_are_read_in_the_end(chunk: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(chunk * SEEDS_A_CHUNK, (chunk + 1) * SEEDS_A_CHUNK):
        seen += simulate(seed).seen
    for what, least in (("classic to new", 10), ("new to classic", 5), ("classic among new", 500)):
        assert seen[what] >= least, f"{what} came about too rarely to say anything: {seen}"


def test_equal_seeds_make_equal_histories() -> None:
    assert simulate(3).house.log == simulate(3).house.log

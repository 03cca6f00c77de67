"""Thousands of histories by chance: the invariants hold after every event, and after healing everybody converges.

Replay one seed with `simulate(seed)`; what hypothesis finds it shrinks to a schedule that can be pasted into a test.
"""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kraft.raft.schedules import Act, random_acts
from tests.kraft.raft.simulation import Simulation

ACTS = 80
SEEDS = 1200
SEEDS_PER_TEST = 50


def simulate(seed: int) -> Simulation:
    """One history: some work and some faults, then everything is healed."""
    rng = random.Random(seed)
    voters, spares = rng.choice((1, 2, 3, 3, 3, 5)), rng.choice((0, 1, 2))
    simulation = Simulation(seed, voters=voters, spares=spares)
    simulation.play(random_acts(rng, ACTS, voters + spares))
    simulation.converge()
    return simulation


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_histories_by_chance_keep_every_invariant_and_converge(first: int) -> None:
    committed = reads = events = 0
    for seed in range(first, first + SEEDS_PER_TEST):
        try:
            simulation = simulate(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        committed += simulation.ghost.last_committed
        reads += simulation.ghost.completed_reads
        events += simulation.events
    # A thin history proves nothing.
    assert committed > 20 * SEEDS_PER_TEST
    assert reads > SEEDS_PER_TEST
    assert events > 200 * SEEDS_PER_TEST


def test_equal_seeds_make_equal_histories() -> None:
    traces = []
    for _ in range(2):
        simulation = Simulation(7, voters=3, spares=1, trace=True)
        simulation.play(random_acts(random.Random(7), 60, 4))
        traces.append((simulation.sent, simulation.leader_changes))
    assert traces[0] == traces[1]


NODES = 4
_node = st.integers(0, NODES - 1)


def _acts(name: str, *arguments: st.SearchStrategy[int]) -> st.SearchStrategy[Act]:
    after = st.sampled_from((0, 1, 3, 10, 30, 100, 300, 1000))
    return st.builds(Act, after, st.just(name), st.tuples(*arguments))


schedules = st.lists(
    st.one_of(
        _acts("propose", st.integers(1, 6)),
        _acts("propose", st.integers(1, 6)),
        _acts("read"),
        _acts("crash", _node),
        _acts("restart", _node),
        _acts("bounce", _node),
        _acts("block", _node, _node),
        _acts("isolate", _node),
        _acts("split", st.integers(0, (1 << NODES) - 1)),
        _acts("heal"),
        _acts(
            "weather", st.sampled_from((0, 30)), st.sampled_from((0, 20)), st.sampled_from((5, 400))
        ),
        _acts("disk", _node, st.sampled_from((0, 20, 300))),
        _acts("hint", _node, _node),
        _acts("transfer", _node),
        _acts("snapshot", _node),
        _acts("change", st.integers(0, 3), _node),
    ),
    max_size=60,
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(schedule=schedules, seed=st.integers(0, 1000))
def test_schedules_that_hypothesis_makes_up(schedule: list[Act], seed: int) -> None:
    simulation = Simulation(seed, voters=3, spares=NODES - 3)
    simulation.run(2000)
    simulation.play(schedule)
    simulation.converge()

"""A little of `make fuzz` in every test run, and all that it has ever found."""

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, mutated, seeds

CRASHES = sorted(Path(__file__).with_name("crashes").glob("*-*"))
INPUTS = 3_000


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_bring_a_target_down(name: str) -> None:
    rng = random.Random(name)
    known = list(seeds(name, rng))
    for data in known:
        TARGETS[name](data)
    for _ in range(INPUTS):
        data = mutated(rng.choice(known), rng)
        try:
            TARGETS[name](data)
        except Exception as error:
            error.add_note(f"{name}: {data!r}")
            raise


@pytest.mark.parametrize("crash", CRASHES, ids=lambda path: path.name)
def test_what_brought_a_target_down_does_so_no_more(crash: Path) -> None:
    TARGETS[crash.name.split("-")[0]](crash.read_bytes())

"""What is done to a simulated group, as plain data, and schedules by chance."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done to the group `after_ms` of the act before; see Simulation.do_<name>."""

    after_ms: int
    name: str
    arguments: tuple[int, ...] = ()


def random_acts(rng: random.Random, count: int, nodes: int) -> Sequence[Act]:
    """A schedule by chance: mostly work, some faults, now and then everything is healed."""
    acts = []
    for _ in range(count):
        name, arguments = _random_act(rng, nodes)
        acts.append(Act(rng.choice(_GAPS_MS), name, arguments))
    return acts


def _random_act(rng: random.Random, nodes: int) -> tuple[str, tuple[int, ...]]:
    def node() -> int:
        return rng.randrange(nodes)

    name = rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
    match name:
        case "propose":
            return name, (rng.randint(1, 6),)
        case "weather":
            return name, (
                rng.choice((0, 0, 5, 30)),
                rng.choice((0, 0, 20)),
                rng.choice((5, 5, 50, 400)),
            )
        case "block" | "unblock" | "hint":
            return name, (node(), node())
        case "split" | "strand_leaders":
            return name, (rng.randrange(1 << nodes),)
        case "disk":
            return name, (node(), rng.choice((0, 1, 20, 300)))
        case "change":
            return name, (rng.randrange(4), node())
        case "read" | "heal" | "crash_leaders" | "crash_all":
            return name, ()
        case _:
            return name, (node(),)


_GAPS_MS = (0, 0, 1, 2, 3, 10, 30, 100, 300, 1000, 2000)

_WEIGHTS = {
    "propose": 30,
    "read": 20,
    "crash": 5,
    "restart": 8,
    "bounce": 5,
    "block": 4,
    "unblock": 3,
    "isolate": 3,
    "split": 3,
    "strand_leaders": 8,
    "crash_leaders": 4,
    "crash_all": 3,
    "heal": 10,
    "weather": 4,
    "disk": 6,
    "hint": 5,
    "hints": 3,
    "transfer": 4,
    "snapshot": 8,
    "change": 10,
}

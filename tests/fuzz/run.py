"""`make fuzz`: right inputs with something wrong in them, from a seed, to each target.

    python -m tests.fuzz.run --count 1000000 [--only dispatch] [--seed 1]

What a target does not survive is kept in tests/fuzz/crashes and is a test from then on.
"""

import argparse
import hashlib
import random
import sys
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS, mutated, seeds

CRASHES = Path(__file__).with_name("crashes")


def main() -> int:
    """Returns 1 when something was found."""
    options = _options()
    names = [each for each in TARGETS if options.only in each]
    count = -(-options.count // len(names))
    found = 0
    for name in names:
        began_s = time.monotonic()
        found += _fuzz(name, count, options.seed)
        took_s = time.monotonic() - began_s
        print(f"{name}: {count} inputs in {took_s:.0f} s", flush=True)
    return found > 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--count", type=int, default=1_000_000, help="inputs, for all targets together"
    )
    parser.add_argument("--only", default="", help="part of a target's name")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _fuzz(name: str, count: int, seed: int) -> int:
    rng = random.Random(seed)
    known = list(seeds(name, rng))
    for _ in range(count):
        data = mutated(rng.choice(known), rng)
        try:
            TARGETS[name](data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is kept
            place = CRASHES / f"{name}-{hashlib.sha1(data).hexdigest()[:12]}"
            place.write_bytes(data)
            print(f"{name}: {error!r}; kept as {place.name}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

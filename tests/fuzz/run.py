"""`make fuzz`: each target under libFuzzer (atheris) where it can be had, else under our own mutations.

    python -m tests.fuzz.run --count 1000000 [--only dispatch] [--seed 1]

What a target does not survive is kept in tests/fuzz/crashes and is a test from then on.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.targets import TARGETS, mutated, seeds

CRASHES = Path(__file__).with_name("crashes")
MAX_BYTES = 4096


def main() -> int:
    """Returns 1 when something was found."""
    options = _options()
    names = [each for each in TARGETS if options.only in each]
    if options.guided:
        _guided(names[0], options.count, options.seed)
        return 0
    count = -(-options.count // len(names))
    found = 0
    for name in names:
        began_s = time.monotonic()
        if find_spec("atheris") is None:
            found += _by_hand(name, count, options.seed)
        else:
            command = [sys.executable, "-m", "tests.fuzz.run", "--guided", "--only", name]
            command += ["--count", str(count), "--seed", str(options.seed)]
            found += subprocess.run(command, check=False).returncode != 0
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
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _by_hand(name: str, count: int, seed: int) -> int:
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


def _guided(name: str, count: int, seed: int) -> None:
    import atheris

    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(name, random.Random(seed))):
            (Path(corpus) / str(number)).write_bytes(data)
        options = [
            f"-runs={count}",
            f"-seed={seed}",
            f"-max_len={MAX_BYTES}",
            "-print_final_stats=1",
        ]
        prefix = f"-artifact_prefix={CRASHES / name}-"
        atheris.Setup([sys.argv[0], *options, prefix, corpus], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

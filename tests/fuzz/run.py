"""`make fuzz`: what strangers' bytes meet, under a coverage-guided fuzzer.

    python -m tests.fuzz.run --count 1000000 [--only dispatch] [--seed 1]

It begins from every message in every version, filled at random. What a target does not survive is kept in
tests/fuzz/crashes and is a test from then on.
"""

import argparse
import subprocess
import sys
import time

from tests.fuzz.targets import TARGETS


def main() -> int:
    """Returns 1 when something was found."""
    options = _options()
    names = [each for each in TARGETS if options.only in each]
    if not names:
        print(f"there is no target {options.only!r}: {', '.join(TARGETS)}")
        return 2
    count = -(-options.count // len(names))
    return max(_fuzz(name, count, options.seed) for name in names)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--count", type=int, default=1_000_000, help="inputs, for all targets together"
    )
    parser.add_argument("--only", default="", help="part of a target's name")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _fuzz(name: str, count: int, seed: int) -> int:
    print(f"{name}: {count} inputs ...", flush=True)
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", name, str(count), str(seed)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = done.stderr.splitlines()
    if done.returncode:
        print("\n".join(said[-40:]))
        print(f"{name}: found something; it is kept in tests/fuzz/crashes")
        return 1
    reached = next((each for each in reversed(said) if " cov: " in each), "")
    print(f"{name}: survived in {time.monotonic() - began_s:.0f} s; {reached}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

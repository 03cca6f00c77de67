"""One target under atheris (libFuzzer): what reaches new code is kept and changed further.

    python -m tests.fuzz.guided dispatch COUNT SEED

Started by `tests.fuzz.run`, one process a target, because libFuzzer ends its process.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wire", "cluster.groups", "cluster.listeners"]):
    from tests.fuzz.targets import TARGETS, seeds

CRASHES = Path(__file__).with_name("crashes")
INPUT_BYTES = 2048
HANGS_S = 10
MEMORY_MB = 2048


def main() -> None:
    """Does not return: libFuzzer exits with 0 after COUNT inputs, and otherwise with what it found in `crashes`."""
    name, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory(prefix="ottla-fuzz-") as corpus:
        for number, data in enumerate(seeds(name, random.Random(seed))):
            (Path(corpus) / str(number)).write_bytes(data)
        atheris.Setup(
            [
                sys.argv[0],
                f"-runs={count}",
                f"-seed={seed}",
                f"-max_len={INPUT_BYTES}",
                f"-timeout={HANGS_S}",
                f"-rss_limit_mb={MEMORY_MB}",
                f"-artifact_prefix={CRASHES}/{name}-",
                "-print_final_stats=1",
                corpus,
            ],
            TARGETS[name],
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()

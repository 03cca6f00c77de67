"""`make mutants`: one bug at a time into a copy of the tree, and only the tests that must notice it.

The tests named by the table are run without a bug first: a test that fails anyway notices nothing.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.mutants.table import ROOT, Mutant, load

# One test that hangs, and the whole run of a mutant.
TEST_S = 60
RUN_S = 240
# pytest's exit code when tests were run and some failed; others mean that nothing was proved.
FAILED = 1
FAILURE = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)


class Verdict(NamedTuple):
    """caught: every test that should notice failed. by: which ones did, or what happened instead."""

    mutant: Mutant
    caught: bool
    by: str
    took_s: float


def main() -> int:
    """Returns 0 when every mutant was caught."""
    options = _options()
    console = Console(width=180 if not sys.stdout.isatty() else None)
    mutants = [each for each in load() if options.only in f"{each.name} {each.file} {each.row}"]
    if not mutants:
        console.print(f"no mutant's name, file or row contains {options.only!r}")
        return 2
    with tempfile.TemporaryDirectory(prefix="ottla-mutants-") as folder:
        trees = [Path(folder) / str(number) for number in range(options.jobs)]
        _copy_tracked(trees[0])
        console.print(f"{len(mutants)} mutants; first their tests without any of them ...")
        tests = sorted({test for each in mutants for test in each.tests})
        clean = _pytest(trees[0], tests)
        if clean.returncode != 0:
            console.print(clean.stdout, markup=False)
            console.print("these fail without a mutant: nothing can be proved")
            return 2
        for other in trees[1:]:
            shutil.copytree(trees[0], other)
        verdicts = []
        for verdict in _try_all(mutants, trees):
            verdicts.append(verdict)
            if not verdict.caught:
                console.print(f"not caught: {verdict.mutant.name} ({verdict.by})", markup=False)
    console.print(_table(verdicts))
    survived = [each for each in verdicts if not each.caught]
    console.print(f"{len(verdicts) - len(survived)} of {len(verdicts)} mutants were caught")
    return 1 if survived else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", default="", help="part of a name, file or row")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once")
    return parser.parse_args()


def _copy_tracked(target: Path) -> None:
    """What git has or would add, as it lies here now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def _try_all(mutants: Sequence[Mutant], trees: Sequence[Path]) -> Iterator[Verdict]:
    """Each mutant in a tree that nobody else uses meanwhile; verdicts come in the order of the mutants."""
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def attempt(mutant: Mutant) -> Verdict:
        tree = free.get()
        try:
            return _try(mutant, tree)
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool:
        yield from pool.map(attempt, mutants)


def _try(mutant: Mutant, tree: Path) -> Verdict:
    began_s = time.perf_counter()
    with _applied(mutant, tree):
        try:
            run = _pytest(tree, mutant.tests)
        except subprocess.TimeoutExpired:
            return Verdict(mutant, False, f"hung for {RUN_S} s", RUN_S)
    took_s = time.perf_counter() - began_s
    if run.returncode not in (0, FAILED):
        return Verdict(mutant, False, f"pytest ended with {run.returncode}", took_s)
    failed = FAILURE.findall(run.stdout)
    blind = [test for test in mutant.tests if not any(_is_of(each, test) for each in failed)]
    if blind:
        return Verdict(mutant, False, f"not noticed by {', '.join(map(_short, blind))}", took_s)
    return Verdict(mutant, True, ", ".join(map(_short, mutant.tests)), took_s)


def _is_of(failed: str, test: str) -> bool:
    """Whether what failed is the test, one of its parameters, or in it when it is a file."""
    return failed == test or failed.startswith((f"{test}[", f"{test}::"))


def _short(test: str) -> str:
    return test.rpartition("/")[2]


@contextmanager
def _applied(mutant: Mutant, tree: Path) -> Iterator[None]:
    """The bug is in the tree for as long as the block lives."""
    path = tree / mutant.file
    source = path.read_text(encoding="utf-8")
    compiled = Path(importlib.util.cache_from_source(str(path)))
    try:
        path.write_text(mutant.applied_to(source), encoding="utf-8")
        # Python tells stale byte code by second and size, which both may be the same.
        compiled.unlink(missing_ok=True)
        yield
    finally:
        path.write_text(source, encoding="utf-8")
        compiled.unlink(missing_ok=True)


def _pytest(tree: Path, tests: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    flags = ["-q", "-p", "no:cacheprovider", "--timeout", str(TEST_S)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *flags, *tests],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table("mutant", "row", "file", "verdict", "noticed by", "s")
    for mutant, caught, by, took_s in verdicts:
        table.add_row(
            mutant.name,
            mutant.row,
            mutant.file,
            "caught" if caught else "SURVIVED",
            escape(by),
            f"{took_s:.1f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())

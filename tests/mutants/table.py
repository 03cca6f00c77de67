"""The mutants: bugs that are brought back on purpose, to see whether a test notices (docs/testing.md)."""

import tomllib
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`old`, which stands exactly once in `file`, becomes `new`; every one of `tests` must fail then.

    row: the bug that it comes from (KAFKA-..., a KIP, a section of a paper), or what is lost.
    """

    name: str
    row: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied_to(self, source: str) -> str:
        """The source with the bug. Raises ValueError when the text to change is not there exactly once."""
        found = source.count(self.old)
        if found != 1:
            raise ValueError(
                f"mutant {self.name!r}: its old text stands {found} times in {self.file}, not once: write it anew"
            )
        return source.replace(self.old, self.new)


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mutant: tuple[Mutant, ...]


def load() -> list[Mutant]:
    """All mutants, in the order of the files that hold them and of their places there."""
    found: list[Mutant] = []
    for path in sorted(TABLES.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        found += msgspec.convert(table, _Table).mutant
    return found

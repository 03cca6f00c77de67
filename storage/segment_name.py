"""Segment file names: they carry enough to decide after a crash which files make up the log. Pure.

    <base offset, 20 digits>-<sequence, 8>-<revision, 4>[-reset][-gaps].log[.new]

*sequence* counts the segments a log ever began. A log is cut by beginning a new segment at the cut: a segment
makes void whatever segments of smaller sequence hold at or after its base offset; a `reset` one, all they hold.
So a cut becomes durable with one file name and nothing is destroyed before that.
*revision* counts rewrites by compaction: the highest of one (base, sequence) counts.
`gaps`: offsets may be missing between batches because of compaction; without it a missing offset is damage (the
base offset is outside a batch's CRC).
`.new`: the segments before it are not known to be synced to their end. No record in it has been acknowledged, so
that it may be dropped when the segment before it lost its tail. Without `.new`, a missing tail is damage.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

_PATTERN = re.compile(r"(\d{20})-(\d{8})-(\d{4})(-reset)?(-gaps)?\.log(\.new)?")


class SegmentName(NamedTuple):
    """What a segment's file name says."""

    base_offset: int
    sequence: int
    revision: int = 0
    resets: bool = False
    gaps: bool = False
    provisional: bool = False

    @property
    def stem(self) -> str:
        """The name without its suffix: what the segment's index files are called."""
        flags = f"{'-reset' if self.resets else ''}{'-gaps' if self.gaps else ''}"
        return f"{self.base_offset:020d}-{self.sequence:08d}-{self.revision:04d}{flags}"

    @property
    def file_name(self) -> str:
        """The data file."""
        return f"{self.stem}.log{'.new' if self.provisional else ''}"

    def published(self) -> "SegmentName":
        """Everything before is durable."""
        return self._replace(provisional=False)


def parse(file_name: str) -> SegmentName | None:
    """The name of a segment's data file, None for any other file."""
    match = _PATTERN.fullmatch(file_name)
    if match is None:
        return None
    base, sequence, revision, *flags = match.groups()
    return SegmentName(int(base), int(sequence), int(revision), *map(bool, flags))


def resolve(names: Iterable[SegmentName]) -> tuple[list[SegmentName], list[SegmentName]]:
    """(the log's segments by rising base offset, the void ones). A segment ends at the next one's base offset."""
    newest: dict[int, SegmentName] = {}
    void: list[SegmentName] = []
    for name in sorted(names, key=lambda name: (name.sequence, name.revision)):
        older = newest.get(name.sequence)
        if older is not None:
            void.append(older)
        newest[name.sequence] = name
    live: list[SegmentName] = []
    for name in newest.values():
        while live and (name.resets or live[-1].base_offset >= name.base_offset):
            void.append(live.pop())
        live.append(name)
    return live, void

"""Sparse index of one segment: offset -> position of a batch, Kafka's `.index` entries (relative offset 4, position 4).

It lives in memory and is written when a segment is done with; lost or damaged, it is rebuilt from the segment.
"""

import sys
from array import array
from bisect import bisect_right
from itertools import pairwise

from storage.errors import UnreadableFileError

ENTRY_BYTES = 8


class OffsetIndex:
    """Positions of some batches of a segment, both columns strictly rising."""

    __slots__ = ("_offsets", "_positions", "base_offset")

    def __init__(self, base_offset: int) -> None:
        self.base_offset = base_offset
        self._offsets = array("I")
        self._positions = array("I")

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, offset: int, position: int) -> None:
        """The batch that begins with `offset` lies at `position`."""
        self._offsets.append(offset - self.base_offset)
        self._positions.append(position)

    def floor(self, offset: int) -> tuple[int, int]:
        """(offset, position) of the last known batch that begins at or before `offset`; (base offset, 0) if none."""
        relative = offset - self.base_offset
        index = bisect_right(self._offsets, relative) if relative >= 0 else 0
        if not index:
            return self.base_offset, 0
        return self._offsets[index - 1] + self.base_offset, self._positions[index - 1]

    def truncate(self, offset: int) -> None:
        """Forget batches that begin at or after `offset`."""
        relative = offset - self.base_offset
        keep = bisect_right(self._offsets, relative - 1) if relative > 0 else 0
        del self._offsets[keep:], self._positions[keep:]

    def encode(self) -> bytes:
        """Kafka's bytes: big-endian pairs."""
        pairs = array("I", bytes(len(self) * ENTRY_BYTES))
        pairs[0::2], pairs[1::2] = self._offsets, self._positions
        if sys.byteorder == "little":
            pairs.byteswap()
        return pairs.tobytes()

    @classmethod
    def decode(cls, base_offset: int, data: bytes, segment_bytes: int) -> "OffsetIndex":
        """From `encode`'s bytes. Raises UnreadableFileError when they can't belong to such a segment."""
        if len(data) % ENTRY_BYTES:
            raise UnreadableFileError(f"offset index of {len(data)} bytes has a part of an entry")
        pairs = array("I", data)
        if sys.byteorder == "little":
            pairs.byteswap()
        index = cls(base_offset)
        index._offsets, index._positions = pairs[0::2], pairs[1::2]
        if not _rising(index._offsets) or not _rising(index._positions):
            raise UnreadableFileError("offset index does not rise")
        if index._positions and index._positions[-1] >= segment_bytes:
            raise UnreadableFileError("offset index points behind its segment")
        return index


def _rising(column: "array[int]") -> bool:
    return all(a < b for a, b in pairwise(column))

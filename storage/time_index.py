"""Sparse index of one segment: timestamp -> offset, Kafka's `.timeindex` entries (timestamp 8, relative offset 4).

An entry (t, o) says: the largest timestamp up to the batch at `o` is `t`, and that batch holds it. So every batch
before the entry's has only smaller timestamps.
"""

from array import array
from bisect import bisect_left, bisect_right
from struct import Struct

from storage.errors import UnreadableFileError

_ENTRY = Struct(">qI")
ENTRY_BYTES = _ENTRY.size


class TimeIndex:
    """Largest timestamps so far at some batches of a segment; both columns strictly rising."""

    __slots__ = ("_offsets", "_timestamps", "base_offset")

    def __init__(self, base_offset: int) -> None:
        self.base_offset = base_offset
        self._timestamps = array("q")
        self._offsets = array("I")

    def __len__(self) -> int:
        return len(self._timestamps)

    @property
    def last(self) -> tuple[int, int] | None:
        """(timestamp, offset) of the newest entry."""
        return self.entry(len(self) - 1) if len(self) else None

    def entry(self, index: int) -> tuple[int, int]:
        """(timestamp, offset) of an entry."""
        return self._timestamps[index], self._offsets[index] + self.base_offset

    def append(self, timestamp_ms: int, offset: int) -> None:
        """The batch that begins with `offset` holds the largest timestamp so far; no news is ignored."""
        relative = offset - self.base_offset
        if not self._timestamps or (
            timestamp_ms > self._timestamps[-1] and relative > self._offsets[-1]
        ):
            self._timestamps.append(timestamp_ms)
            self._offsets.append(relative)

    def offset_before(self, timestamp_ms: int) -> int:
        """Where to begin looking for the first record at or after `timestamp_ms`."""
        index = bisect_left(self._timestamps, timestamp_ms)
        return self._offsets[index - 1] + self.base_offset if index else self.base_offset

    def largest_before(self, end_offset: int) -> tuple[int, int] | None:
        """(timestamp, offset) of the newest entry whose batch begins before `end_offset`."""
        relative = end_offset - self.base_offset
        index = bisect_right(self._offsets, relative - 1) if relative > 0 else 0
        return self.entry(index - 1) if index else None

    def truncate(self, offset: int) -> None:
        """Forget batches that begin at or after `offset`."""
        relative = offset - self.base_offset
        keep = bisect_right(self._offsets, relative - 1) if relative > 0 else 0
        del self._offsets[keep:], self._timestamps[keep:]

    def encode(self) -> bytes:
        """Kafka's bytes, big-endian."""
        pairs = zip(self._timestamps, self._offsets, strict=True)
        return b"".join(_ENTRY.pack(timestamp, offset) for timestamp, offset in pairs)

    @classmethod
    def decode(cls, base_offset: int, data: bytes) -> "TimeIndex":
        """From `encode`'s bytes. Raises UnreadableFileError when they can't be an index."""
        if len(data) % ENTRY_BYTES:
            raise UnreadableFileError(f"time index of {len(data)} bytes has a part of an entry")
        index = cls(base_offset)
        for timestamp, relative in _ENTRY.iter_unpack(data):
            before = len(index)
            index.append(timestamp, relative + base_offset)
            if len(index) == before:
                raise UnreadableFileError("time index does not rise")
        return index

"""The log in memory: entries since the last compaction."""

from collections.abc import Sequence

from kraft.raft.messages import Entry


class RaftLog:
    """A run of entries that follows `base_index` (of `base_term`), the last entry that is no longer held."""

    def __init__(self, base_index: int, base_term: int, entries: Sequence[Entry] = ()) -> None:
        self.base_index = base_index
        self.base_term = base_term
        self._entries = list(entries)
        for position, entry in enumerate(self._entries, base_index + 1):
            assert entry.index == position, (
                f"log entry {entry.index} stands where {position} should"
            )

    @property
    def last_index(self) -> int:
        """Of the last entry."""
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        """Of the last entry."""
        return self._entries[-1].term if self._entries else self.base_term

    def has_term(self, index: int) -> bool:
        """Whether `term_at(index)` can be answered."""
        return self.base_index <= index <= self.last_index

    def term_at(self, index: int) -> int:
        """The term of an entry held, or of the base."""
        if index == self.base_index:
            return self.base_term
        return self.at(index).term

    def at(self, index: int) -> Entry:
        """An entry held."""
        assert self.base_index < index <= self.last_index, (
            f"entry {index} is not in ({self.base_index}, {self.last_index}]"
        )
        return self._entries[index - self.base_index - 1]

    def matches(self, index: int, term: int) -> bool:
        """Whether the log has this very entry."""
        return self.has_term(index) and self.term_at(index) == term

    def is_not_ahead_of(self, last_index: int, last_term: int) -> bool:
        """Whether a log with that end is at least as up to date as this one (Raft paper, 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def append(self, entry: Entry) -> None:
        """Add one entry at the end."""
        assert entry.index == self.last_index + 1, (
            f"entry {entry.index} does not follow {self.last_index}"
        )
        assert entry.term >= self.last_term, (
            f"entry {entry.index} of term {entry.term} follows term {self.last_term}"
        )
        self._entries.append(entry)

    def truncate_from(self, index: int) -> None:
        """Cut away `index` and all after it."""
        assert index > self.base_index, (
            f"cannot cut at {index}: the log is held from {self.base_index}"
        )
        del self._entries[index - self.base_index - 1 :]

    def slice(self, first: int, last: int, max_bytes: int) -> tuple[Entry, ...]:
        """Entries `first`..`last` up to `max_bytes`, but at least one of them if there is one."""
        if first > last:
            return ()
        start = first - self.base_index - 1
        assert start >= 0, (
            f"entry {first} is no longer held; the log begins after {self.base_index}"
        )
        found = self._entries[start : last - self.base_index]
        size = 0
        for count, entry in enumerate(found):
            size += entry.size_bytes
            if size > max_bytes and count > 0:
                return tuple(found[:count])
        return tuple(found)

    def last_not_above(self, index: int, term: int) -> int:
        """The last index <= `index` whose entry's term is <= `term`: where two logs may agree at the latest.

        Below the base nothing is known: the base is the answer then.
        """
        index = min(index, self.last_index)
        while index > self.base_index and self.term_at(index) > term:
            index -= 1
        return max(index, self.base_index)

    def compact(self, index: int) -> None:
        """Forget entries up to `index`, which becomes the base."""
        if index <= self.base_index:
            return
        term = self.term_at(index)
        del self._entries[: index - self.base_index]
        self.base_index, self.base_term = index, term

    def reset(self, index: int, term: int) -> None:
        """Forget everything: a snapshot has taken the place of the log up to `index`."""
        self._entries.clear()
        self.base_index, self.base_term = index, term

"""Which leader epoch wrote which offsets: the compass for truncation (KIP-101, KIP-279, KIP-320). Pure."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

UNDEFINED_EPOCH = -1
UNDEFINED_OFFSET = -1


class EpochEnd(NamedTuple):
    """The largest known epoch not above the one asked for, and the first offset after it; -1, -1: unknown."""

    epoch: int
    end_offset: int


UNDEFINED = EpochEnd(UNDEFINED_EPOCH, UNDEFINED_OFFSET)


class LeaderEpochs:
    """Epoch -> first offset written in it, both strictly rising."""

    __slots__ = ("_epochs", "_starts")

    def __init__(self, entries: Iterable[tuple[int, int]] = ()) -> None:
        self._epochs: list[int] = []
        self._starts: list[int] = []
        for epoch, start in entries:
            self.assign(epoch, start)

    def entries(self) -> list[tuple[int, int]]:
        """(epoch, start offset), oldest first."""
        return list(zip(self._epochs, self._starts, strict=True))

    @property
    def latest_epoch(self) -> int:
        """The newest epoch, -1 for none."""
        return self._epochs[-1] if self._epochs else UNDEFINED_EPOCH

    def assign(self, epoch: int, start_offset: int) -> bool:
        """Note that `epoch` begins at `start_offset`; older news is ignored. Returns whether anything changed.

        Epochs noted at or beyond that offset wrote nothing that is left, so they go.
        """
        if epoch <= self.latest_epoch or epoch < 0:
            return False
        self.truncate_from_end(start_offset)
        self._epochs.append(epoch)
        self._starts.append(start_offset)
        return True

    def end_offset_for(self, epoch: int, log_end: int) -> EpochEnd:
        """KIP-101's question as KIP-279 refined it: where did the largest epoch <= `epoch` that I know of end?

        For the newest epoch that is the log end. An epoch older than everything known ends where the known ones
        begin. An epoch newer than everything known is unknown: the asker knows more than we do.
        """
        if not self._epochs or epoch > self._epochs[-1] or epoch < 0:
            return UNDEFINED
        index = bisect_right(self._epochs, epoch)
        if index == len(self._epochs):
            return EpochEnd(self._epochs[-1], log_end)
        if index == 0:
            return EpochEnd(epoch, self._starts[0])
        return EpochEnd(self._epochs[index - 1], self._starts[index])

    def epoch_at(self, offset: int) -> int:
        """The epoch that wrote `offset`, -1 when it lies before everything known."""
        index = bisect_right(self._starts, offset)
        return self._epochs[index - 1] if index else UNDEFINED_EPOCH

    def truncate_from_end(self, end_offset: int) -> None:
        """The log was cut to end at `end_offset`."""
        while self._starts and self._starts[-1] >= end_offset:
            self._starts.pop()
            self._epochs.pop()

    def truncate_from_start(self, start_offset: int) -> None:
        """The log begins at `start_offset` now: the epoch that spans it begins there."""
        keep = bisect_right(self._starts, start_offset) - 1
        if keep < 0:
            return
        del self._starts[:keep], self._epochs[:keep]
        self._starts[0] = start_offset

    def clear(self) -> None:
        """The log was emptied."""
        self._starts.clear()
        self._epochs.clear()

    def copy(self) -> "LeaderEpochs":
        """An independent copy."""
        return LeaderEpochs(self.entries())

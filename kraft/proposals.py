"""Proposals and reads that wait for their entries to be applied on this node."""

import asyncio
from collections.abc import Sequence

from kraft.raft.errors import NotLeaderError
from kraft.raft.messages import Entry, SnapshotMeta
from kraft.raft.ready import ReadResult


class Proposals:
    """Futures parked by index and term: the entry that is applied there is ours only if its term is, too."""

    def __init__(self) -> None:
        self._parked: dict[int, tuple[int, asyncio.Future[int]]] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def park(self, term: int, index: int) -> asyncio.Future[int]:
        """A future of the index, done when our entry is applied; NotLeaderError when another took its place."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._parked[index] = (term, future)
        return future

    def applied(self, entries: Sequence[Entry]) -> None:
        """These entries are applied."""
        if not self._parked:
            return
        for entry in entries:
            term, future = self._parked.pop(entry.index, (0, None))
            if future is None or future.done():
                continue
            if term == entry.term:
                future.set_result(entry.index)
            else:
                future.set_exception(
                    NotLeaderError(
                        f"index {entry.index} went to the leader of term {entry.term}; the change was not made"
                    )
                )

    def restored(self, snapshot: SnapshotMeta) -> None:
        """A snapshot covers these indexes: whose entries they were is not known."""
        covered = sorted(index for index in self._parked if index <= snapshot.index)
        self._fail(covered, "another leader's snapshot covers it")

    def fail_all(self, reason: str) -> None:
        """Nobody will learn here what becomes of them."""
        self._fail(sorted(self._parked), reason)

    def _fail(self, indexes: Sequence[int], reason: str) -> None:
        for index in indexes:
            _, future = self._parked.pop(index)
            if not future.done():
                future.set_exception(
                    NotLeaderError(
                        f"whether the change at index {index} was made is unknown: {reason}"
                    )
                )


class PendingReads:
    """Linearizable reads: first confirmed by a majority, then waiting until their index is applied."""

    def __init__(self) -> None:
        self._asked: dict[int, asyncio.Future[int]] = {}
        self._confirmed: list[tuple[int, asyncio.Future[int]]] = []

    def park(self, read_id: int) -> asyncio.Future[int]:
        """A future of the index as of which the state may be read."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked[read_id] = future
        return future

    def confirmed(self, results: Sequence[ReadResult]) -> None:
        """Results of the consensus core."""
        for result in results:
            future = self._asked.pop(result.read_id, None)
            if future is None or future.done():
                continue
            if result.index is None:
                future.set_exception(
                    NotLeaderError("leadership was lost before the read was confirmed")
                )
            else:
                self._confirmed.append((result.index, future))

    def applied(self, index: int) -> None:
        """Everything up to `index` is applied."""
        if not self._confirmed:
            return
        for wanted, future in self._confirmed:
            if wanted <= index and not future.done():
                future.set_result(wanted)
        self._confirmed = [each for each in self._confirmed if each[0] > index]

    def fail_all(self, reason: str) -> None:
        """No read will be answered here any more."""
        waiting = [*self._asked.values(), *(future for _, future in self._confirmed)]
        self._asked.clear()
        self._confirmed.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(NotLeaderError(f"the read was not answered: {reason}"))

"""Linearizable reads without a log entry: ReadIndex (Raft thesis, 6.4).

A read is good once a majority has answered a heartbeat that was sent after the read came in; before the leader has
committed an entry of its own term it does not know the commit index (bugs R3, R5), and reads wait for that first.
Round numbers grow within a term and an answer counts only in the term that it names, so no late or repeated
answer can confirm a later read.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from kraft.raft.errors import ProposalRefusedError
from kraft.raft.quorum import majority_value
from kraft.raft.ready import ReadResult


@dataclass(slots=True)
class _WaitingRead:
    read_id: int
    index: int
    round: int


class Reads:
    """Reads between their request and their confirmation."""

    def __init__(self, max_pending: int) -> None:
        self.round = 0
        self._results: list[ReadResult] = []
        self._max_pending = max_pending
        self._last_id = 0
        self._unsent: list[int] = []
        self._waiting: deque[_WaitingRead] = deque()

    def request(self) -> int:
        """A new read. Raises ProposalRefusedError when too many wait."""
        if len(self._unsent) + len(self._waiting) >= self._max_pending:
            raise ProposalRefusedError(f"{self._max_pending} reads wait already; try again")
        self._last_id += 1
        self._unsent.append(self._last_id)
        return self._last_id

    def begin_round(self, commit_index: int) -> bool:
        """Let new reads wait for a new round of heartbeats. Returns whether one must be sent."""
        if not self._unsent:
            return False
        self.round += 1
        self._waiting.extend(
            _WaitingRead(read_id, commit_index, self.round) for read_id in self._unsent
        )
        self._unsent.clear()
        return True

    def confirm(self, rounds: Iterable[int]) -> None:
        """Complete the reads whose round a majority of the voters (their last rounds are given) has answered."""
        if not self._waiting:
            return
        confirmed = majority_value(rounds)
        while self._waiting and self._waiting[0].round <= confirmed:
            read = self._waiting.popleft()
            self._results.append(ReadResult(read.read_id, read.index))

    def leadership_lost(self) -> None:
        """Nothing that waits can be confirmed any more."""
        lost = [read.read_id for read in self._waiting] + self._unsent
        self._results.extend(ReadResult(read_id, None) for read_id in lost)
        self._waiting.clear()
        self._unsent.clear()

    def leadership_won(self) -> None:
        """Rounds begin anew with a term."""
        assert not self._waiting, "reads of an earlier term"
        self.round = 0

    def take_results(self) -> tuple[ReadResult, ...]:
        """What was decided since the last call."""
        results = tuple(self._results)
        self._results.clear()
        return results

"""Incremental fetch sessions (KIP-227): a client names what has changed, and is told what has changed.

Pure. A session belongs to one client for one broker; it is forgotten when others need its place.
"""

import random
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from storage.errors import ErrorCode, OttlaError

NO_SESSION = 0
INITIAL_EPOCH = 0
FINAL_EPOCH = -1
SESSIONS_MAX = 1000
"""Kafka's max.incremental.fetch.session.cache.slots."""
PARTITIONS_MAX = 100_000
"""Partitions over all sessions, and of one request."""


class FetchSessionIdNotFoundError(OttlaError):
    """The session is not there any more; the client begins a new one."""

    code = ErrorCode.FETCH_SESSION_ID_NOT_FOUND
    retriable = True


class InvalidFetchSessionEpochError(OttlaError):
    """A request of the session was lost or came twice; the client begins a new one."""

    code = ErrorCode.INVALID_FETCH_SESSION_EPOCH
    retriable = True


class PartitionKey(NamedTuple):
    """A partition as the client names it: by name, or by id since version 13."""

    topic: str
    topic_id: UUID | None
    partition: int


class Wanted(NamedTuple):
    """What a client wants of a partition."""

    offset: int
    leader_epoch: int
    max_bytes: int


class Told(NamedTuple):
    """What a client was told of a partition last."""

    high_watermark: int = -1
    log_start_offset: int = -1
    error: int = 0


class FetchSession:
    """The partitions of a session, those that have had their turn last."""

    def __init__(self, session_id: int) -> None:
        self.session_id = session_id
        self.epoch = 1
        self.wanted: OrderedDict[PartitionKey, Wanted] = OrderedDict()
        self._told: dict[PartitionKey, Told] = {}

    def update(
        self, wanted: Iterable[tuple[PartitionKey, Wanted]], forgotten: Iterable[PartitionKey]
    ) -> None:
        """Take the changes of one request."""
        for key, position in wanted:
            self.wanted[key] = position
        for key in forgotten:
            self.wanted.pop(key, None)
            self._told.pop(key, None)

    def news(self, key: PartitionKey, now: Told, records: int) -> bool:
        """Whether there is something to tell of a partition; notes that it is told."""
        told = self._told.get(key)
        if told == now and not records and not now.error:
            return False
        self._told[key] = now
        if records:
            # Those that got nothing come first next time.
            self.wanted.move_to_end(key)
        return True


class FetchSessions:
    """All sessions of a broker, the least recently used first."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._sessions: OrderedDict[int, FetchSession] = OrderedDict()
        self._partitions = 0

    def begin(self, partitions: Sequence[tuple[PartitionKey, Wanted]]) -> FetchSession:
        """A new session, of PARTITIONS_MAX partitions at most."""
        if len(self._sessions) >= SESSIONS_MAX:
            self.end(next(iter(self._sessions)))
        session_id = self._rng.randrange(1, 2**31)
        while session_id in self._sessions:
            session_id = self._rng.randrange(1, 2**31)
        session = self._sessions[session_id] = FetchSession(session_id)
        self._update(session, partitions, ())
        return session

    def go_on(
        self,
        session_id: int,
        epoch: int,
        wanted: Iterable[tuple[PartitionKey, Wanted]],
        forgotten: Iterable[PartitionKey],
    ) -> FetchSession:
        """The next request of a session, and what it changes. Raises FetchSessionIdNotFoundError,
        InvalidFetchSessionEpochError.
        """
        session = self._sessions.get(session_id)
        if session is None:
            raise FetchSessionIdNotFoundError(f"there is no fetch session {session_id}")
        if epoch != session.epoch:
            raise InvalidFetchSessionEpochError(
                f"fetch session {session_id} is at epoch {session.epoch}, the request at {epoch}"
            )
        session.epoch = 1 if session.epoch == 2**31 - 1 else session.epoch + 1
        self._sessions.move_to_end(session_id)
        self._update(session, wanted, forgotten)
        return session

    def _update(
        self,
        session: FetchSession,
        wanted: Iterable[tuple[PartitionKey, Wanted]],
        forgotten: Iterable[PartitionKey],
    ) -> None:
        """Those that have been quiet for longest make room. One that has grown too large by itself is answered once
        more, and then not known any more.
        """
        before = len(session.wanted)
        session.update(wanted, forgotten)
        self._partitions += len(session.wanted) - before
        while self._partitions > PARTITIONS_MAX:
            self.end(next(iter(self._sessions)))

    def end(self, session_id: int) -> None:
        """Forget a session; no error when there is none."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            self._partitions -= len(session.wanted)

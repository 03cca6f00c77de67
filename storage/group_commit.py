"""Group commit: many appends to many logs, one sync. One per disk, run by one supervised task."""

import asyncio
from collections.abc import Callable
from itertools import chain

from storage.disk import Disk
from storage.errors import LogOfflineError
from storage.log_flush import FlushTicket
from storage.partition_log import PartitionLog

OnFlushed = Callable[[PartitionLog], None]
OnError = Callable[[PartitionLog, LogOfflineError], None]


class GroupCommit:
    """Syncs the logs that were asked for. `on_flushed` is called after a log's flushed_offset rose or its ticket
    ended, `on_error` when a log was fenced; both on the loop, and they must not raise.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        on_flushed: OnFlushed | None = None,
        on_error: OnError | None = None,
    ) -> None:
        self._disk = disk
        self._on_flushed = on_flushed
        self._on_error = on_error
        self._dirty: dict[PartitionLog, None] = {}
        self._work = asyncio.Event()
        self._waiters: dict[PartitionLog, list[tuple[int, asyncio.Future[None]]]] = {}
        self.syncs = 0
        """Syncs done so far."""

    def request(self, log: PartitionLog) -> None:
        """There is something to sync in this log; a log with flush="os" or an offline one has nothing."""
        if log.needs_flush:
            self._dirty[log] = None
            self._work.set()

    async def flushed(self, log: PartitionLog, end_offset: int) -> None:
        """Ask and wait until everything before `end_offset` is durable. Raises LogOfflineError.

        A log cut below `end_offset` meanwhile has nothing left to wait for: that ends the wait too.
        """
        if log.flushed_offset >= end_offset:
            return
        if log.offline is not None:
            raise LogOfflineError(str(log.offline))
        future = asyncio.get_running_loop().create_future()
        entry = (end_offset, future)
        self._waiters.setdefault(log, []).append(entry)
        self.request(log)
        try:
            await future
        finally:
            left = self._waiters.get(log, [])
            if entry in left:
                left.remove(entry)
            if not left:
                self._waiters.pop(log, None)

    async def run(self) -> None:
        """Sync until cancelled. Errors of the disk fence logs and do not end it."""
        while True:
            await self._work.wait()
            self._work.clear()
            tickets = self._take()
            if tickets:
                await self._commit(tickets)

    def _take(self) -> dict[PartitionLog, FlushTicket]:
        logs, self._dirty = self._dirty, {}
        tickets: dict[PartitionLog, FlushTicket] = {}
        for log in logs:
            if log.offline is not None:
                self._failed(log, log.offline)
            elif log.needs_flush:
                tickets[log] = log.begin_flush()
            else:
                self._wake(log)
        return tickets

    async def _commit(self, tickets: dict[PartitionLog, FlushTicket]) -> None:
        try:
            await self._disk.sync(
                list(chain.from_iterable(ticket.files for ticket in tickets.values()))
            )
        except OSError as error:
            # Nobody can tell whose bytes were lost (Rebello et al., ATC'20).
            for log, ticket in tickets.items():
                self._failed(log, log.fail_flush(ticket, error))
            return
        except BaseException:
            for log, ticket in tickets.items():
                log.abandon_flush(ticket)
            raise
        self.syncs += 1
        for log, ticket in tickets.items():
            self._completed(log, ticket)

    def _completed(self, log: PartitionLog, ticket: FlushTicket) -> None:
        try:
            log.complete_flush(ticket)
        except LogOfflineError as error:
            self._failed(log, error)
            return
        if log.offline is not None:
            self._failed(log, log.offline)
            return
        self.request(log)
        self._wake(log)
        if self._on_flushed is not None:
            self._on_flushed(log)

    def _wake(self, log: PartitionLog) -> None:
        durable = log.flushed_offset
        for end_offset, future in self._waiters.get(log, ()):
            if not future.done() and (durable >= end_offset or log.log_end_offset < end_offset):
                future.set_result(None)

    def _failed(self, log: PartitionLog, error: LogOfflineError) -> None:
        for _, future in self._waiters.get(log, ()):
            if not future.done():
                future.set_exception(LogOfflineError(str(error)))
        if self._on_error is not None:
            self._on_error(log, error)

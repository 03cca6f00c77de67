"""One replica on this broker: its log, its role, and who waits for it.

Check and append are one step: between asking the state and adding to the log there is no `await` (DESIGN.md).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from cluster.errors import (
    FencedLeaderEpochError,
    NotEnoughReplicasError,
    NotLeaderError,
    UnknownLeaderEpochError,
)
from cluster.replication.disk_guard import DiskGuard
from cluster.replication.partition_state import LeaderState
from cluster.replication.read_replica import ReplicaBehindError
from storage import record_stream
from storage.disk import Buffer
from storage.errors import LogOfflineError, OffsetOutOfRangeError
from storage.log_replay import CutFacts
from storage.partition_log import PartitionLog


class TopicIdPartition(NamedTuple):
    """A partition's identity: a topic's name may be given again, its id never is (KAFKA-12257)."""

    topic_id: UUID
    partition: int


@dataclass(slots=True)
class FollowerState:
    """One leader epoch seen from a follower. leader_id is -1 while there is no leader."""

    leader_id: int
    leader_epoch: int
    high_watermark: int


class Appended(NamedTuple):
    """Where records went: [base_offset, end_offset), in the leader epoch that took them."""

    base_offset: int
    end_offset: int
    append_time_ms: int
    leader_epoch: int


class LogRead(NamedTuple):
    """Whole batches, of which the first may begin before the offset asked for, and the offset that follows them."""

    batches: memoryview
    next_offset: int


class Waiter(NamedTuple):
    """A produce request that waits for the high watermark to reach `end_offset`."""

    end_offset: int
    done: "asyncio.Future[None]"


class Callbacks:
    """Whom to call, in the order in which they asked for it: a set's order would differ from run to run."""

    def __init__(self) -> None:
        self._callbacks: dict[Callable[[], None], None] = {}

    def __len__(self) -> int:
        return len(self._callbacks)

    def add(self, callback: Callable[[], None]) -> None:
        """Call it from now on."""
        self._callbacks[callback] = None

    def discard(self, callback: Callable[[], None]) -> None:
        """Call it no more; no error when it was not called."""
        self._callbacks.pop(callback, None)

    def run(self) -> None:
        """Call all that are there now."""
        for callback in tuple(self._callbacks):
            callback()


class Partition:
    """A replica. `on_append` callbacks run when the leader's log grows, `on_commit` when the high watermark moves."""

    def __init__(
        self,
        identity: TopicIdPartition,
        topic: str,
        log: PartitionLog,
        node_id: int,
        guard: DiskGuard | None = None,
    ) -> None:
        self.identity = identity
        self.topic = topic
        self.log = log
        self.role: LeaderState | FollowerState = FollowerState(-1, -1, log.log_start_offset)
        self.on_append = Callbacks()
        self.on_commit = Callbacks()
        self.on_offline = Callbacks()
        self.offline: Exception | None = None
        self._node_id = node_id
        self._guard = guard if guard is not None else DiskGuard(log.disk)
        self._waiters: deque[Waiter] = deque()

    @property
    def name(self) -> str:
        """`topic-partition`, for people."""
        return f"{self.topic}-{self.identity.partition}"

    @property
    def high_watermark(self) -> int:
        """Records below it are on every in-sync replica and may be read."""
        return self.role.high_watermark

    @property
    def leader_epoch(self) -> int:
        """The epoch of the current role."""
        return self.role.leader_epoch

    @property
    def has_room(self) -> bool:
        """Whether this node's disk lets partitions grow."""
        return not self._guard.full

    def leader(self) -> LeaderState:
        """The leader's state. Raises NotLeaderError with the leader that is known here."""
        role = self.role
        if isinstance(role, LeaderState):
            return role
        where = (
            f"node {role.leader_id} does" if role.leader_id >= 0 else "nobody does at the moment"
        )
        raise NotLeaderError(
            f"node {self._node_id} does not lead {self.name}: {where} (leader epoch {role.leader_epoch})",
            role.leader_id,
            role.leader_epoch,
        )

    def check_epoch(self, leader_epoch: int) -> None:
        """Compare the epoch a caller knows (KIP-320); -1 is not compared. Raises Fenced/UnknownLeaderEpochError."""
        if leader_epoch < 0 or leader_epoch == self.role.leader_epoch:
            return
        if leader_epoch < self.role.leader_epoch:
            raise FencedLeaderEpochError(
                f"{self.name} is at leader epoch {self.role.leader_epoch}, the request at {leader_epoch}: "
                f"refresh the metadata"
            )
        raise UnknownLeaderEpochError(
            f"{self.name} is at leader epoch {self.role.leader_epoch} on node {self._node_id}, "
            f"which has not heard of {leader_epoch} yet: try again"
        )

    def become_leader(self, state: LeaderState) -> None:
        """Begin a leader epoch. Waiters of an older epoch are told that it is over."""
        self._fail_waiters(state.leader_epoch, self._node_id)
        self.log.assign_leader_epoch(state.leader_epoch)
        self.role = state
        self.commit()

    def become_follower(self, leader_id: int, leader_epoch: int) -> None:
        """Follow a leader (-1: nobody yet), keeping the high watermark."""
        self._fail_waiters(leader_epoch, leader_id)
        self.role = FollowerState(leader_id, leader_epoch, self.role.high_watermark)
        self.on_commit.run()

    def append_as_leader(
        self, batches: Buffer, *, acks_all: bool, now_wall_ms: int, now_ms: int
    ) -> Appended:
        """Check and append in one step. Raises NotLeaderError, NotEnoughReplicasError, DiskFullError and what the log
        raises.
        """
        state = self.leader()
        if acks_all and not state.has_enough_replicas:
            raise NotEnoughReplicasError(
                f"{self.name} has {len(state.isr)} in-sync replicas, min.insync.replicas is "
                f"{state.min_insync_replicas}: nothing was appended; try again when more brokers are up"
            )
        self._guard.require_room(self.name)
        end_before = self.log.log_end_offset
        state.caught_up_when_appending(end_before, now_ms)
        try:
            info = self.log.append_as_leader(batches, state.leader_epoch, now_wall_ms)
        except LogOfflineError as error:
            self._failed(error)
            raise
        if self.log.log_end_offset > end_before:
            self.on_append.run()
        return Appended(info.base_offset, info.end_offset, info.append_time_ms, state.leader_epoch)

    def append_as_follower(self, batches: Buffer, now_wall_ms: int) -> None:
        """Add what the leader sent. Raises DiskFullError and what the log raises."""
        assert isinstance(self.role, FollowerState), "a leader takes nothing from others"
        self._guard.require_room(self.name)
        try:
            self.log.append_as_follower(batches, now_wall_ms)
        except LogOfflineError as error:
            self._failed(error)
            raise

    def _failed(self, error: LogOfflineError) -> None:
        """After a failed append: the log is whole when only room was missing, fenced otherwise."""
        if self.log.offline is not None:
            self.went_offline(error)
        else:
            self._guard.found_full()

    def committed(self, appended: Appended) -> "asyncio.Future[None] | None":
        """A future that is done once everything below the end offset is committed in the epoch of the append.

        None when it is committed already. It fails with NotLeaderError when the epoch ends first: then the records may
        or may not survive (KAFKA-20634: a waiter is never completed by another epoch's high watermark).
        """
        state = self.leader()
        if state.leader_epoch != appended.leader_epoch:
            raise NotLeaderError(
                f"the leader epoch of {self.name} ended", self._node_id, state.leader_epoch
            )
        if state.high_watermark >= appended.end_offset:
            return None
        done = asyncio.get_running_loop().create_future()
        waiter = Waiter(appended.end_offset, done)
        if self._waiters and self._waiters[-1].end_offset > appended.end_offset:
            # A duplicate of an earlier batch waits for an earlier offset.
            self._waiters = deque(
                sorted((*self._waiters, waiter), key=lambda each: each.end_offset)
            )
        else:
            self._waiters.append(waiter)
        return done

    def read_committed(self, offset: int, max_bytes: int, *, min_one_batch: bool = True) -> LogRead:
        """Whole batches below the high watermark. Raises OffsetOutOfRangeError; ReplicaBehindError for an offset beyond
        the end of a follower's log, which is for the leader to judge.

        Empty from the high watermark to the log's end: a new leader does not know at once how much of its log is
        committed, and a consumer that was further with the old one must not be sent to look for its place.
        """
        if offset > self.log.log_end_offset and isinstance(self.role, FollowerState):
            raise ReplicaBehindError(
                f"node {self._node_id} follows {self.name} and holds it up to {self.log.log_end_offset}: "
                f"ask the leader for offset {offset}"
            )
        if not self.log.log_start_offset <= offset <= self.log.log_end_offset:
            raise OffsetOutOfRangeError(
                f"offset {offset} of {self.name} is outside {self.log.log_start_offset} (earliest) to "
                f"{self.high_watermark} (latest)"
            )
        return self.read(
            offset, max_bytes, end_offset=self.high_watermark, min_one_batch=min_one_batch
        )

    def read(
        self, offset: int, max_bytes: int, *, end_offset: int, min_one_batch: bool = True
    ) -> LogRead:
        """Whole batches below `end_offset`, committed or not; the first even above `max_bytes` when `min_one_batch`.

        Raises what the log raises.
        """
        batches = self.log.read(
            offset, max_bytes, end_offset=end_offset, min_one_batch=min_one_batch
        )
        return LogRead(batches, record_stream.end_offset(batches) if len(batches) else offset)

    def flushed(self) -> None:
        """The log's durable end has moved."""
        if isinstance(self.role, LeaderState) and self.role.flushed(self.log.flushed_offset):
            self.commit()

    def follower_saw(self, high_watermark: int) -> None:
        """The leader's high watermark, as far as this log goes. It never goes back."""
        role = self.role
        assert isinstance(role, FollowerState), "a leader has its own high watermark"
        reached = min(high_watermark, self.log.log_end_offset)
        if reached > role.high_watermark:
            role.high_watermark = reached
            self.on_commit.run()

    def truncate(self, offset: int, known: CutFacts | None = None) -> None:
        """Cut a follower's log, and with it what the high watermark may claim (after an unclean election only)."""
        role = self.role
        assert isinstance(role, FollowerState), "a leader never cuts its log"
        self.log.truncate_to(offset, known)
        role.high_watermark = min(role.high_watermark, self.log.log_end_offset)

    def restart_at(self, offset: int) -> None:
        """Throw away a follower's whole log: the leader's begins beyond its end."""
        role = self.role
        assert isinstance(role, FollowerState), "a leader never cuts its log"
        self.log.truncate_fully_and_start_at(offset)
        role.high_watermark = offset

    def went_offline(self, error: Exception) -> None:
        """The log is fenced after an IO error: nobody is served from it, and the controller is to hear of it."""
        if self.offline is not None:
            return
        self.offline = error
        self.become_follower(-1, self.role.leader_epoch)
        self.on_offline.run()

    def commit(self) -> None:
        """Answer everyone who waited for what is now below the high watermark."""
        reached = self.role.high_watermark
        waiters = self._waiters
        while waiters and waiters[0].end_offset <= reached:
            done = waiters.popleft().done
            if not done.done():
                done.set_result(None)
        self.on_commit.run()

    def close(self) -> None:
        """The replica leaves this broker."""
        self._fail_waiters(self.role.leader_epoch, -1)
        self.role = FollowerState(-1, self.role.leader_epoch, self.role.high_watermark)
        self.on_commit.run()
        self.on_append.run()

    def _fail_waiters(self, leader_epoch: int, leader_id: int) -> None:
        for waiter in self._waiters:
            if not waiter.done.done():
                waiter.done.set_exception(
                    NotLeaderError(
                        f"node {self._node_id} lost the leadership of {self.name} before the records were "
                        f"acknowledged: they may or may not have been kept",
                        leader_id,
                        leader_epoch,
                    )
                )
        self._waiters.clear()

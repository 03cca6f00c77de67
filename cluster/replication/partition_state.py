"""What a leader knows and decides about one partition: ISR, high watermark, who may join or must leave.

Pure: offsets, epochs and the time come in, decisions go out. An ISR change is proposed to the controller and is in
flight (`PendingExpand`, `PendingShrink`) until the metadata log brings it back; meanwhile the high watermark is held
by the *maximal* ISR, the union of what is committed and what is proposed, because either may turn out to be true
(KAFKA-13091; model: Kafka's Partition.scala).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Committed:
    """The ISR is what the metadata log says; nothing is in flight."""

    isr: frozenset[int]

    @property
    def maximal(self) -> frozenset[int]:
        """Every replica that may be in the ISR."""
        return self.isr


@dataclass(frozen=True, slots=True)
class PendingExpand:
    """A replica was proposed as a new member and counts for the high watermark already."""

    isr: frozenset[int]
    joining: int

    @property
    def maximal(self) -> frozenset[int]:
        """The committed members and the one that may have joined."""
        return self.isr | {self.joining}

    @property
    def proposed(self) -> frozenset[int]:
        """What the controller was asked for."""
        return self.isr | {self.joining}


@dataclass(frozen=True, slots=True)
class PendingShrink:
    """Replicas were proposed for removal and go on counting until the removal is committed."""

    isr: frozenset[int]
    leaving: frozenset[int]

    @property
    def maximal(self) -> frozenset[int]:
        """The committed members: none of them is gone yet."""
        return self.isr

    @property
    def proposed(self) -> frozenset[int]:
        """What the controller was asked for."""
        return self.isr - self.leaving


IsrState = Committed | PendingExpand | PendingShrink


@dataclass(slots=True)
class FollowerProgress:
    """What the leader knows of one follower.

    end_offset: the first offset the follower does not hold durably, -1 before its first word in this epoch.
    caught_up_ms: when it last held everything the leader had then.
    mark_offset, mark_ms: a past log end of the leader and its time; whoever reaches it was caught up at that time, even
    if the log has grown on meanwhile (under constant load it always has).
    broker_epoch: the incarnation that spoke, so that a rebooted follower cannot join on its past (KIP-903).
    no_room: its disk is full, by its own word; until it subscribes again.
    """

    end_offset: int = -1
    caught_up_ms: int = 0
    broker_epoch: int = -1
    mark_offset: int = -1
    mark_ms: int = 0
    no_room: bool = False

    def note_position(self, log_end_offset: int, now_ms: int) -> None:
        """`end_offset` has moved; the leader's log ends at `log_end_offset` now."""
        if self.end_offset >= log_end_offset:
            self.caught_up_ms = now_ms
        elif self.mark_offset >= 0:
            if self.end_offset < self.mark_offset:
                return
            self.caught_up_ms = max(self.caught_up_ms, self.mark_ms)
        self.mark_offset, self.mark_ms = log_end_offset, now_ms


@dataclass(slots=True)
class LeaderState:
    """One leader epoch of one partition, from election to replacement.

    own_end_offset is the leader's own durable end: unsynced bytes never count (promise 1 of DESIGN.md).
    followers: the other replicas, and whoever else has spoken in this leader epoch. A replica is added without a new
    leader epoch, so it may know of its assignment before the leader does, and while nothing is appended it speaks only
    once. A replica that is dropped ends the leader epoch, so whoever speaks in it is to be a replica.
    """

    node_id: int
    leader_epoch: int
    partition_epoch: int
    replicas: tuple[int, ...]
    isr_state: IsrState
    epoch_start_offset: int
    high_watermark: int
    own_end_offset: int
    min_insync_replicas: int
    followers: dict[int, FollowerProgress] = field(default_factory=dict)

    @classmethod
    def elected(
        cls,
        *,
        node_id: int,
        leader_epoch: int,
        partition_epoch: int,
        replicas: Iterable[int],
        isr: Iterable[int],
        log_end_offset: int,
        flushed_offset: int,
        high_watermark: int,
        min_insync_replicas: int,
        now_ms: int,
    ) -> "LeaderState":
        """A fresh epoch: nothing is known of the followers, and each has the full lag time to report."""
        state = cls(
            node_id=node_id,
            leader_epoch=leader_epoch,
            partition_epoch=partition_epoch,
            replicas=tuple(replicas),
            isr_state=Committed(frozenset(isr)),
            epoch_start_offset=log_end_offset,
            high_watermark=high_watermark,
            own_end_offset=flushed_offset,
            min_insync_replicas=min_insync_replicas,
        )
        state._keep_followers(now_ms)
        return state

    @property
    def isr(self) -> frozenset[int]:
        """The committed ISR."""
        return self.isr_state.isr

    @property
    def in_flight(self) -> bool:
        """Whether an ISR change waits for the controller."""
        return not isinstance(self.isr_state, Committed)

    @property
    def has_enough_replicas(self) -> bool:
        """Whether acks=all may be accepted: `min.insync.replicas` members are in the committed ISR."""
        return len(self.isr) >= self.effective_min_isr

    @property
    def effective_min_isr(self) -> int:
        """`min.insync.replicas`, no more than there are replicas (KIP-966)."""
        return min(self.min_insync_replicas, len(self.replicas))

    def metadata_changed(
        self, *, partition_epoch: int, replicas: Iterable[int], isr: Iterable[int], now_ms: int
    ) -> bool:
        """Take a newer committed state of the same leader epoch; an older one changes nothing.

        Returns whether the high watermark moved.
        """
        if partition_epoch <= self.partition_epoch:
            return False
        self.partition_epoch = partition_epoch
        self.replicas = tuple(replicas)
        self.isr_state = Committed(frozenset(isr))
        self._keep_followers(now_ms)
        return self.advance_high_watermark()

    def flushed(self, own_end_offset: int) -> bool:
        """The leader's own log is durable up to here. Returns whether the high watermark moved."""
        if own_end_offset <= self.own_end_offset:
            return False
        self.own_end_offset = own_end_offset
        return self.advance_high_watermark()

    def follower_acked(
        self, replica: int, end_offset: int, *, log_end_offset: int, broker_epoch: int, now_ms: int
    ) -> bool:
        """A follower holds everything below `end_offset` durably. Returns whether the high watermark moved.

        A new incarnation begins anew: what an earlier one held may be gone (KIP-903).
        """
        progress = self.followers.get(replica)
        if progress is None:
            progress = self.followers[replica] = FollowerProgress(caught_up_ms=now_ms)
        if broker_epoch < progress.broker_epoch:
            return False
        if broker_epoch > progress.broker_epoch:
            progress.broker_epoch = broker_epoch
            progress.end_offset = progress.mark_offset = -1
        progress.end_offset = max(progress.end_offset, end_offset)
        progress.note_position(log_end_offset, now_ms)
        return self.advance_high_watermark()

    def may_join(self, eligible: Callable[[int, int], bool]) -> int | None:
        """The replica to propose as a new ISR member, if one has caught up and nothing is in flight.

        eligible: (node id, broker epoch) -> whether that incarnation is alive and not shutting down (KIP-841).

        A follower may join once it holds the high watermark and the start of this leader epoch: before that its log
        may still differ from ours, or lack what a consumer has seen (KAFKA-7128).
        """
        if self.in_flight:
            return None
        needed = max(self.high_watermark, self.epoch_start_offset)
        for replica in sorted(self.replicas):
            progress = self.followers.get(replica)
            if progress is None or replica in self.isr:
                continue
            if progress.end_offset < needed or progress.no_room:
                continue
            if eligible(replica, progress.broker_epoch):
                return replica
        return None

    def propose_join(self, replica: int) -> Mapping[int, int]:
        """Note the expansion as in flight. Returns the proposal: node id -> broker epoch (-1: the leader's own)."""
        assert isinstance(self.isr_state, Committed), "one ISR change at a time"
        self.isr_state = PendingExpand(self.isr, replica)
        return self._with_epochs(self.isr_state.proposed)

    def lagging(self, log_end_offset: int, lag_time_max_ms: int, now_ms: int) -> frozenset[int]:
        """ISR members that have not been caught up within `replica.lag.time.max.ms`."""
        if self.in_flight:
            return frozenset()
        return frozenset(
            replica
            for replica, progress in self.followers.items()
            if replica in self.isr
            and progress.end_offset < log_end_offset
            and now_ms - progress.caught_up_ms > lag_time_max_ms
        )

    def follower_has_room(self, replica: int, *, room: bool) -> None:
        """A follower says that it cannot take more, or begins again."""
        progress = self.followers.get(replica)
        if progress is not None:
            progress.no_room = not room

    def without_room(self, leaving: frozenset[int]) -> frozenset[int]:
        """ISR members that take nothing more, as many as can be spared when those `leaving` have left.

        Below `min.insync.replicas` nothing would be gained: then they have the lag time to find room.
        """
        if self.in_flight:
            return frozenset()
        left = self.isr - leaving
        full = sorted(
            each for each in left if each in self.followers and self.followers[each].no_room
        )
        return frozenset(full[: max(0, len(left) - self.effective_min_isr)])

    def propose_leave(self, leaving: frozenset[int]) -> Mapping[int, int]:
        """Note the shrink as in flight. Returns the proposal: node id -> broker epoch (-1: the leader's own)."""
        assert isinstance(self.isr_state, Committed), "one ISR change at a time"
        assert self.node_id not in leaving, "a leader never removes itself"
        self.isr_state = PendingShrink(self.isr, leaving)
        return self._with_epochs(self.isr_state.proposed)

    def proposal_refused(self, partition_epoch: int) -> bool:
        """The controller said no to the only sending of the proposal made at `partition_epoch`: it never becomes true.

        A proposal of unknown fate must stay in flight. Returns whether the high watermark moved.
        """
        if partition_epoch != self.partition_epoch or not self.in_flight:
            return False
        self.isr_state = Committed(self.isr)
        return self.advance_high_watermark()

    def withdrawal(self) -> Mapping[int, int]:
        """The proposal that voids what is in flight: the committed ISR (node id -> broker epoch)."""
        return self._with_epochs(self.isr)

    def caught_up_when_appending(self, log_end_offset: int, now_ms: int) -> None:
        """Called before the log grows: who holds all of it is caught up until now."""
        for progress in self.followers.values():
            if progress.end_offset >= log_end_offset:
                progress.caught_up_ms = now_ms

    def _with_epochs(self, members: Iterable[int]) -> Mapping[int, int]:
        return {
            member: self.followers[member].broker_epoch if member in self.followers else -1
            for member in sorted(members)
        }

    def _keep_followers(self, now_ms: int) -> None:
        for replica in self.replicas:
            if replica != self.node_id and replica not in self.followers:
                self.followers[replica] = FollowerProgress(caught_up_ms=now_ms)

    def advance_high_watermark(self) -> bool:
        """The high watermark is the smallest durable end in the maximal ISR, and never goes back.

        It stands still while fewer than `min.insync.replicas` are in sync (KIP-966): what one node alone holds
        would be lost with it.
        """
        if not self.has_enough_replicas:
            return False
        lowest = self.own_end_offset
        for replica in self.isr_state.maximal:
            if replica != self.node_id:
                lowest = min(lowest, self.followers[replica].end_offset)
        if lowest <= self.high_watermark:
            return False
        self.high_watermark = lowest
        return True

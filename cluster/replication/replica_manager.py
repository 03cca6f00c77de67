"""All replicas of this broker: their logs, their roles, and the fetchers that follow other brokers."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

import structlog

from cluster.peers.network import Peer, PeerNetwork, PeerStream
from cluster.replication import high_watermarks
from cluster.replication.disk_guard import RESERVE_BYTES, DiskGuard
from cluster.replication.isr_proposals import Eligible, IsrProposals, Propose
from cluster.replication.leader_session import LeaderSession
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from cluster.replication.replica_fetcher import ReplicaFetcher
from kraft.metadata.image import PartitionRegistration
from storage.errors import OttlaError
from storage.group_commit import GroupCommit
from storage.log_config import LogConfig
from storage.log_directory import LogDirectory, LogIdentity
from storage.partition_log import PartitionLog

log = structlog.get_logger("replicas")

# Kafka's replica.high.watermark.checkpoint.interval.ms.
HIGH_WATERMARK_INTERVAL_S = 5.0


class Clock(NamedTuple):
    """now_ms: monotonic, for every decision. now_wall_ms: for record timestamps and retention only."""

    now_ms: Callable[[], int]
    now_wall_ms: Callable[[], int]


class ReplicaManager:
    """Owns the partitions of one broker. `broker_epoch` is this incarnation's; `peer` finds a broker's peer address.
    log_lost: called when a replica's log is fenced after an IO error.
    """

    def __init__(
        self,
        node_id: int,
        directory: LogDirectory,
        network: PeerNetwork,
        clock: Clock,
        rng: random.Random,
        *,
        broker_epoch: Callable[[], int],
        peer: Callable[[int], Peer | None],
        propose: Propose,
        eligible: Eligible,
        log_lost: Callable[[], None] = lambda: None,
        disk_reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self.node_id = node_id
        self.partitions: dict[TopicIdPartition, Partition] = {}
        self._directory = directory
        self._high_watermarks = high_watermarks.read(directory.disk)
        self._network = network
        self._commit = GroupCommit(
            directory.disk, on_flushed=self.log_flushed, on_error=self.log_failed
        )
        self._clock = clock
        self._rng = rng
        self._broker_epoch = broker_epoch
        self._peer = peer
        self._proposals = IsrProposals(propose, eligible)
        self._log_lost = log_lost
        self._fetchers: dict[Peer, ReplicaFetcher] = {}
        self._following: dict[TopicIdPartition, ReplicaFetcher] = {}
        self._by_log: dict[PartitionLog, Partition] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._lag_time_max_ms = 10_000
        self._guard = DiskGuard(directory.disk, disk_reserve_bytes)

    async def run(self) -> None:
        """Replicate until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for fetcher in self._fetchers.values():
                tasks.create_task(fetcher.run())
            tasks.create_task(self._guard.run())
            tasks.create_task(self._commit.run())
            tasks.create_task(self._proposals.run())
            tasks.create_task(self._watch_lag())
            tasks.create_task(self._keep_high_watermarks())

    async def serve_follower(self, stream: PeerStream) -> None:
        """Serve one follower broker's stream until it breaks."""
        session = LeaderSession(
            stream,
            self.partitions.get,
            self._proposals.consider_join,
            self._consider_leave,
            self._clock.now_ms,
        )
        await session.run()

    def led(self) -> Iterator[Partition]:
        """The partitions that this broker leads."""
        for partition in self.partitions.values():
            if isinstance(partition.role, LeaderState):
                yield partition

    async def prepare(self, wanted: Iterable[tuple[TopicIdPartition, str, LogConfig]]) -> None:
        """Have the logs of these replicas open, those that are new made and named on disk. Raises nothing: a replica
        whose log cannot be had stays away, and the error is told.
        """
        missing = []
        for identity, topic, config in wanted:
            if identity in self.partitions:
                continue
            found = self._directory.get(str(identity.topic_id), identity.partition)
            if found is not None:
                found.reconfigure(config)
                self._add(identity, topic, found)
            else:
                missing.append((identity, topic, config))
        made = await asyncio.gather(*(self._create(*each) for each in missing))
        for (identity, topic, _), opened in zip(missing, made, strict=True):
            if opened is not None:
                self._add(identity, topic, opened)

    def lead(
        self,
        identity: TopicIdPartition,
        registration: PartitionRegistration,
        min_insync_replicas: int,
    ) -> None:
        """Begin to lead a partition in the leader epoch of `registration`."""
        self._unfollow(identity)
        partition = self._usable(identity)
        if partition is None:
            return
        state = LeaderState.elected(
            node_id=self.node_id,
            leader_epoch=registration.leader_epoch,
            partition_epoch=registration.partition_epoch,
            replicas=registration.replicas,
            isr=registration.isr,
            log_end_offset=partition.log.log_end_offset,
            flushed_offset=partition.log.flushed_offset,
            high_watermark=partition.high_watermark,
            min_insync_replicas=min_insync_replicas,
            now_ms=self._clock.now_ms(),
        )
        partition.become_leader(state)
        if state.advance_high_watermark():
            partition.commit()
        self.request_flush(partition)

    def follow(self, identity: TopicIdPartition, registration: PartitionRegistration) -> None:
        """Begin to follow the leader of `registration`, or wait for one when there is none."""
        partition = self._usable(identity)
        if partition is None:
            return
        partition.become_follower(registration.leader, registration.leader_epoch)
        self._unfollow(identity)
        peer = self._peer(registration.leader) if registration.leader >= 0 else None
        if peer is not None:
            fetcher = self._fetcher(peer)
            fetcher.follow(partition, registration.leader_epoch)
            self._following[identity] = fetcher

    def update(
        self,
        identity: TopicIdPartition,
        registration: PartitionRegistration,
        min_insync_replicas: int,
    ) -> None:
        """Take a new ISR or assignment of a partition that this broker goes on leading."""
        partition = self.partitions.get(identity)
        if partition is None or not isinstance(partition.role, LeaderState):
            return
        partition.role.min_insync_replicas = min_insync_replicas
        moved = partition.role.metadata_changed(
            partition_epoch=registration.partition_epoch,
            replicas=registration.replicas,
            isr=registration.isr,
            now_ms=self._clock.now_ms(),
        )
        if moved:
            partition.commit()
        self._consider_leave(partition)
        self._proposals.consider_join(partition)

    def configure(
        self, identity: TopicIdPartition, config: LogConfig, min_insync_replicas: int
    ) -> None:
        """Take changed settings."""
        partition = self.partitions.get(identity)
        if partition is None:
            return
        partition.log.reconfigure(config)
        if isinstance(partition.role, LeaderState):
            partition.role.min_insync_replicas = min_insync_replicas
            if partition.role.advance_high_watermark():
                partition.commit()

    async def remove(self, identity: TopicIdPartition, *, reason: str) -> None:
        """Give a replica up: it is assigned elsewhere or its topic is gone. Its data are deleted."""
        self._unfollow(identity)
        partition = self.partitions.pop(identity, None)
        if partition is None:
            return
        log.info("replica removed", partition=partition.name, reason=reason)
        del self._by_log[partition.log]
        partition.close()
        try:
            await self._directory.delete_log(str(identity.topic_id), identity.partition)
        except OttlaError as error:
            log.error(
                "replica's data could not be deleted", partition=partition.name, error=str(error)
            )

    async def remove_strays(self, assigned: Callable[[TopicIdPartition], bool]) -> None:
        """Delete the logs of replicas that went elsewhere, or whose topics were deleted, while this node was away.

        `assigned` must come from metadata that this broker's own registration is part of. A log that could not be
        read is not touched (bugs.md S6).
        """
        for key in list(self._directory.logs):
            identity = TopicIdPartition(UUID(key.topic_id), key.partition)
            if assigned(identity):
                continue
            folder = self._directory.logs[key].folder
            try:
                await self._directory.delete_log(*key)
                log.info("stray replica removed", folder=folder, topic_id=key.topic_id)
            except OttlaError as error:
                log.error("stray replica not removed", folder=folder, error=str(error))

    def reconsider_joins(self) -> None:
        """Brokers came or went: a follower that has caught up may be welcome now."""
        for partition in self.led():
            self._proposals.consider_join(partition)

    def registered_again(self) -> None:
        """This broker has another epoch than before: leaders that it follows must hear of it."""
        for fetcher in self._fetchers.values():
            fetcher.introduce_again()

    def set_lag_time_max(self, lag_time_max_ms: int) -> None:
        """`replica.lag.time.max.ms`."""
        self._lag_time_max_ms = lag_time_max_ms

    def request_flush(self, partition: Partition) -> None:
        """Make what was appended durable with the next group commit; with flush.policy=os it counts at once."""
        if partition.log.needs_flush:
            self._commit.request(partition.log)
        else:
            self.log_flushed(partition.log)

    def log_flushed(self, flushed: PartitionLog) -> None:
        """The group commit's word: the durable end of this log has moved."""
        partition = self._by_log.get(flushed)
        if partition is None:
            return
        partition.flushed()
        fetcher = self._following.get(partition.identity)
        if fetcher is not None:
            fetcher.flushed(partition.identity)

    def log_failed(self, failed: PartitionLog, error: OttlaError) -> None:
        """The group commit's word: this log is fenced after an IO error."""
        partition = self._by_log.get(failed)
        if partition is not None:
            partition.went_offline(error)

    async def _create(
        self, identity: TopicIdPartition, topic: str, config: LogConfig
    ) -> PartitionLog | None:
        try:
            return await self._directory.create_log(
                LogIdentity(topic, str(identity.topic_id), identity.partition),
                config,
                now_ms=self._clock.now_wall_ms(),
            )
        except OttlaError as error:
            log.error(
                "replica cannot be made",
                partition=f"{topic}-{identity.partition}",
                error=str(error),
            )
            return None

    def _add(self, identity: TopicIdPartition, topic: str, opened: PartitionLog) -> None:
        partition = Partition(identity, topic, opened, self.node_id, self._guard)
        start = opened.log_start_offset
        known = self._high_watermarks.get((str(identity.topic_id), identity.partition), start)
        partition.role.high_watermark = max(start, min(known, opened.log_end_offset))
        partition.on_offline.add(lambda: self._offline(partition))
        self.partitions[identity] = partition
        self._by_log[opened] = partition

    def _offline(self, partition: Partition) -> None:
        """Leaderships must go to brokers whose disks work; what is left here is found out at the next start (S1)."""
        log.error(
            "replica is offline until this node is restarted: its disk failed",
            partition=partition.name,
            error=str(partition.offline),
        )
        self._unfollow(partition.identity)
        self._log_lost()

    def _usable(self, identity: TopicIdPartition) -> Partition | None:
        """The replica, unless its log could not be opened or is fenced."""
        partition = self.partitions.get(identity)
        return partition if partition is not None and partition.offline is None else None

    def _fetcher(self, peer: Peer) -> ReplicaFetcher:
        fetcher = self._fetchers.get(peer)
        if fetcher is None:
            fetcher = ReplicaFetcher(
                self._network,
                peer,
                self._broker_epoch,
                self.request_flush,
                self._clock.now_wall_ms,
                self._rng,
            )
            self._fetchers[peer] = fetcher
            if self._tasks is not None:
                self._tasks.create_task(fetcher.run())
        return fetcher

    def _unfollow(self, identity: TopicIdPartition) -> None:
        fetcher = self._following.pop(identity, None)
        if fetcher is not None:
            fetcher.unfollow(identity)

    async def save_high_watermarks(self) -> None:
        """Write down how far each replica is committed, so that a restart need not begin at nothing."""
        known = {
            (str(identity.topic_id), identity.partition): partition.high_watermark
            for identity, partition in self.partitions.items()
        }
        if known == self._high_watermarks:
            return
        try:
            await high_watermarks.write(self._directory.disk, known)
            self._high_watermarks = known
        except OSError as error:
            log.warning("high watermarks not saved", error=str(error))

    async def _keep_high_watermarks(self) -> None:
        while True:
            await asyncio.sleep(HIGH_WATERMARK_INTERVAL_S)
            await self.save_high_watermarks()

    async def _watch_lag(self) -> None:
        while True:
            await asyncio.sleep(self._lag_time_max_ms / 2000)
            for partition in list(self.led()):
                self._consider_leave(partition)

    def _consider_leave(self, partition: Partition) -> None:
        now = self._clock.now_ms()
        self._proposals.consider_leave(partition, self._lag_time_max_ms, now)

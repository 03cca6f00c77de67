"""Brings this broker's replicas in line with each new metadata image: failover, seen from a broker."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from cluster.failover.local_changes import LocalChanges, LocalReplica, local_changes
from cluster.failover.log_settings import log_config
from cluster.replication.partition import TopicIdPartition
from cluster.replication.replica_manager import ReplicaManager
from kraft.metadata.effective_config import broker_value, floors, topic_config
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage
from storage.log_config import LogConfig

log = structlog.get_logger("failover")

# A change of more partitions than this is told in one line.
LINES_MAX = 20
RETRY_MISSING_S = 2.0


class MetadataFollower:
    """Does nothing until `begin`: a restarting broker must not act on what was true in its last life."""

    def __init__(
        self,
        node_id: int,
        replicas: ReplicaManager,
        static: Mapping[str, str],
        now_ms: Callable[[], int],
        roles_changed: Callable[[MetadataImage], None],
    ) -> None:
        """`roles_changed` is called when the replicas have the roles that an image gives them."""
        self._roles_changed = roles_changed
        self._node_id = node_id
        self._replicas = replicas
        self._static = static
        self._now_ms = now_ms
        self._image = EMPTY_IMAGE
        self._newest = EMPTY_IMAGE
        self.begun = False
        self._missing: dict[TopicIdPartition, str] = {}
        self._wake = asyncio.Event()

    def begin(self) -> None:
        """This broker is registered: act on the newest image from now on."""
        self.begun = True
        self._wake.set()

    def publish(self, image: MetadataImage) -> None:
        """There is a newer image."""
        self._newest = image
        self._wake.set()

    async def run(self) -> None:
        """Follow the images until cancelled; those that came while one was taken in are taken in together."""
        while True:
            try:
                async with asyncio.timeout(RETRY_MISSING_S if self._missing else None):
                    await self._wake.wait()
            except TimeoutError:
                await self._retry_missing()
            self._wake.clear()
            if self.begun and self._newest is not self._image:
                await self._take(self._newest)

    async def _take(self, image: MetadataImage) -> None:
        old, self._image = self._image, image
        if old is EMPTY_IMAGE:
            await self._replicas.remove_strays(self._is_mine)
        if old.configs is not image.configs or old is EMPTY_IMAGE:
            self._configure()
        changes = local_changes(old, image, self._node_id)
        if changes:
            await self._make(changes, old)
        if old.brokers is not image.brokers:
            self._replicas.reconsider_joins()
        self._roles_changed(image)

    def _is_mine(self, identity: TopicIdPartition) -> bool:
        found = self._image.partition(*identity)
        return found is not None and self._node_id in found.replicas

    async def _make(self, changes: LocalChanges, old: MetadataImage) -> None:
        began_ms = self._now_ms()
        for identity in changes.deleted:
            await self._replicas.remove(identity, reason="the topic was deleted")
        for identity in changes.removed:
            await self._replicas.remove(identity, reason="assigned to other brokers")
        for replica in changes.updated:
            self._replicas.update(
                replica.identity, replica.registration, self._min_insync_replicas(replica.topic)
            )
        await self._replicas.prepare(
            (replica.identity, replica.topic, self._log_config(replica.topic))
            for replica in (*changes.leaders, *changes.followers)
        )
        for replica in (*changes.leaders, *changes.followers):
            self._begin_epoch(replica)
        self._tell(old, changes.leaders, self._now_ms() - began_ms)

    def _begin_epoch(self, replica: LocalReplica) -> None:
        identity, topic, registration = replica
        if identity not in self._replicas.partitions:
            self._missing[identity] = topic
            return
        # A role that has begun must not begin again: followers tell each leader epoch only once what they hold.
        self._missing.pop(identity, None)
        if registration.leader == self._node_id:
            self._replicas.lead(identity, registration, self._min_insync_replicas(topic))
        else:
            self._replicas.follow(identity, registration)

    async def _retry_missing(self) -> None:
        """Replicas whose logs could not be made (a full disk, say), as they are wanted now."""
        missing, self._missing = self._missing, {}
        wanted = [
            LocalReplica(identity, topic, found)
            for identity, topic in missing.items()
            if self._is_mine(identity) and (found := self._image.partition(*identity)) is not None
        ]
        await self._replicas.prepare(
            (each.identity, each.topic, self._log_config(each.topic)) for each in wanted
        )
        for each in wanted:
            self._begin_epoch(each)

    def _configure(self) -> None:
        found = floors(self._image, node_id=self._node_id, static=self._static)
        self._replicas.set_lag_time_max(broker_value(found, "replica.lag.time.max.ms"))
        for identity, partition in self._replicas.partitions.items():
            self._replicas.configure(
                identity,
                self._log_config(partition.topic),
                self._min_insync_replicas(partition.topic),
            )

    def _log_config(self, topic: str) -> LogConfig:
        return log_config(
            floors(self._image, topic=topic, node_id=self._node_id, static=self._static)
        )

    def _min_insync_replicas(self, topic: str) -> int:
        found = floors(self._image, topic=topic, node_id=self._node_id, static=self._static)
        return topic_config(found).min_insync_replicas

    def _tell(self, old: MetadataImage, leaders: list[LocalReplica], took_ms: int) -> None:
        """One line a leadership, with its cause."""
        for replica in leaders[:LINES_MAX]:
            registration = replica.registration
            before = old.partition(replica.identity.topic_id, replica.identity.partition)
            log.info(
                "leading",
                partition=f"{replica.topic}-{replica.identity.partition}",
                leader_epoch=registration.leader_epoch,
                isr=list(registration.isr),
                cause=_cause(old, self._image, before.leader if before else None, self._node_id),
                took_ms=took_ms,
            )
        if len(leaders) > LINES_MAX:
            log.info("leading more partitions", count=len(leaders) - LINES_MAX, took_ms=took_ms)


def _cause(old: MetadataImage, new: MetadataImage, previous: int | None, node_id: int) -> str:
    if previous is None:
        return "new partition" if old is not EMPTY_IMAGE else "this broker has started"
    if previous in (-1, node_id):
        return "it had no leader"
    broker = new.brokers.get(previous)
    if broker is None or broker.fenced:
        return f"broker {previous} was fenced"
    if broker.in_controlled_shutdown:
        return f"broker {previous} is shutting down"
    return f"moved from broker {previous}"

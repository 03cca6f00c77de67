"""What must hold at every moment, not only at the end: looked at while the load runs.

The ghost log holds every batch that was ever below the high watermark of any replica, leader or follower, dead or
alive: such a batch is committed, so whoever else has that offset below its high watermark has the same bytes
(log matching below the high watermark; bugs I1, I3, I6).

Whoever the controller might elect without loss, the ISR and the ELR, holds all that is committed on its disk. An ISR
that is too large is wrong for a few milliseconds only, so this is looked at much more often than the bytes.
"""

import asyncio

from cluster.broker import Broker
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from kraft.metadata.image import EMPTY_IMAGE
from storage.record_batch import iter_headers
from tests.simulation.cluster import SimCluster

GLANCE_EVERY_S = 0.004
GLANCES_A_LOOK = 5


class Watcher:
    """Compares all replicas with the ghost log, leaders with each other, high watermarks with what is on the disks."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        # (partition, base offset) -> (leader epoch, CRC)
        self._ghost: dict[tuple[TopicIdPartition, int], tuple[int, int]] = {}
        self._looked: dict[Partition, int] = {}
        # (partition, leader epoch) -> node
        self._leaders: dict[tuple[TopicIdPartition, int], int] = {}
        # (the furthest that any replica ever called committed, the leader epoch of the record before it)
        self._committed: dict[TopicIdPartition, tuple[int, int]] = {}
        self._image = EMPTY_IMAGE

    async def run(self, stop: asyncio.Event) -> None:
        """Look now and then until told to stop."""
        glances = 0
        while not stop.is_set():
            self.glance()
            if glances % GLANCES_A_LOOK == 0:
                self.look()
            glances += 1
            await asyncio.sleep(GLANCE_EVERY_S)

    def glance(self) -> None:
        """Nobody who may be elected lacks what is committed (I2, I3, KIP-903; StrongIsr). Raises AssertionError."""
        replicas: dict[tuple[TopicIdPartition, int], Partition] = {}
        for broker in self._cluster.brokers():
            if broker.image.offset > self._image.offset:
                self._image = broker.image
            for identity, partition in broker.replicas.partitions.items():
                if partition.offline is None and partition.log.offline is None:
                    replicas[identity, broker.node_id] = partition
                    self._note_committed(partition)
        for topic, number, found in self._image.partitions():
            identity = TopicIdPartition(topic.topic_id, number)
            for node_id in (*found.isr, *found.elr):
                candidate = replicas.get((identity, node_id))
                if candidate is not None:
                    self._check_candidate(node_id, candidate)

    def _note_committed(self, partition: Partition) -> None:
        offset = partition.high_watermark
        if offset > self._committed.get(partition.identity, (0, 0))[0]:
            self._committed[partition.identity] = offset, partition.log.epoch_at(offset - 1)

    def _check_candidate(self, node_id: int, candidate: Partition) -> None:
        offset, epoch = self._committed.get(candidate.identity, (0, 0))
        log = candidate.log
        where = f"{candidate.name} on node {node_id}, which may be elected"
        assert log.synced_offset >= offset, (
            f"{where}: its disk holds {log.synced_offset} of {offset} committed (I2, I3)"
        )
        found = log.epoch_at(offset - 1)
        assert offset <= log.log_start_offset or found == epoch, (
            f"{where}: the record before {offset} is of epoch {found}, the committed one was of {epoch} (I1)"
        )

    def look(self) -> None:
        """Raises AssertionError."""
        for broker in self._cluster.brokers():
            for partition in broker.replicas.partitions.values():
                if partition.offline is None and partition.log.offline is None:
                    self._check_replica(broker, partition)
                    self._check_leader(broker, partition)

    def _check_replica(self, broker: Broker, partition: Partition) -> None:
        log, committed = partition.log, partition.high_watermark
        where = f"{partition.name} on node {broker.node_id}"
        assert log.log_start_offset <= committed <= log.log_end_offset, (
            f"{where}: high watermark {committed} is outside its log {log!r} (I6)"
        )
        offset = max(log.log_start_offset, min(self._looked.get(partition, 0), committed))
        while offset < committed:
            batches = log.read(offset, 1 << 20, end_offset=committed)
            if not len(batches):
                break
            for _, header in iter_headers(batches):
                found = (header.partition_leader_epoch, header.crc)
                key = (partition.identity, header.base_offset)
                known = self._ghost.setdefault(key, found)
                assert known == found, (
                    f"{where}: at {header.base_offset} is (epoch, CRC) {found}, committed was {known}"
                )
                offset = header.last_offset + 1
        self._looked[partition] = offset

    def _check_leader(self, broker: Broker, partition: Partition) -> None:
        state = partition.role
        if not isinstance(state, LeaderState):
            return
        key = (partition.identity, state.leader_epoch)
        other = self._leaders.setdefault(key, broker.node_id)
        assert other == broker.node_id, (
            f"nodes {other} and {broker.node_id} both led {partition.name} in epoch {state.leader_epoch}"
        )
        self._check_durable(partition, state)

    def _check_durable(self, partition: Partition, state: LeaderState) -> None:
        """Promise 1: what is committed was fsynced on `min.insync.replicas` nodes (S5). Told only when all are up."""
        holders = [
            found.log.synced_offset
            for broker in self._cluster.brokers()
            if (found := broker.replicas.partitions.get(partition.identity)) is not None
        ]
        if len(holders) == len(state.replicas):
            safe = sorted(holders, reverse=True)[state.effective_min_isr - 1]
            assert state.high_watermark <= safe, (
                f"{partition.name}: {state.high_watermark} is committed, {state.effective_min_isr} disks hold {safe}"
            )

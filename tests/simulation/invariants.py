"""What must hold at every moment, not only at the end: looked at while the load runs.

The ghost log holds every batch that was ever below the high watermark of any replica, leader or follower, dead or
alive: such a batch is committed, so whoever else has that offset below its high watermark has the same bytes
(log matching below the high watermark; bugs I1, I3, I6).
"""

import asyncio

from cluster.broker import Broker
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from storage.record_batch import iter_headers
from tests.simulation.cluster import SimCluster

LOOK_EVERY_S = 0.02


class Watcher:
    """Compares all replicas with the ghost log, leaders with each other, high watermarks with what is on the disks."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        # (partition, base offset) -> (leader epoch, CRC)
        self._ghost: dict[tuple[TopicIdPartition, int], tuple[int, int]] = {}
        self._looked: dict[Partition, int] = {}
        # (partition, leader epoch) -> node
        self._leaders: dict[tuple[TopicIdPartition, int], int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Look now and then until told to stop."""
        while not stop.is_set():
            self.look()
            await asyncio.sleep(LOOK_EVERY_S)

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

"""Readers that are sent to the replica in their rack, as clients of the Kafka door are (KIP-392)."""

import asyncio
import random

from cluster.broker import Broker
from cluster.handlers.fetch import Fetched, FetchFrom, Reader
from cluster.replication.partition import FollowerState, TopicIdPartition
from storage.errors import ErrorCode, OffsetOutOfRangeError, OttlaError
from storage.record_stream import decode_batches
from tests.simulation.cluster import TOPIC, SimCluster
from tests.simulation.workload import History, call, leader_of


class NearbyReader:
    """Lives in the rack of one node. read: records; from_followers: those that a follower gave it; turned_back: how
    often one had to send it to the leader.
    """

    def __init__(self, cluster: SimCluster, history: History, partition: int, home: int) -> None:
        self.read = 0
        self.from_followers = 0
        self.turned_back = 0
        self._cluster = cluster
        self._history = history
        self._partition = partition
        self._home = home
        self._offset = 0
        self._sent_to: int | None = None
        self._rng = cluster.stream(f"reader {partition} in rack {home}")

    async def run(self, stop: asyncio.Event) -> None:
        """Read on until told to stop, and begin anew now and then."""
        rng = self._rng
        while not stop.is_set():
            broker = self._broker(rng)
            if broker is not None:
                await self._ask(broker)
            if rng.random() < 0.02:
                self._offset = 0
            if rng.random() < 0.05:
                # As clients do with every refresh of the metadata.
                self._sent_to = None
            await asyncio.sleep(rng.uniform(0.005, 0.05))

    def _broker(self, rng: random.Random) -> Broker | None:
        if self._sent_to is None:
            return leader_of(self._cluster, self._partition, rng)
        node = self._cluster.node(self._sent_to)
        if not node.alive or node.broker is None:
            self._sent_to = None
            return None
        return node.broker

    async def _ask(self, broker: Broker) -> None:
        def near(node_id: int) -> bool:
            found = broker.image.brokers.get(node_id)
            return node_id == self._home and found is not None and found.eligible

        request = FetchFrom(TOPIC, self._partition, self._offset, -1, 4096)
        work = broker.fetch.fetch(
            [request], max_wait_s=0.2, min_bytes=1, max_bytes=4096, reader=Reader(True, near)
        )
        try:
            found = (await call(self._cluster, self._rng, broker, work))[0]
        except (OttlaError, TimeoutError):
            self._sent_to = None
            return
        self._take(broker, found)

    def _take(self, broker: Broker, found: Fetched) -> None:
        if found.error is not None:
            # A place that was read up to exists on every later leader, and a follower does not deny it.
            assert not isinstance(found.error, OffsetOutOfRangeError), found
            self.turned_back += found.error.code == ErrorCode.OFFSET_NOT_AVAILABLE
            self._sent_to = None
            return
        if found.read_from >= 0:
            assert found.read_from == self._home, found
            self._sent_to = found.read_from
            return
        records = [each for each in decode_batches(found.batches) if each.offset >= self._offset]
        for record in records:
            assert record.offset < found.high_watermark, (record.offset, found.high_watermark)
            value = (record.value or b"").decode()
            self._history.note_read(self._partition, record.offset, value)
        self.read += len(records)
        self._offset = max(self._offset, found.next_offset)
        if _follows(broker, self._partition):
            self.from_followers += len(records)


def _follows(broker: Broker, partition: int) -> bool:
    topic = broker.image.topic(TOPIC)
    if topic is None:
        return False
    replica = broker.replicas.partitions.get(TopicIdPartition(topic.topic_id, partition))
    return replica is not None and isinstance(replica.role, FollowerState)

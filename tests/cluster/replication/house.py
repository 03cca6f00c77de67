"""A replica manager of node 1 on a simulated disk, whose peers are the test itself."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cluster.peers.network import Peer, PeerStream
from cluster.replication.frames import FollowerFrame, decode_follower_frame
from cluster.replication.isr_proposals import IsrAnswer, IsrProposal
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.replica_manager import Clock, ReplicaManager
from kraft.metadata.image import PartitionRegistration
from storage.log_config import LogConfig
from storage.log_directory import LogDirectory
from tests.cluster.replication.replicas import TOPIC_ID, Pipe, pipes
from tests.simulation.cluster import until
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS

T0 = TopicIdPartition(TOPIC_ID, 0)


class House:
    """A replica manager of node 1 on a disk; the streams that it opens, and the ISR changes that it proposes."""

    def __init__(self, directory: LogDirectory) -> None:
        self.directory = directory
        self.streams: dict[int, Pipe] = {}
        self.proposed: list[IsrProposal] = []
        self.logs_lost = 0
        self.broker_epoch = 10
        self.manager = ReplicaManager(
            1,
            directory,
            self,  # type: ignore[arg-type]
            Clock(lambda: int(asyncio.get_running_loop().time() * 1000), lambda: NOW_MS),
            random.Random(1),
            broker_epoch=lambda: self.broker_epoch,
            peer=lambda node_id: Peer(node_id, f"node{node_id}:9190"),
            propose=self._propose,
            eligible=lambda _node, _epoch: True,
            log_lost=self._lost,
        )

    @classmethod
    async def opened(cls, on: SimDisk) -> "House":
        directory = await LogDirectory.open(on, node_id=1)
        await directory.load(lambda _: LogConfig(), now_ms=NOW_MS)
        return cls(directory)

    @asynccontextmanager
    async def open_stream(self, peer: Peer, _method: str) -> AsyncIterator[PeerStream]:
        """The seam's: the leader's side is in `streams`."""
        self.streams[peer.node_id], here = pipes()
        yield here

    async def _propose(self, proposals: list[IsrProposal]) -> list[IsrAnswer]:
        self.proposed += proposals
        return []

    def _lost(self) -> None:
        self.logs_lost += 1

    async def have(self, config: LogConfig | None = None) -> Partition:
        """The replica of partition 0."""
        await self.manager.prepare([(T0, "t", config or LogConfig())])
        return self.manager.partitions[T0]

    async def hears(self, leader: int) -> FollowerFrame:
        """The next frame that a leader gets from here and that is more than a greeting."""
        await until(lambda: leader in self.streams, 5.0, f"a stream to node {leader}")
        while True:
            async with asyncio.timeout(5.0):
                frame = decode_follower_frame(await self.streams[leader].receive())
            if frame != FollowerFrame(broker_epoch=self.broker_epoch):
                return frame


def led_by(
    leader: int, epoch: int, *, isr: tuple[int, ...] = (1, 2, 3), partition_epoch: int = 0
) -> PartitionRegistration:
    return PartitionRegistration(
        replicas=(1, 2, 3),
        isr=isr,
        leader=leader,
        leader_epoch=epoch,
        partition_epoch=partition_epoch,
    )

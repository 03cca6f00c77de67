"""Looks at the cluster all the time, to tell when a death was noticed and who leads then."""

import asyncio

import grpc
import grpc.aio

from ottla.demo.timeline import Timeline
from ottla.local.cluster import LocalCluster
from ottla.v1 import admin_pb2, admin_pb2_grpc

POLL_S = 0.005
ASK_TIMEOUT_S = 0.5


class Watch:
    """The leader of one partition as the surviving nodes know it."""

    def __init__(self, cluster: LocalCluster, topic: str, timeline: Timeline) -> None:
        self._cluster = cluster
        self._topic = topic
        self._timeline = timeline
        self.leader = -1
        self.epoch = -1
        self.noticed_s: float | None = None
        self.moved_s: float | None = None

    async def look(self) -> None:
        """Ask once, any node. Keeps what it knew when nobody answers."""
        for node in self._cluster.nodes:
            found = await _ask(node.grpc, self._topic)
            if found is not None:
                partition = found.topics[0].partitions[0]
                self.leader, self.epoch = partition.leader_id, partition.leader_epoch
                return

    async def until_moved(self, dead: int) -> None:
        """Wait until the dead node is fenced and another one leads."""
        survivors = [node.grpc for node in self._cluster.nodes if node.node_id != dead]
        while True:
            for address in survivors:
                found = await _ask(address, self._topic)
                if found is None:
                    continue
                if self.noticed_s is None and any(
                    broker.node_id == dead and broker.fenced for broker in found.brokers
                ):
                    self.noticed_s = self._timeline.tell(
                        f"node {dead} is fenced: the controller has noticed"
                    )
                partition = found.topics[0].partitions[0]
                if partition.leader_id not in (-1, dead):
                    self.leader, self.epoch = partition.leader_id, partition.leader_epoch
                    self.moved_s = self._timeline.tell(
                        f"node {self.leader} leads now (leader epoch {self.epoch}, in sync {list(partition.isr)})",
                        style="green",
                    )
                    return
            await asyncio.sleep(POLL_S)


async def _ask(address: str, topic: str) -> admin_pb2.GetMetadataResponse | None:
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            found = await admin_pb2_grpc.AdminServiceStub(channel).GetMetadata(
                admin_pb2.GetMetadataRequest(topics=[topic]), timeout=ASK_TIMEOUT_S
            )
        except grpc.aio.AioRpcError:
            return None
    return found if found.topics and found.topics[0].partitions else None

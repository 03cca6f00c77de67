"""Replicas on simulated disks and a stream in memory, for the tests of replication and handlers."""

import asyncio
import random
from uuid import UUID

from cluster.peers.network import PeerGoneError
from cluster.replication.disk_guard import DiskGuard
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch

TOPIC_ID = UUID(int=7)


def disk() -> SimDisk:
    return SimDisk(random.Random(1))


def replica(
    node_id: int, index: int = 0, *, on: SimDisk | None = None, guard: DiskGuard | None = None
) -> Partition:
    """An empty replica of `t-<index>`."""
    log = PartitionLog.create(on or disk(), f"t-{index}", LogConfig(), now_ms=NOW_MS)
    return Partition(TopicIdPartition(TOPIC_ID, index), "t", log, node_id, guard)


def lead(
    partition: Partition,
    epoch: int,
    *,
    isr: tuple[int, ...] = (1, 2),
    min_isr: int = 2,
    node_id: int = 1,
) -> LeaderState:
    """Begin to lead, with replicas 1 and 2."""
    state = LeaderState.elected(
        node_id=node_id,
        leader_epoch=epoch,
        partition_epoch=epoch,
        replicas=(1, 2),
        isr=isr,
        log_end_offset=partition.log.log_end_offset,
        flushed_offset=partition.log.flushed_offset,
        high_watermark=partition.high_watermark,
        min_insync_replicas=min_isr,
        now_ms=0,
    )
    partition.become_leader(state)
    return state


def append(partition: Partition, *values: bytes) -> int:
    """Append at a leader, durably. Returns the base offset."""
    appended = partition.append_as_leader(
        batch(*values), acks_all=False, now_wall_ms=NOW_MS, now_ms=0
    )
    flush(partition)
    return appended.base_offset


def flush(partition: Partition) -> None:
    """What group commit does, at once."""
    log = partition.log
    ticket = log.begin_flush()
    for file in ticket.files:
        file.node.saved(file.node.mark)  # type: ignore[attr-defined]
    log.complete_flush(ticket)
    partition.flushed()


class Pipe:
    """One side of a stream in memory."""

    def __init__(
        self, peer_id: int, out: "asyncio.Queue[bytes]", into: "asyncio.Queue[bytes]"
    ) -> None:
        self.peer_id = peer_id
        self.out = out
        self.into = into
        self.frames = 0
        self.bytes = 0

    async def send(self, frame: bytes) -> None:
        self.frames += 1
        self.bytes += len(frame)
        await self.out.put(frame)

    async def receive(self) -> bytes:
        frame = await self.into.get()
        if frame == b"end":
            raise PeerGoneError("the stream has ended")
        return frame


def pipes() -> tuple[Pipe, Pipe]:
    """The leader's (node 1) and the follower's (node 2) side."""
    there: asyncio.Queue[bytes] = asyncio.Queue()
    back: asyncio.Queue[bytes] = asyncio.Queue()
    return Pipe(2, there, back), Pipe(1, back, there)

"""What a shard adds to its coordinator: the log, answers that wait, and one timer for all deadlines."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cluster.groups.classic_rebalance import Clock
from cluster.groups.coordinator import Coordinator
from cluster.groups.offsets import Position, TopicPartition
from cluster.groups.settings import Caller, GroupSettings
from cluster.groups.shard import Shard
from cluster.replication.partition import Partition
from storage.errors import ErrorCode, OttlaError
from tests.cluster.groups.consumer_house import CALLER, G, House, first_heartbeat, heartbeat
from tests.cluster.replication.replicas import flush, lead, replica
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS
from wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from wire.messages.offset_commit import OffsetCommitRequest
from wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

SESSION_MS = 10_000
OLD_CLIENT = Caller("old", "/127.0.0.1", knows_member_id_required=False)
DELAY_S = 3
"""How long an empty group waits for company."""
WAITS_S = 300.0


class Node:
    """A shard alone with its replica, on simulated time. The log commits a moment after it is appended."""

    def __init__(self, partition: Partition | None = None, **settings: Any) -> None:
        self.partition = partition or replica(1)
        if partition is None:
            lead(self.partition, 1, isr=(1,), min_isr=1)
        self.coordinator = Coordinator(GroupSettings(**settings), random.Random(1))
        self.coordinator.consumer.topics = House({"t": 3}).topics
        self.shard = Shard(self.partition, self.coordinator, self._now, self._flush)

    @staticmethod
    def _now() -> Clock:
        now_ms = int(asyncio.get_running_loop().time() * 1000)
        return Clock(now_ms, NOW_MS + now_ms)

    @staticmethod
    def _flush(partition: Partition) -> None:
        asyncio.get_running_loop().call_later(0.001, flush, partition)

    async def beat(self, request: ConsumerGroupHeartbeatRequest) -> Any:
        return await self.shard.ask(
            G,
            lambda ticket, clock: self.coordinator.consumer_heartbeat(
                request, CALLER, ticket, clock
            ),
        )

    async def join(self, session_ms: int = SESSION_MS) -> JoinGroupResponse:
        request = JoinGroupRequest(
            group_id=G,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=SESSION_MS,
            protocol_type="consumer",
            protocols=(JoinGroupRequestProtocol(name="range", metadata=b""),),
        )
        response = await self.shard.ask(
            G,
            lambda ticket, clock: self.coordinator.join(request, OLD_CLIENT, ticket, clock),
        )
        assert isinstance(response, JoinGroupResponse)
        return response

    async def sync(self, joined: JoinGroupResponse) -> None:
        request = SyncGroupRequest(
            group_id=G, generation_id=joined.generation_id, member_id=joined.member_id
        )
        await self.shard.ask(G, lambda ticket, clock: self.coordinator.sync(request, ticket, clock))

    async def heartbeat(self, joined: JoinGroupResponse) -> None:
        request = HeartbeatRequest(
            group_id=G, generation_id=joined.generation_id, member_id=joined.member_id
        )
        await self.shard.ask(
            G, lambda ticket, clock: self.coordinator.heartbeat(request, ticket, clock)
        )

    async def commit(self, count: int, metadata: str = "") -> None:
        positions = {
            TopicPartition("t", number): Position(1, -1, metadata, NOW_MS)
            for number in range(count)
        }
        request = OffsetCommitRequest(group_id=G, generation_id_or_member_epoch=-1)
        await self.shard.ask(
            G,
            lambda ticket, clock: self.coordinator.commit(G, positions, request, clock).answer(
                ticket, None
            ),
        )


def on_node(work: Callable[[Node], Awaitable[None]], **settings: Any) -> None:
    async def running() -> None:
        node = Node(**settings)
        await node.shard.load()
        async with asyncio.timeout(WAITS_S):
            await work(node)
        node.shard.close()

    simulate(running())


def test_who_joins_in_place_of_an_empty_group_of_the_other_kind_is_answered_in_time() -> None:
    """The classic group begins when the end of the other is kept, and so do its deadlines."""

    async def work(node: Node) -> None:
        joined = await node.beat(first_heartbeat("m"))
        await node.beat(heartbeat("m", -1))
        assert joined.member_epoch == 1
        async with asyncio.timeout(DELAY_S + 1):
            assert (await node.join()).generation_id == 1

    on_node(work)


def test_heartbeats_leave_no_deadlines_behind() -> None:
    async def work(node: Node) -> None:
        joined = await node.join()
        await node.sync(joined)
        for _ in range(300):
            await asyncio.sleep(0.1)
            await node.heartbeat(joined)
        assert len(node.shard._deadlines) <= 3
        await asyncio.sleep(SESSION_MS / 1000 + 1)
        with pytest.raises(OttlaError) as refused:
            await node.heartbeat(joined)
        assert refused.value.code == ErrorCode.UNKNOWN_MEMBER_ID

    on_node(work)


def test_a_deadline_that_comes_nearer_is_kept() -> None:
    """The session was looked at first, and is long; the next rebalance is to end before it."""

    async def work(node: Node) -> None:
        first = await node.join(session_ms=20 * SESSION_MS)
        await node.sync(first)
        await asyncio.sleep(SESSION_MS / 1000 + 1)
        began_s = asyncio.get_running_loop().time()
        other = await node.join()
        assert other.generation_id == first.generation_id + 1
        assert asyncio.get_running_loop().time() - began_s < SESSION_MS / 1000 + 1

    on_node(work)


def test_positions_that_do_not_fit_into_one_batch_are_kept_and_deleted_all_the_same() -> None:
    many = 20_000

    async def work(node: Node) -> None:
        await node.commit(many, "a note" * 10)
        assert len(node.coordinator.offsets.of(G)) == many
        assert (node.partition.log.log_end_offset, node.partition.high_watermark) == (many, many)
        await node.shard.ask(
            G, lambda ticket, _: node.coordinator.delete_group(G).answer(ticket, None)
        )
        assert not node.coordinator.exists(G)
        after = Node(node.partition)
        await after.shard.load()
        assert not after.coordinator.exists(G)
        after.shard.close()

    on_node(work)


def test_a_group_that_does_not_fit_into_one_batch_is_refused_for_good() -> None:
    """A code that may be retried would be, for ever."""

    async def work(node: Node) -> None:
        joined = await node.join()
        request = SyncGroupRequest(
            group_id=G,
            generation_id=joined.generation_id,
            member_id=joined.member_id,
            assignments=(
                SyncGroupRequestAssignment(
                    member_id=joined.member_id, assignment=bytes(2 * 1024 * 1024)
                ),
            ),
        )
        with pytest.raises(OttlaError) as refused:
            await node.shard.ask(
                G, lambda ticket, clock: node.coordinator.sync(request, ticket, clock)
            )
        assert refused.value.code == ErrorCode.MESSAGE_TOO_LARGE

    on_node(work)

"""Members of a consumer group, and whoever commits without one, as clients of simulated brokers.

What the coordinators say is held against `Watch` (G1, G2, G3), in the order in which they say it.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from cluster.broker import Broker
from cluster.groups.errors import CoordinatorNotAvailableError
from cluster.groups.offsets import TopicPartition
from cluster.groups.placement import OFFSETS_TOPIC
from cluster.groups.settings import Caller
from kraft.metadata.requests import CreateTopics, NewTopic
from storage.errors import ErrorCode, OttlaError
from tests.cluster.groups.consumers import SUBSCRIPTION, Consumer, Request
from tests.cluster.groups.watch import Watch
from tests.simulation.cluster import TOPIC, SimCluster, until
from tests.simulation.workload import call
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

SESSION_MS = 6_000
READERS = "readers"


class Groups:
    """The members of one group, which read the partitions of one topic."""

    def __init__(
        self, cluster: SimCluster, tasks: asyncio.TaskGroup, members: int, partitions: int
    ) -> None:
        self.partitions = partitions
        self.watch = Watch()
        self._cluster = cluster
        self._tasks = tasks
        self._rng = cluster.stream("groups")
        self.acknowledged = 0
        self._closed = False
        self._arrivals: dict[str, asyncio.Event] = {}
        self.members = [
            Consumer(self, cluster.stream(f"member {each}"), f"m{each}", None)
            for each in range(members)
        ]

    def start(self) -> None:
        """All of them."""
        for each in self.members:
            each.start()

    def close(self) -> None:
        """They are gone, without a word."""
        self._closed = True
        for each in self.members:
            each.die()

    def ask(self, consumer: Consumer, kind: str, request: Request) -> None:
        before = self._arrivals.get(consumer.name)
        arrival = self._arrivals[consumer.name] = asyncio.Event()
        self._tasks.create_task(self._exchange(consumer, kind, request, before, arrival))

    def wake(self, consumer: Consumer, after_ms: int) -> None:
        life = consumer.life

        def woken() -> None:
            if consumer.life == life and not self._closed:
                consumer.woken()

        asyncio.get_running_loop().call_later(after_ms / 1000, woken)

    def fenced(self, consumer: Consumer) -> None:
        raise AssertionError(f"{consumer.name} is no static member")

    async def _exchange(
        self,
        consumer: Consumer,
        kind: str,
        request: Request,
        before: asyncio.Event | None,
        arrival: asyncio.Event,
    ) -> None:
        """Requests of one consumer arrive in the order in which they were asked, as on one connection."""
        life = consumer.life
        response: Any

        async def in_turn(broker: Broker) -> object:
            if before is not None:
                await before.wait()
            arrival.set()
            return await self._put(broker, consumer, kind, request)

        try:
            broker = coordinator_of(self._cluster, self._rng)
            limit_s = 2 * SESSION_MS / 1000 if kind in ("join", "sync") else 2.0
            response = await call(self._cluster, self._rng, broker, in_turn(broker), limit_s)
        except OttlaError as error:
            response = error
        except TimeoutError:
            if consumer.life == life and not self._closed:
                consumer.reconnect()
            return
        finally:
            arrival.set()
        if consumer.life == life and not self._closed:
            consumer.answered(kind, response)

    async def _put(self, broker: Broker, consumer: Consumer, kind: str, request: Request) -> object:
        member, generation = request["member_id"], request["generation"]
        groups = broker.groups
        if kind == "join":
            return await groups.join(
                _join(member), Caller(consumer.name, "/h", consumer.told_first)
            )
        if kind == "sync":
            response = await groups.sync(_sync(member, generation, request["assignments"]))
            self.watch.assigned(member, member, generation, response.assignment)
            return response
        if kind == "heartbeat":
            return await groups.heartbeat(
                HeartbeatRequest(group_id=READERS, member_id=member, generation_id=generation)
            )
        if kind == "leave":
            identity = MemberIdentity(member_id=member)
            return await groups.leave(LeaveGroupRequest(group_id=READERS, members=(identity,)))
        if kind == "fetch":
            found = positions(broker, READERS, self.partitions)
            self.watch.seen(found)
            return {each: found[each] for each in request["partitions"]}
        await commit(broker, READERS, request["offsets"], member, generation)
        self.acknowledged += 1
        self.watch.accepted(member, generation, request["offsets"])
        return None

    async def settled(self, limit_s: float) -> None:
        """All read, each partition is read once."""

        def together() -> bool:
            owned = sorted(each for member in self.members for each in member.positions)
            reads = all(each.reads for each in self.members)
            same = len({each.generation for each in self.members}) == 1
            return reads and same and owned == list(range(self.partitions))

        await until(together, limit_s, "a group that reads")


async def keep_committing(
    cluster: SimCluster, group: str, limit_s: float, stop: asyncio.Event
) -> int:
    """Somebody who uses a group for its offsets only. Returns how often it was acknowledged."""
    rng = cluster.stream(f"commits of {group}")
    offset = acknowledged = 0
    while not stop.is_set():
        try:
            broker = coordinator_of(cluster, rng)
            found = positions(broker, group, 1)[0]
            assert found >= acknowledged, f"{group}: {acknowledged} was acknowledged, now {found}"
            assert found <= offset, f"{group}: nobody has committed {found}"
            offset += 1
            await call(cluster, rng, broker, commit(broker, group, {0: offset}), limit_s)
            acknowledged = offset
        except (OttlaError, TimeoutError):
            pass
        await asyncio.sleep(rng.uniform(0.005, 0.05))
    return acknowledged


async def commit(
    broker: Broker, group: str, offsets: dict[int, int], member: str = "", generation: int = -1
) -> None:
    """Commit positions. Raises OttlaError."""
    response = await broker.groups.commit(
        OffsetCommitRequest(
            group_id=group,
            generation_id_or_member_epoch=generation,
            member_id=member,
            topics=(
                OffsetCommitRequestTopic(
                    name=TOPIC,
                    partitions=tuple(
                        OffsetCommitRequestPartition(partition_index=each, committed_offset=offset)
                        for each, offset in offsets.items()
                    ),
                ),
            ),
        )
    )
    codes = {each.error_code for topic in response.topics for each in topic.partitions}
    for code in codes - {0}:
        refusal = OttlaError(f"commit refused with {code}")
        refusal.code = ErrorCode(code)
        raise refusal


def coordinator_of(cluster: SimCluster, rng: Any) -> Broker:
    """As some living node knows it; it may be wrong. Raises CoordinatorNotAvailableError."""
    brokers = cluster.brokers()
    found = rng.choice(brokers).image.partition(OFFSETS_TOPIC, 0) if brokers else None
    node = cluster.node(found.leader) if found is not None and found.leader > 0 else None
    if node is None or not node.alive or node.broker is None:
        raise CoordinatorNotAvailableError("no coordinator is known")
    return node.broker


async def create_offsets_topic(cluster: SimCluster) -> None:
    """With one partition, so that all groups have the same coordinator."""
    topic = NewTopic(
        name=OFFSETS_TOPIC,
        partitions=1,
        replication_factor=len(cluster.nodes),
        configs={
            "cleanup.policy": "compact",
            "min.insync.replicas": str(min(2, len(cluster.nodes))),
        },
    )
    request = CreateTopics(topics=(topic,))

    def made() -> bool:
        return all(OFFSETS_TOPIC in each.image.topics_by_name for each in cluster.brokers())

    while not made():
        for broker in cluster.brokers():
            work: Awaitable[object] = broker.admin.change(request, 1.0)
            try:
                await call(cluster, cluster.rng, broker, work)
            except (OttlaError, TimeoutError):
                continue
        await asyncio.sleep(0.1)


async def serving(cluster: SimCluster, besides: Broker | None = None) -> Broker:
    """A coordinator that has loaded its groups."""
    while True:
        for broker in cluster.brokers():
            if broker is besides:
                continue
            try:
                broker.groups.positions(READERS, None)
            except OttlaError:
                continue
            return broker
        await asyncio.sleep(0.01)


def positions(broker: Broker, group: str, partitions: int) -> dict[int, int]:
    """What a coordinator says is committed. Raises GroupError."""
    wanted = [TopicPartition(TOPIC, each) for each in range(partitions)]
    found = broker.groups.positions(group, wanted)
    return {where.partition: max(each.offset, 0) for where, each in found.items()}


def _join(member_id: str) -> JoinGroupRequest:
    return JoinGroupRequest(
        group_id=READERS,
        session_timeout_ms=SESSION_MS,
        rebalance_timeout_ms=SESSION_MS,
        member_id=member_id,
        protocol_type="consumer",
        protocols=(JoinGroupRequestProtocol(name="range", metadata=SUBSCRIPTION),),
    )


def _sync(member_id: str, generation: int, shares: dict[str, bytes]) -> SyncGroupRequest:
    return SyncGroupRequest(
        group_id=READERS,
        generation_id=generation,
        member_id=member_id,
        protocol_type="consumer",
        protocol_name="range",
        assignments=tuple(
            SyncGroupRequestAssignment(member_id=key, assignment=value)
            for key, value in shares.items()
        ),
    )

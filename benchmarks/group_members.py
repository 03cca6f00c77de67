"""Members of one group as bare connections: what a group costs the brokers, without what clients cost.

Every member has its own connection to the coordinator and does what real clients do: heartbeats at its interval, from a
random moment on, and everything else at once when it is told to.
"""

import asyncio
import random
import struct
import uuid
from importlib import import_module
from typing import Any

from storage.errors import ErrorCode
from wire.codec import decode, encode
from wire.consumer_protocol import (
    PROTOCOL_TYPE,
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    Partitions,
    read,
    write,
)
from wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest, TopicPartitions
from wire.messages.find_coordinator import FindCoordinatorRequest
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from wire.schema import Request

LENGTH = struct.Struct(">i")
HEAD = struct.Struct(">hhih")
CLIENT = b"bench"
SESSION_MS = 30_000
REBALANCE_MS = 60_000
RETRY_S = 0.1
VERSION = 1
"""Of the consumer protocol: with what a member owns."""


class Connection:
    """One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, address: tuple[str, int]) -> "Connection":
        """Raises OSError."""
        return cls(*await asyncio.open_connection(*address))

    async def call(self, request: Request, version: int) -> Any:
        """A request and its answer. Raises IncompleteReadError."""
        flexible = version >= request.FLEXIBLE
        head = HEAD.pack(request.API_KEY, version, 1, len(CLIENT)) + CLIENT
        body = head + (b"\0" if flexible else b"") + encode(request, version, flexible)
        self._writer.write(LENGTH.pack(len(body)) + body)
        (size,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        answer = await self._reader.readexactly(size)
        kind = type(request)
        response = getattr(import_module(kind.__module__), kind.__name__[:-7] + "Response")
        skip = 5 if flexible else 4
        return decode(response, version, version >= response.FLEXIBLE, memoryview(answer)[skip:])

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def coordinator(bootstrap: tuple[str, int], group: str) -> tuple[str, int]:
    """Where a group is coordinated, once it is."""
    connection = await Connection.to(bootstrap)
    try:
        while True:
            found = await connection.call(FindCoordinatorRequest(key=group), 3)
            if not found.error_code:
                return found.host, found.port
            await asyncio.sleep(RETRY_S)
    finally:
        connection.close()


class Member:
    """share: what it reads; epoch: the generation or epoch since which. Both are the newest that it was told."""

    def __init__(
        self, group: str, topic: str, topic_id: uuid.UUID, partitions: int, heartbeat_s: float
    ) -> None:
        self.group, self.topic, self.topic_id = group, topic, topic_id
        self.partitions, self.heartbeat_s = partitions, heartbeat_s
        self.share: frozenset[int] = frozenset()
        self.epoch = 0
        self.rng = random.Random()

    async def run(self, address: tuple[str, int], leaving: asyncio.Event) -> None:
        """Until it is told to leave."""
        connection = await Connection.to(address)
        try:
            await self._live(connection, leaving)
        finally:
            connection.close()

    async def _live(self, connection: Connection, leaving: asyncio.Event) -> None:
        raise NotImplementedError

    async def _pause(self, leaving: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await leaving.wait()
        except TimeoutError:
            return


class ClassicMember(Member):
    """Eager; whoever leads shares out in turn."""

    member_id = ""

    async def _live(self, connection: Connection, leaving: asyncio.Event) -> None:
        await self._rejoin(connection)
        wait_s = self.rng.random() * self.heartbeat_s
        while True:
            await self._pause(leaving, wait_s)
            if leaving.is_set():
                gone = (MemberIdentity(member_id=self.member_id),)
                await connection.call(LeaveGroupRequest(group_id=self.group, members=gone), 4)
                return
            wait_s = self.heartbeat_s
            beat = HeartbeatRequest(
                group_id=self.group, generation_id=self.epoch, member_id=self.member_id
            )
            if (await connection.call(beat, 3)).error_code:
                await self._rejoin(connection)

    async def _rejoin(self, connection: Connection) -> None:
        self.share = frozenset()
        while True:
            joined = await self._join(connection)
            if joined.error_code == ErrorCode.MEMBER_ID_REQUIRED:
                self.member_id = joined.member_id
                continue
            if joined.error_code:
                await asyncio.sleep(RETRY_S)
                continue
            self.member_id = joined.member_id
            if await self._sync(connection, joined):
                return

    async def _join(self, connection: Connection) -> Any:
        wanted = write(ConsumerProtocolSubscription(topics=(self.topic,)), VERSION)
        request = JoinGroupRequest(
            group_id=self.group,
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            member_id=self.member_id,
            protocol_type=PROTOCOL_TYPE,
            protocols=(JoinGroupRequestProtocol(name="range", metadata=wanted),),
        )
        return await connection.call(request, 7)

    async def _sync(self, connection: Connection, joined: Any) -> bool:
        members = [each.member_id for each in joined.members]
        shares = tuple(
            SyncGroupRequestAssignment(
                member_id=each,
                assignment=self._written(range(number, self.partitions, len(members))),
            )
            for number, each in enumerate(members)
        )
        request = SyncGroupRequest(
            group_id=self.group,
            generation_id=joined.generation_id,
            member_id=self.member_id,
            assignments=shares,
        )
        synced = await connection.call(request, 3)
        if synced.error_code:
            return False
        found = read(ConsumerProtocolAssignment, synced.assignment).assigned_partitions
        self.share = frozenset(one for each in found for one in each.partitions)
        self.epoch = joined.generation_id
        return True

    def _written(self, numbers: range) -> bytes:
        mine = Partitions(topic=self.topic, partitions=tuple(numbers))
        return write(ConsumerProtocolAssignment(assigned_partitions=(mine,)), VERSION)


class NewMember(Member):
    """KIP-848. What it is told to let go it lets go at once, and says so."""

    async def _live(self, connection: Connection, leaving: asyncio.Event) -> None:
        member_id = str(uuid.uuid4())
        says_all, wait_s = True, 0.0
        while True:
            await self._pause(leaving, wait_s)
            if leaving.is_set():
                await connection.call(
                    ConsumerGroupHeartbeatRequest(
                        group_id=self.group, member_id=member_id, member_epoch=-1
                    ),
                    1,
                )
                return
            answer = await connection.call(self._beat(member_id, says_all), 1)
            assert not answer.error_code, answer
            changed = self._take(answer)
            # The first beat is at a random moment, so that members do not march in step.
            first = says_all and not changed
            interval_s = min(self.heartbeat_s, answer.heartbeat_interval_ms / 1000)
            says_all, wait_s = changed, 0.0 if changed else interval_s
            if first:
                wait_s *= self.rng.random()

    def _beat(self, member_id: str, says_all: bool) -> ConsumerGroupHeartbeatRequest:
        mine = TopicPartitions(topic_id=self.topic_id, partitions=tuple(sorted(self.share)))
        return ConsumerGroupHeartbeatRequest(
            group_id=self.group,
            member_id=member_id,
            member_epoch=self.epoch,
            rebalance_timeout_ms=REBALANCE_MS if says_all else -1,
            subscribed_topic_names=(self.topic,) if says_all else None,
            topic_partitions=((mine,) if self.share else ()) if says_all else None,
        )

    def _take(self, answer: Any) -> bool:
        """Take in an answer; whether it changes what this member reads."""
        self.epoch = answer.member_epoch
        if answer.assignment is None:
            return False
        told = frozenset(
            one for each in answer.assignment.topic_partitions for one in each.partitions
        )
        changed = told != self.share
        self.share = told
        return changed

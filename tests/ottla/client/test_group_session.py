"""A consumer that stops in the middle of a rebalance."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from ottla.client.errors import BrokerError
from ottla.client.group_member import Joined
from ottla.client.group_offsets import CommitAs
from ottla.client.group_session import GroupSession
from ottla.client.records import OffsetAndMetadata, TopicPartition
from ottla.v1 import common_pb2
from storage.errors import ErrorCode

WHERE = TopicPartition("orders", 0)


class Group:
    """At generation 2 as soon as a join begins, of which the member learns when it `may_know`.

    Stands in for the membership, the offsets, the reader and the background of a session.
    """

    settings = SimpleNamespace(cooperative=True, group_id="g", instance_id=None)

    def __init__(self) -> None:
        self.generation = 1
        self.newest = 1
        self.member_id = "me"
        self.fatal = None
        self.lost = False
        self.needs_join = True
        self.last_error: Exception | None = None
        self.committed: list[int] = []
        self.may_know = asyncio.Event()
        self.arrived = asyncio.Event()
        self.positions = {WHERE: SimpleNamespace(next_offset=20)}
        self.tasks: list[asyncio.Task[None]] = []
        stand_in: Any = self
        self.session = GroupSession(
            stand_in,
            stand_in,
            stand_in,
            stand_in,
            stand_in,
            auto_commit_interval_s=5.0,
            metadata_max_age_s=30.0,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    def assign(self, partitions: Sequence[TopicPartition], _start: str) -> None:
        if not partitions:
            self.positions = {}

    def ask_to_join(self) -> None:
        self.needs_join = True

    def begin(self) -> int:
        """Of the membership and of the offsets."""
        self.needs_join = False
        return 0

    async def join(self, _topics: Any, _owned: Any, _stays: int) -> Joined:
        self.newest = 2
        await self.may_know.wait()
        self.generation = 2
        return Joined(2, (WHERE,), None)

    async def leave(self) -> None:
        self.generation = -1

    def refused(self, _error: BrokerError) -> None:
        pass

    async def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        who: CommitAs,
        _patience_s: float,
        _number: int,
    ) -> bool:
        if who.generation != self.newest:
            code = common_pb2.ErrorCode.ValueType(ErrorCode.ILLEGAL_GENERATION.value)
            raise BrokerError(common_pb2.Error(code=code))
        self.committed.append(offsets[WHERE].offset)
        return True


def test_who_stops_while_it_joins_commits_with_the_generation_it_is_told() -> None:
    """The others are at it already: by the old generation it would be refused, and all be read again."""

    async def run() -> None:
        group = Group()
        await group.session.subscribe(["orders"], None)
        await group.session.step(0.0)
        await asyncio.sleep(0)
        assert group.newest == 2
        closing = asyncio.create_task(group.session.close(commit=True))
        await asyncio.sleep(0)
        assert group.committed == []
        group.may_know.set()
        async with asyncio.timeout(5):
            await closing
        assert group.committed == [20]

    asyncio.run(run())

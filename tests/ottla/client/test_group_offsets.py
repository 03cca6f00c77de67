"""Commits of one consumer keep their order, whatever their tasks do."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

from ottla.client.coordinator_link import CoordinatorLink
from ottla.client.group_offsets import CommitAs, GroupOffsets
from ottla.client.group_session import GroupSession
from ottla.client.records import OffsetAndMetadata, TopicPartition
from ottla.v1 import groups_pb2 as pb

WHERE = TopicPartition("orders", 0)


class Coordinator:
    """Takes every commit when it is told to."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.positions: dict[str, int] = {}
        self.may_answer = asyncio.Event()

    async def ask(self, attempt: Any, _refusal: Any, **_times: Any) -> None:
        """In place of the link: the request is what the attempt would send."""

        class Stub:
            async def CommitOffsets(
                self, request: pb.CommitOffsetsRequest, timeout: float
            ) -> pb.CommitOffsetsRequest:
                assert timeout > 0
                return request

        await self.may_answer.wait()
        request = await attempt(Stub(), 1.0)
        self.taken.append(request.offsets[0].offset)
        self.positions |= {each.topic: each.offset for each in request.offsets}


def _offset(offset: int) -> dict[TopicPartition, OffsetAndMetadata]:
    return {WHERE: OffsetAndMetadata(offset)}


def test_a_commit_that_was_begun_earlier_and_comes_later_moves_nothing_back() -> None:
    async def run() -> None:
        coordinator = Coordinator()
        coordinator.may_answer.set()
        offsets = GroupOffsets(cast("CoordinatorLink", coordinator), "g")
        earlier = offsets.begin()
        await offsets.commit(_offset(20), CommitAs(), 1.0)
        await offsets.commit(_offset(10), CommitAs(), 1.0, earlier)
        assert coordinator.taken == [20]
        await offsets.commit(_offset(5), CommitAs(), 1.0)
        assert coordinator.taken == [20, 5], "who asks for it may go back"

    asyncio.run(run())


def test_one_commit_is_on_its_way_at_a_time() -> None:
    async def run() -> None:
        coordinator = Coordinator()
        offsets = GroupOffsets(cast("CoordinatorLink", coordinator), "g")
        async with asyncio.TaskGroup() as tasks:
            for offset in (1, 2, 3):
                tasks.create_task(offsets.commit(_offset(offset), CommitAs(), 1.0))
            await asyncio.sleep(0)
            coordinator.may_answer.set()
        assert coordinator.taken == [1, 2, 3]

    asyncio.run(run())


class Program:
    """A consumer of two topics without a subscription; what it commits by itself starts when it is told to."""

    def __init__(self) -> None:
        self.coordinator = Coordinator()
        self.coordinator.may_answer.set()
        self.positions = {
            TopicPartition(topic, 0): SimpleNamespace(next_offset=10) for topic in ("a", "b")
        }
        self.spawned: list[Coroutine[Any, Any, None]] = []
        membership: Any = SimpleNamespace(fatal=None, needs_join=False, lost=False, generation=-1)
        stand_in: Any = self
        self.session = GroupSession(
            membership,
            GroupOffsets(cast("CoordinatorLink", self.coordinator), "g"),
            stand_in,
            stand_in,
            stand_in,
            auto_commit_interval_s=5.0,
            metadata_max_age_s=30.0,
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.spawned.append(work)


def test_what_a_later_commit_made_void_is_committed_by_the_next() -> None:
    """The later one was of other partitions only."""

    async def run() -> None:
        program = Program()
        await program.session.step(0.0)
        await program.session.commit({TopicPartition("a", 0): OffsetAndMetadata(10)})
        await program.spawned.pop()
        assert program.coordinator.positions == {"a": 10}
        await program.session.step(5.0)
        await program.spawned.pop()
        assert program.coordinator.positions == {"a": 10, "b": 10}

    asyncio.run(run())

"""Commits of one consumer keep their order, whatever their tasks do."""

import asyncio
from typing import Any, cast

from ottla.client.coordinator_link import CoordinatorLink
from ottla.client.group_offsets import CommitAs, GroupOffsets
from ottla.client.records import OffsetAndMetadata, TopicPartition
from ottla.v1 import groups_pb2 as pb

WHERE = TopicPartition("orders", 0)


class Coordinator:
    """Takes every commit when it is told to."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.may_answer = asyncio.Event()

    async def ask(self, attempt: Any, _refusal: Any, **_times: Any) -> None:
        """In place of the link: the request is what the attempt would send."""

        class Stub:
            async def CommitOffsets(  # noqa: N802 - gRPC's name
                self, request: pb.CommitOffsetsRequest, timeout: float
            ) -> int:
                assert timeout > 0
                return request.offsets[0].offset

        await self.may_answer.wait()
        self.taken.append(await attempt(Stub(), 1.0))


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

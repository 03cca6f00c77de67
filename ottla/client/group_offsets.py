"""A group's positions: committed and looked up at its coordinator."""

import asyncio
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ottla.client.coordinator_link import CoordinatorLink, refused
from ottla.client.errors import BrokerError
from ottla.client.records import OffsetAndMetadata, TopicPartition
from ottla.v1 import common_pb2
from ottla.v1 import groups_pb2 as pb

COMMIT_ATTEMPT_S = 6.0
"""A little longer than a broker waits for its replicas."""


class CommitAs(NamedTuple):
    """Who commits. generation -1: somebody who uses a group without members."""

    generation: int = -1
    member_id: str = ""
    instance_id: str | None = None


class GroupOffsets:
    """One commit at a time, so that none overtakes another."""

    def __init__(self, link: CoordinatorLink, group_id: str) -> None:
        self._link = link
        self._group_id = group_id
        self._one = asyncio.Lock()
        self._begun = 0
        self._done = 0

    def begin(self) -> int:
        """A number for a commit of what is known now; one begun earlier and sent later says nothing new."""
        self._begun += 1
        return self._begun

    async def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        who: CommitAs,
        patience_s: float,
        number: int = 0,
    ) -> bool:
        """Durable when this returns True. `number`: of `begin`; False: a later one was done already, which makes this
        one void.

        Raises BrokerError with the first refusal, NoBrokerError.
        """
        number = number or self.begin()
        request = pb.CommitOffsetsRequest(
            group_id=self._group_id,
            generation_id=who.generation if who.generation >= 0 else None,
            member_id=who.member_id,
            group_instance_id=who.instance_id,
            offsets=[
                pb.OffsetToCommit(
                    topic=where.topic,
                    partition=where.partition,
                    offset=each.offset,
                    leader_epoch=each.leader_epoch if each.leader_epoch >= 0 else None,
                    metadata=each.metadata,
                )
                for where, each in offsets.items()
            ],
        )
        async with self._one:
            if self._done > number:
                return False
            await self._link.ask(
                lambda stub, timeout: stub.CommitOffsets(request, timeout=timeout),
                _first_refusal,
                timeout_s=COMMIT_ATTEMPT_S,
                patience_s=patience_s,
            )
            self._done = number
            return True

    async def committed(
        self, partitions: Collection[TopicPartition] | None, patience_s: float
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """None where nothing is committed. `partitions` None: all that the group has. Raises BrokerError."""
        request = pb.FetchOffsetsRequest(
            group_id=self._group_id,
            all=partitions is None,
            partitions=[
                common_pb2.TopicPartition(topic=topic, partition=partition)
                for topic, partition in partitions or ()
            ],
        )
        reply = await self._link.ask(
            lambda stub, timeout: stub.FetchOffsets(request, timeout=timeout),
            refused,
            patience_s=patience_s,
        )
        return {
            TopicPartition(each.topic, each.partition): OffsetAndMetadata(
                each.offset, each.metadata, each.leader_epoch, each.commit_timestamp_ms
            )
            if each.offset >= 0
            else None
            for each in reply.offsets
        }


def _first_refusal(reply: pb.CommitOffsetsResponse) -> BrokerError | None:
    for each in reply.offsets:
        if each.HasField("error"):
            return BrokerError(each.error)
    return None

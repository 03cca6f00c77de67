"""A member of a consumer group, as its coordinator sees it: joins, is assigned, gives signs of life, leaves."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ottla.client.assignors import Assignor, GroupMember
from ottla.client.cluster_view import ClusterView
from ottla.client.consumer_protocol import (
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)
from ottla.client.coordinator_link import CoordinatorLink, refused
from ottla.client.errors import BrokerError, ClientError, NoBrokerError
from ottla.client.records import TopicPartition
from ottla.v1 import groups_pb2 as pb
from storage.errors import ErrorCode
from wire.consumer_protocol import PROTOCOL_TYPE

JOIN_SLACK_S = 10.0
LEAVE_PATIENCE_S = 2.0
RETRY_PAUSE_S = 0.1
AGAIN_PAUSE_S = 0.02

_LOST = (
    ErrorCode.UNKNOWN_MEMBER_ID,
    ErrorCode.ILLEGAL_GENERATION,
    ErrorCode.GROUP_ID_NOT_FOUND,
)
_AGAIN = (ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION)


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """See Consumer for what they mean."""

    group_id: str
    instance_id: str | None
    client_id: str
    assignors: tuple[Assignor, ...]
    session_timeout_ms: int
    heartbeat_interval_ms: int
    max_poll_interval_ms: int

    @property
    def cooperative(self) -> bool:
        """Whether partitions are kept while joining again: only when all assignors allow it."""
        return all(each.cooperative for each in self.assignors)


class MembershipLostError(Exception):
    """The coordinator has given this member's partitions away."""


class Joined(NamedTuple):
    """A generation. counts: the leader's topics and how many partitions it has assigned of each."""

    generation: int
    partitions: tuple[TopicPartition, ...]
    counts: Mapping[str, int] | None


class Membership:
    """`wake` is called when the next poll has something to do: `needs_join`, `lost` or `fatal` has changed."""

    def __init__(
        self,
        settings: GroupSettings,
        view: ClusterView,
        link: CoordinatorLink,
        wake: Callable[[], None],
    ) -> None:
        self.settings = settings
        self._view = view
        self._link = link
        self._wake = wake
        self.member_id = ""
        self.generation = -1
        self.needs_join = False
        self.lost = False
        self.fatal: ClientError | None = None
        self.last_error: Exception | None = None
        self.polling = False
        self.polled_s = 0.0
        self._joins = 0
        self._remembered: tuple[tuple[TopicPartition, ...], int] = ((), -1)
        self._beat_now = asyncio.Event()
        self._one_join = asyncio.Lock()
        self._stays = 0

    def ask_to_join(self) -> None:
        """The next poll joins."""
        self.needs_join = True
        self._wake()

    def refused(self, error: BrokerError) -> None:
        """What a coordinator's refusal of a heartbeat or a commit means for the membership."""
        if not self._joins:
            # Else it was said of the generation before, and the join is told the same or better.
            self._heed(error)

    def _heed(self, error: BrokerError) -> None:
        if error.code == ErrorCode.REBALANCE_IN_PROGRESS:
            self.ask_to_join()
        elif error.code in _LOST:
            self._lose(keep_id=error.code == ErrorCode.ILLEGAL_GENERATION)
        elif error.code == ErrorCode.FENCED_INSTANCE_ID:
            # Joining again would throw the other process out in its turn.
            self.member_id, self.generation = "", -1
            self.lost, self.fatal = True, error
            self._wake()

    def _lose(self, *, keep_id: bool) -> None:
        self.generation = -1
        if not keep_id:
            self.member_id = ""
        self.lost = True
        self.ask_to_join()

    def begin(self) -> int:
        """From now on a rebalance is no reason to join again. Returns what `join` wants to know."""
        self.needs_join = False
        self._joins += 1
        return self._stays

    async def join(
        self, topics: Sequence[str], owned: Sequence[TopicPartition], stays: int
    ) -> Joined:
        """The next generation. Raises MembershipLostError, BrokerError for what the coordinator will not have."""
        try:
            async with self._one_join:
                joined = await self._join(topics, owned, stays)
                if self._stays != stays:
                    await self.leave()
                    raise MembershipLostError
                self.generation = joined.generation
                self._attend()
                self._remembered = (joined.partitions, joined.generation)
                return joined
        finally:
            self._joins -= 1
            self._beat_now.set()

    async def _join(
        self, topics: Sequence[str], owned: Sequence[TopicPartition], stays: int
    ) -> Joined:
        while True:
            if self._stays != stays:
                # It may have been told its id since it left.
                await self.leave()
                raise MembershipLostError
            try:
                return await self._join_once(topics, owned)
            except NoBrokerError as error:
                self.last_error = error
                await asyncio.sleep(RETRY_PAUSE_S)
            except BrokerError as error:
                if error.code == ErrorCode.UNKNOWN_MEMBER_ID:
                    self.member_id, self.generation = "", -1
                    if owned:
                        raise MembershipLostError from error
                elif error.code not in _AGAIN:
                    self.last_error = error
                    self._heed(error)
                    raise
                await asyncio.sleep(AGAIN_PAUSE_S)

    async def _join_once(self, topics: Sequence[str], owned: Sequence[TopicPartition]) -> Joined:
        reply = await self._ask_to_be_member(topics, owned)
        self.member_id = reply.member_id
        request = pb.SyncGroupRequest(
            group_id=self.settings.group_id,
            generation_id=reply.generation_id,
            member_id=self.member_id,
            group_instance_id=self.settings.instance_id,
            protocol_type=PROTOCOL_TYPE,
            protocol_name=reply.protocol_name,
        )
        counts = None
        if reply.leader_id == reply.member_id:
            counts = await self._lead(reply, request)
        synced = await self._link.ask(
            lambda stub, timeout: stub.SyncGroup(request, timeout=timeout),
            refused,
            timeout_s=self._patience_s,
            patience_s=self._patience_s,
        )
        return Joined(reply.generation_id, decode_assignment(synced.assignment), counts)

    async def _ask_to_be_member(
        self, topics: Sequence[str], owned: Sequence[TopicPartition]
    ) -> pb.JoinGroupResponse:
        settings = self.settings
        remembered, remembered_in = self._remembered

        def subscription(assignor: Assignor) -> bytes:
            had = remembered if assignor.remembers else owned
            return encode_subscription(assignor.subscription(topics, had, remembered_in))

        request = pb.JoinGroupRequest(
            group_id=settings.group_id,
            group_instance_id=settings.instance_id,
            session_timeout_ms=settings.session_timeout_ms,
            rebalance_timeout_ms=settings.max_poll_interval_ms,
            protocol_type=PROTOCOL_TYPE,
            protocols=[
                pb.GroupProtocol(name=each.name, metadata=subscription(each))
                for each in settings.assignors
            ],
            client_id=settings.client_id,
        )

        def refusal(reply: pb.JoinGroupResponse) -> BrokerError | None:
            if reply.error.code == int(ErrorCode.MEMBER_ID_REQUIRED):
                self.member_id = reply.member_id
                return None
            return refused(reply)

        while True:
            request.member_id = self.member_id
            reply = await self._link.ask(
                lambda stub, timeout: stub.JoinGroup(request, timeout=timeout),
                refusal,
                timeout_s=self._patience_s,
                patience_s=self._patience_s,
            )
            if not reply.HasField("error"):
                return reply

    @property
    def _patience_s(self) -> float:
        longest_ms = max(self.settings.max_poll_interval_ms, self.settings.session_timeout_ms)
        return longest_ms / 1000 + JOIN_SLACK_S

    async def _lead(
        self, reply: pb.JoinGroupResponse, request: pb.SyncGroupRequest
    ) -> dict[str, int]:
        """Assign, unless the members keep what they have (KIP-814). Returns the partitions of the group's topics."""
        assignor = next(
            each for each in self.settings.assignors if each.name == reply.protocol_name
        )
        members = [
            GroupMember(
                each.member_id,
                each.group_instance_id if each.HasField("group_instance_id") else None,
                decode_subscription(each.metadata),
            )
            for each in reply.members
        ]
        topics = sorted({topic for each in members for topic in each.subscription.topics})
        counts = await self.partition_counts(topics)
        if not reply.skip_assignment:
            for member_id, partitions in assignor.assign(members, counts).items():
                request.assignments.add(
                    member_id=member_id, assignment=encode_assignment(partitions)
                )
        return counts

    async def partition_counts(self, topics: Sequence[str]) -> dict[str, int]:
        """How many partitions topics have; 0: there is no such topic."""
        if topics:
            await self._view.refresh(topics)
        found = ((topic, self._view.topics.get(topic)) for topic in topics)
        return {topic: len(view.leaders) if view is not None else 0 for topic, view in found}

    async def run(self) -> None:
        """Give signs of life while this is a member, and go when nobody polls."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(self.settings.heartbeat_interval_ms / 1000):
                    await self._beat_now.wait()
            except TimeoutError:
                pass
            self._beat_now.clear()
            if self.generation < 0 or self._joins:
                continue
            idle_s = 0.0 if self.polling else loop.time() - self.polled_s
            if idle_s * 1000 > self.settings.max_poll_interval_ms:
                self.last_error = ClientError(
                    f"no poll for {idle_s:.1f} s; max_poll_interval_ms={self.settings.max_poll_interval_ms}: "
                    f"another member reads on in place of this one, which joins again with its next poll"
                )
                await self.leave()
                self._lose(keep_id=False)
                continue
            await self._beat()

    async def _beat(self) -> None:
        generation = self.generation
        request = pb.HeartbeatRequest(
            group_id=self.settings.group_id,
            generation_id=generation,
            member_id=self.member_id,
            group_instance_id=self.settings.instance_id,
        )
        try:
            await self._link.ask(
                lambda stub, timeout: stub.Heartbeat(request, timeout=timeout), refused
            )
        except ClientError as error:
            if error.code != ErrorCode.REBALANCE_IN_PROGRESS:
                self.last_error = error
            # A newer generation is not touched by what is said of an older one.
            if isinstance(error, BrokerError) and self.generation == generation:
                self.refused(error)
        else:
            self._attend()

    def _attend(self) -> None:
        """Let the coordinator notice when this process is gone. Static members do not: they are expected back."""
        if self.settings.instance_id is None:
            request = pb.AttendRequest(
                group_id=self.settings.group_id,
                member_id=self.member_id,
                heartbeat_interval_ms=self.settings.heartbeat_interval_ms,
            )
            self._link.attend(request)

    async def leave(self) -> None:
        """Tell the coordinator at once. Static members do not: they are expected back (KIP-345)."""
        member_id, self.member_id = self.member_id, ""
        self.generation = -1
        self._stays += 1
        self._link.end_attendance()
        if not member_id or self.settings.instance_id is not None:
            return
        request = pb.LeaveGroupRequest(group_id=self.settings.group_id)
        request.members.add(member_id=member_id)
        try:
            await self._link.ask(
                lambda stub, timeout: stub.LeaveGroup(request, timeout=timeout),
                refused,
                patience_s=LEAVE_PATIENCE_S,
            )
        except ClientError as error:
            # The session timeout says it later.
            self.last_error = error

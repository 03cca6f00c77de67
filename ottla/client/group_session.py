"""What a consumer does for its group between two polls: rebalances, the listener's calls, commits.

Everything that the program can notice happens inside `poll`, so that nothing is taken away from it, and no position
committed, while it deals with records that an earlier poll has handed out.
"""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, Protocol

from ottla.client.background import Background
from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError, ClientError, NoBrokerError, NotMemberError
from ottla.client.group_member import Joined, Membership, MembershipLostError
from ottla.client.group_offsets import CommitAs, GroupOffsets
from ottla.client.partition_reader import PartitionReader
from ottla.client.records import OffsetAndMetadata, TopicPartition

CLOSE_PATIENCE_S = 5.0
COMMIT_PATIENCE_S = 30.0
NEW_TOPIC_S = 1.0


class RebalanceListener(Protocol):
    """Told of what is read, within `poll`, `commit` allowed. The methods may be coroutines; either may be left out."""

    def on_assigned(self, partitions: Sequence[TopicPartition], /) -> Awaitable[None] | None:
        """New partitions, before their first record; `seek` and `pause` are allowed."""

    def on_revoked(self, partitions: Sequence[TopicPartition], /) -> Awaitable[None] | None:
        """Partitions that others will read; called before they do, unless the membership was lost."""


class GroupSession:
    """`subscription`: names, or a pattern that whole names match."""

    def __init__(
        self,
        membership: Membership,
        offsets: GroupOffsets,
        reader: PartitionReader,
        view: ClusterView,
        background: Background,
        *,
        auto_commit_interval_s: float | None,
        metadata_max_age_s: float,
    ) -> None:
        self.membership = membership
        self.offsets = offsets
        self._reader = reader
        self._view = view
        self._background = background
        self._commit_every_s = auto_commit_interval_s
        self._max_age_s = metadata_max_age_s
        self._next_commit_s = 0.0
        self._told: dict[TopicPartition, int] = {}
        self._topics: tuple[str, ...] = ()
        self._pattern: re.Pattern[str] | None = None
        self._listener: Any = None
        self._subscribed = False
        self._owned: tuple[TopicPartition, ...] = ()
        self._joining: asyncio.Future[Joined] | None = None
        self._counts: Mapping[str, int] | None = None
        self._look_now = asyncio.Event()

    @property
    def subscribed(self) -> bool:
        """Whether partitions come from the group."""
        return self._subscribed

    @property
    def topics(self) -> tuple[str, ...]:
        """What is subscribed to; of a pattern, the topics that match it."""
        return self._topics

    async def subscribe(
        self, wanted: Sequence[str] | re.Pattern[str], listener: object | None
    ) -> None:
        """Join with the next poll, or join again with other topics."""
        self._listener = listener
        if isinstance(wanted, re.Pattern):
            self._pattern = wanted
            self._topics = await self._matching(wanted)
        else:
            self._pattern, self._topics = None, tuple(sorted(set(wanted)))
        self._subscribed = True
        self.membership.fatal = None
        self._look_now.set()
        self.membership.ask_to_join()

    async def unsubscribe(self) -> None:
        """Leave the group; what was read is committed first, if that is done by itself."""
        await self._give_up(commit=True)
        self._subscribed, self._topics, self._pattern = False, (), None
        self.membership.needs_join = False

    async def close(self, *, commit: bool) -> None:
        """Leave; without `commit` the records of the last poll are read again by whoever comes next."""
        await self._give_up(commit=commit)

    async def _give_up(self, *, commit: bool) -> None:
        if commit:
            await self._last_commit()
        owned, self._owned = self._owned, ()
        self._joining = None
        if self._subscribed:
            self._reader.assign((), "committed")
        try:
            if owned:
                await self._tell("on_revoked", owned)
        finally:
            await self.membership.leave()

    async def _last_commit(self) -> None:
        await self._auto_commit(CLOSE_PATIENCE_S)
        if self._commit_every_s is not None and self._joining is not None and self._untold():
            # Refused as of a generation that is over: the one that is being joined may commit what is still owned.
            await asyncio.wait({self._joining}, timeout=CLOSE_PATIENCE_S)
            await self._auto_commit(CLOSE_PATIENCE_S)

    def due(self, now_s: float) -> bool:
        """Whether `step` has something to do."""
        member = self.membership
        joined = self._joining is not None and self._joining.done()
        joins = member.needs_join and self._joining is None and self._subscribed
        return joins or joined or member.fatal is not None or self._commit_due(now_s)

    def _commit_due(self, now_s: float) -> bool:
        return self._commit_every_s is not None and now_s >= self._next_commit_s

    async def step(self, now_s: float) -> None:
        """What is to be done before records are handed out. Raises BrokerError for what ends the membership."""
        member = self.membership
        if member.fatal is not None:
            if member.lost:
                await self._drop_lost()
            raise member.fatal
        if self._commit_due(now_s) and not member.needs_join:
            self._commit_in_background(now_s)
        while self._subscribed:
            if self._joining is None:
                if not member.needs_join:
                    return
                await self._prepare()
                self._begin_to_join()
            if self._joining is None or not self._joining.done():
                return
            joined, self._joining = self._joining, None
            try:
                await self._take(joined.result())
            except MembershipLostError:
                member.lost = member.needs_join = True

    async def _prepare(self) -> None:
        member = self.membership
        if member.lost:
            await self._drop_lost()
            return
        if not self._owned:
            return
        await self._auto_commit(CLOSE_PATIENCE_S)
        if member.settings.cooperative:
            gone = [each for each in self._owned if each.topic not in self._topics]
        else:
            gone = list(self._owned)
        if gone:
            await self._revoke(gone)

    async def _drop_lost(self) -> None:
        """Others read these partitions already, so nothing of them is committed."""
        self.membership.lost = False
        if self._owned:
            await self._revoke(list(self._owned))

    async def _revoke(self, gone: Sequence[TopicPartition]) -> None:
        try:
            await self._tell("on_revoked", gone)
        finally:
            self._owned = tuple(each for each in self._owned if each not in set(gone))
            self._reader.assign(self._owned, "committed")

    def _begin_to_join(self) -> None:
        future: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()
        # Its error is looked at by the next poll, and there may be none.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._joining = future
        self._background.spawn(self._join(future, self.membership.begin()))

    async def _join(self, future: "asyncio.Future[Joined]", stays: int) -> None:
        try:
            joined = await self.membership.join(self._topics, self._owned, stays)
        except (ClientError, MembershipLostError) as error:
            if isinstance(error, ClientError):
                self.membership.needs_join = True
            future.set_exception(error)
        else:
            future.set_result(joined)
        self._reader.arrived.set()

    async def _take(self, joined: Joined) -> None:
        if joined.generation != self.membership.generation:
            # Lost again before anybody has polled.
            return
        self._counts = joined.counts
        self._look_now.set()
        wanted = set(joined.partitions)
        gone = [each for each in self._owned if each not in wanted]
        if gone:
            await self._auto_commit(CLOSE_PATIENCE_S)
            await self._revoke(gone)
            # Now that they are free somebody may have them.
            self.membership.ask_to_join()
        new = [each for each in joined.partitions if each not in set(self._owned)]
        self._owned = joined.partitions
        for each in new:
            self._told.pop(each, None)
        self._reader.assign(self._owned, "committed")
        await self._tell("on_assigned", new)

    async def _tell(self, what: str, partitions: Sequence[TopicPartition]) -> None:
        call = getattr(self._listener, what, None)
        if call is None:
            return
        result = call(list(partitions))
        if inspect.isawaitable(result):
            await result

    def positions(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """Where the program is in what it reads."""
        return {
            where: OffsetAndMetadata(position.next_offset)
            for where, position in self._reader.positions.items()
            if position.next_offset >= 0
        }

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Raises BrokerError with the first refusal, NoBrokerError."""
        await self._commit(offsets, COMMIT_PATIENCE_S, self.offsets.begin())

    async def committed(
        self, partitions: Collection[TopicPartition], patience_s: float = COMMIT_PATIENCE_S
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Raises BrokerError, NoBrokerError."""
        return await self.offsets.committed(partitions, patience_s)

    async def _commit(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        patience_s: float,
        number: int,
    ) -> None:
        if not offsets:
            return
        member = self.membership
        who = (
            CommitAs(member.generation, member.member_id, member.settings.instance_id)
            if self._subscribed
            else CommitAs()
        )
        if self._subscribed and member.generation < 0:
            raise NotMemberError(
                f"this consumer is no member of group {member.settings.group_id} at the moment, so others may read "
                f"its partitions: poll first"
            )
        try:
            told = await self.offsets.commit(offsets, who, patience_s, number)
        except BrokerError as error:
            if self._subscribed and member.generation == who.generation:
                member.refused(error)
            raise
        if told:
            self._told |= {where: each.offset for where, each in offsets.items()}

    def _untold(self) -> dict[TopicPartition, OffsetAndMetadata]:
        return {
            where: each
            for where, each in self.positions().items()
            if self._told.get(where) != each.offset
        }

    async def _auto_commit(self, patience_s: float) -> None:
        if self._commit_every_s is None or self.membership.lost:
            return
        if self._subscribed and self.membership.generation < 0:
            return
        await self._quietly(self._untold(), patience_s, self.offsets.begin())

    def _commit_in_background(self, now_s: float) -> None:
        assert self._commit_every_s is not None
        self._next_commit_s = now_s + self._commit_every_s
        offsets = self._untold()
        if offsets and not (self._subscribed and self.membership.generation < 0):
            work = self._quietly(offsets, self._commit_every_s, self.offsets.begin())
            self._background.spawn(work)

    async def _quietly(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        patience_s: float,
        number: int,
    ) -> None:
        try:
            await self._commit(offsets, patience_s, number)
        except ClientError as error:
            # The next one says it again.
            self.membership.last_error = error

    async def watch(self) -> None:
        """Join again when topics come, go or grow: the leader for the group, everybody for its own pattern."""
        while True:
            unknown = not self._topics or 0 in (self._counts or {}).values()
            pause_s = min(self._max_age_s, NEW_TOPIC_S) if unknown else self._max_age_s
            try:
                async with asyncio.timeout(pause_s):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            try:
                await self._look()
            except (NoBrokerError, BrokerError) as error:
                self.membership.last_error = error

    async def _look(self) -> None:
        pattern, counts = self._pattern, self._counts
        if pattern is not None:
            found = await self._matching(pattern)
            if found != self._topics and pattern is self._pattern:
                self._topics = found
                self.membership.ask_to_join()
        if counts and self._subscribed:
            now = await self.membership.partition_counts(sorted(counts))
            if now != counts and counts is self._counts:
                self._counts = now
                self.membership.ask_to_join()

    async def _matching(self, pattern: re.Pattern[str]) -> tuple[str, ...]:
        return tuple(name for name in await self._view.topic_names() if pattern.fullmatch(name))

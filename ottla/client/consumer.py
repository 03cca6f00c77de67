"""The consumer: reads partitions in order, those it is told to read or its share of what a group reads."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self, get_args

from ottla.client.assignors import assignors
from ottla.client.background import Background
from ottla.client.cluster_view import ClusterView
from ottla.client.coordinator_link import CoordinatorLink
from ottla.client.errors import ClientError, ClosedError, NoBrokerError
from ottla.client.group_member import GroupSettings, Membership
from ottla.client.group_offsets import GroupOffsets
from ottla.client.group_session import GroupSession, RebalanceListener
from ottla.client.offsets import OffsetAndTime, OffsetSpec, find_offsets
from ottla.client.partition_reader import REFRESH_PAUSE_S, PartitionReader, Reset, Start
from ottla.client.records import ConsumerRecord, OffsetAndMetadata, TopicPartition

FOREVER_S = 3600.0
LOOK_UP_PATIENCE_S = 1.0


class Consumer:
    """Reads the partitions given to `assign`, or with a `group_id` its share of the topics given to `subscribe`.

    Use it as `async with Consumer("host:port") as consumer`, then `async for record in consumer`, or `poll`.
    """

    def __init__(
        self,
        bootstrap: str | Sequence[str],
        *,
        group_id: str | None = None,
        group_instance_id: str | None = None,
        client_id: str = "ottla",
        assignment_strategy: Sequence[str] = ("range", "cooperative-sticky"),
        enable_auto_commit: bool = True,
        auto_commit_interval_ms: int = 5_000,
        session_timeout_ms: int = 45_000,
        heartbeat_interval_ms: int = 3_000,
        max_poll_interval_ms: int = 300_000,
        metadata_max_age_ms: int = 30_000,
        auto_offset_reset: Reset = "earliest",
        max_buffer_bytes: int = 8 * 1024 * 1024,
        max_block_s: float = 60,
        rng: random.Random | None = None,
    ) -> None:
        """`auto_offset_reset`: where to go on when the position is no longer in the log, or the group has none.
        `max_buffer_bytes`: what may lie here per broker unread; a slow consumer holds back nobody but itself.

        Of groups, with Kafka's names and meanings: `group_id`; `group_instance_id` for a static member, which may be
        away for a session without a rebalance; `assignment_strategy`, best liked first, of range, roundrobin, sticky
        and cooperative-sticky (the last alone keeps partitions while the group rebalances). Positions are committed
        every `auto_commit_interval_ms` within `poll`, and at the end, unless `enable_auto_commit` is False. Who is
        not heard of for `session_timeout_ms`, or does not poll for `max_poll_interval_ms`, loses its partitions.
        Raises ClientError for settings that cannot be.
        """
        if auto_offset_reset not in get_args(Reset):
            raise ClientError(
                f"there is no auto_offset_reset={auto_offset_reset!r}; there are {', '.join(get_args(Reset))}"
            )
        self._view = ClusterView(bootstrap)
        self._background = Background("ottla consumer", self._died)
        self._max_block_s = max_block_s
        rng = rng or random.Random()
        self._reader = PartitionReader(
            self._view,
            self._background,
            reset=auto_offset_reset,
            max_buffer_bytes=max_buffer_bytes,
            rng=rng,
            committed=self._committed,
        )
        self._group: GroupSession | None = None
        self._closed = False
        self._cancelled_in_poll = False
        if group_id is None:
            return
        settings = GroupSettings(
            group_id=group_id,
            instance_id=group_instance_id,
            client_id=client_id,
            assignors=tuple(assignors(assignment_strategy)),
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=heartbeat_interval_ms,
            max_poll_interval_ms=max_poll_interval_ms,
        )
        link = CoordinatorLink(self._view, group_id, rng)
        self._group = GroupSession(
            Membership(settings, self._view, link, self._reader.arrived.set),
            GroupOffsets(link, group_id),
            self._reader,
            self._view,
            self._background,
            auto_commit_interval_s=auto_commit_interval_ms / 1000 if enable_auto_commit else None,
            metadata_max_age_s=metadata_max_age_ms / 1000,
        )

    @property
    def last_error(self) -> Exception | None:
        """Why the last connection to a broker broke, or the coordinator refused: what to look at when nothing comes."""
        group = self._group.membership.last_error if self._group is not None else None
        return group or self._reader.last_error

    @property
    def in_group(self) -> bool:
        """Whether it was made with a `group_id`."""
        return self._group is not None

    @property
    def member_id(self) -> str:
        """What the coordinator calls this member; "" without a membership."""
        return self._group.membership.member_id if self._group is not None else ""

    async def start(self) -> Self:
        """Begin. Raises NoBrokerError when none of the bootstrap addresses answers in `max_block_s`."""
        await self._background.start()
        self._background.spawn(self._reader.run())
        if self._group is not None:
            self._background.spawn(self._group.membership.run())
            self._background.spawn(self._group.watch())
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._max_block_s
        while True:
            try:
                await self._view.refresh([])
            except NoBrokerError:
                if loop.time() > deadline_s:
                    await self.stop()
                    raise
                await asyncio.sleep(REFRESH_PAUSE_S)
            else:
                return self

    async def stop(self, *, commit: bool = True) -> None:
        """Leave the group and close; what was not handed out is forgotten. With `commit`, and unless auto commit is
        off, the records handed out so far count as read.
        """
        if self._closed:
            return
        self._closed = True
        self._reader.arrived.set()
        try:
            if self._group is not None:
                await self._group.close(commit=commit)
        finally:
            await self._background.stop()
            await self._view.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What the program failed at is not done: it is handed out again. Who was waiting for more had done the rest.
        interrupted = isinstance(error, asyncio.CancelledError | KeyboardInterrupt)
        waited = interrupted and self._cancelled_in_poll
        await self.stop(commit=error is None or waited)

    async def partitions_of(self, topic: str) -> list[TopicPartition]:
        """All partitions of a topic. Raises BrokerError when there is none of that name."""
        await self._view.refresh([topic])
        view = self._view.topics.get(topic)
        if view is None:
            raise self._view.errors.get(topic) or NoBrokerError(
                f"nothing is known of topic {topic} yet"
            )
        return [TopicPartition(topic, index) for index in range(len(view.leaders))]

    def assign(self, partitions: Iterable[tuple[str, int]], *, start: Start | None = None) -> None:
        """Read these partitions and no others, from `start` where they are new: a name or an offset.

        "committed" is where the group has left off, and what is meant with a `group_id`; "earliest" without. Raises
        ClientError while there is a subscription.
        """
        if self._group is not None and self._group.subscribed:
            raise ClientError(
                "the group says what this consumer reads; call unsubscribe before assign"
            )
        if start == "committed":
            self._require_group()
        if start is None:
            start = "earliest" if self._group is None else "committed"
        self._reader.assign([TopicPartition(*each) for each in partitions], start)

    async def subscribe(
        self,
        topics: Sequence[str] | str | re.Pattern[str],
        *,
        listener: RebalanceListener | object | None = None,
    ) -> None:
        """Read a share of these topics, or of all whose whole names match a compiled pattern; joins with the next
        `poll`. `listener` has on_assigned and on_revoked, either or both, plain or async, called within `poll`.

        Topics need not be there yet. Raises ClientError without a `group_id`, or when something is assigned.
        """
        group = self._require_group()
        if not group.subscribed and self._reader.positions:
            raise ClientError("partitions are assigned to this consumer; assign none first")
        wanted = [topics] if isinstance(topics, str) else topics
        if not isinstance(wanted, re.Pattern) and not all(wanted):
            raise ClientError("a topic needs a name")
        await group.subscribe(wanted, listener)

    async def unsubscribe(self) -> None:
        """Leave the group; the consumer may `subscribe` or `assign` anew."""
        await self._require_group().unsubscribe()

    @property
    def subscription(self) -> list[str]:
        """The topics that are subscribed to; of a pattern, those that match it."""
        return list(self._group.topics) if self._group is not None else []

    async def commit(
        self,
        offsets: Mapping[tuple[str, int], int | OffsetAndMetadata] | None = None,
    ) -> None:
        """Keep positions for the group: those given, or of all that was handed out. Durable when this returns.

        Raises BrokerError with Kafka's code when the coordinator refuses: ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID or
        FENCED_INSTANCE_ID when others read the partitions by now, REBALANCE_IN_PROGRESS when a poll must come first.
        """
        group = self._require_group()
        self._check()
        if offsets is None:
            await group.commit(group.positions())
            return
        await group.commit(
            {
                TopicPartition(*where): each
                if isinstance(each, OffsetAndMetadata)
                else OffsetAndMetadata(each)
                for where, each in offsets.items()
            }
        )

    async def committed(
        self, partitions: Iterable[tuple[str, int]]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """What the group has committed, None where it has not. Raises BrokerError."""
        self._check()
        return await self._require_group().committed([TopicPartition(*each) for each in partitions])

    async def _committed(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        # The reader asks again, and must not be held up in what else it reads.
        return await self._require_group().committed(partitions, LOOK_UP_PATIENCE_S)

    def seek(self, where: tuple[str, int], offset: Start) -> None:
        """Go on elsewhere with one assigned partition: at an offset, "earliest", "latest" or "committed"."""
        if offset == "committed":
            self._require_group()
        self._reader.seek(TopicPartition(*where), offset)

    def pause(self, where: tuple[str, int]) -> None:
        """Hand out nothing of a partition until `resume`."""
        self._reader.pause(TopicPartition(*where))

    def resume(self, where: tuple[str, int]) -> None:
        """Go on with a paused partition where it was."""
        self._reader.resume(TopicPartition(*where))

    @property
    def paused(self) -> list[TopicPartition]:
        """What is paused."""
        return [where for where, each in self._reader.positions.items() if each.paused]

    @property
    def assignment(self) -> list[TopicPartition]:
        """What is assigned."""
        return list(self._reader.positions)

    def position(self, where: tuple[str, int]) -> int | None:
        """The offset of the next record of a partition; None while it is not known yet."""
        offset = self._reader.assigned(TopicPartition(*where)).next_offset
        return offset if offset >= 0 else None

    def lag(self, where: tuple[str, int]) -> int | None:
        """Records between the position and the end, as last heard of; None while that is not known yet."""
        position = self._reader.assigned(TopicPartition(*where))
        if position.next_offset < 0 or position.high_watermark < 0:
            return None
        return max(position.high_watermark - position.next_offset, 0)

    async def poll(self, timeout_s: float = 1.0, max_records: int = 500) -> list[ConsumerRecord]:
        """Up to `max_records`, as soon as there are any; empty after `timeout_s`. Raises BrokerError, ClosedError.

        A rebalance of the group happens here, and the records of the last poll count as read from here on.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        self._polling(True, loop.time())
        self._cancelled_in_poll = False
        try:
            while True:
                self._check()
                self._reader.arrived.clear()
                if self._group is not None:
                    await self._group.step(loop.time())
                records = self._reader.take(max_records)
                if records:
                    return records
                self._reader.raise_error()
                left_s = deadline_s - loop.time()
                if left_s <= 0:
                    return []
                try:
                    async with asyncio.timeout(left_s):
                        await self._reader.arrived.wait()
                except TimeoutError:
                    return []
        except asyncio.CancelledError:
            self._cancelled_in_poll = True
            raise
        finally:
            self._polling(False, loop.time())

    async def __aiter__(self) -> AsyncIterator[ConsumerRecord]:
        """Records for ever. Each counts as read when the next one is asked for."""
        loop = asyncio.get_running_loop()
        while True:
            records = await self.poll(timeout_s=FOREVER_S, max_records=1)
            while records:
                yield records[0]
                self._check()
                now_s = loop.time()
                if self._group is not None:
                    self._polling(False, now_s)
                    if self._group.due(now_s):
                        break
                records = self._reader.take(1)

    async def offsets(
        self, queries: Mapping[tuple[str, int], OffsetSpec | int]
    ) -> dict[TopicPartition, OffsetAndTime]:
        """Offsets by name, or by a timestamp in milliseconds. Raises BrokerError."""
        if any(self._view.leader(*where).node_id < 0 for where in queries):
            await self._view.refresh(sorted({topic for topic, _ in queries}))
        return {
            TopicPartition(*where): found
            for where, found in (await find_offsets(self._view, queries)).items()
        }

    def _check(self) -> None:
        self._background.check()
        if self._closed:
            raise ClosedError("this consumer was stopped")

    def _polling(self, polling: bool, now_s: float) -> None:
        if self._group is not None:
            member = self._group.membership
            member.polling, member.polled_s = polling, now_s

    def _require_group(self) -> GroupSession:
        if self._group is None:
            raise ClientError(
                "this consumer has no group; make it with Consumer(..., group_id=...)"
            )
        return self._group

    def _died(self, error: BaseException) -> None:
        self._reader.fail(ClientError(f"the consumer stopped working: {error!r}"))

"""A coordinator with a clock that is moved by hand, whose log keeps what it is given at once or when told."""

import random
from collections.abc import Iterable
from typing import Any

from cluster.groups.classic_group import ClassicGroup
from cluster.groups.classic_rebalance import Clock
from cluster.groups.coordinator import Coordinator
from cluster.groups.errors import NotCoordinatorError
from cluster.groups.offsets import Position, TopicPartition
from cluster.groups.records import GroupRecord, decode_record, encode_key, encode_value
from cluster.groups.settings import Caller, GroupSettings
from cluster.groups.step import Step
from storage.errors import OttlaError
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from wire.messages.offset_commit import OffsetCommitRequest
from wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

SESSION_MS = 10_000
REBALANCE_MS = 30_000
GROUP = "g"


class Lab:
    """Tickets are numbers; `answers` has what each was told: a response, or the error."""

    def __init__(self, *, delay_ms: int = 0, seed: int = 1, **settings: Any) -> None:
        self.settings = GroupSettings(initial_rebalance_delay_ms=delay_ms, **settings)
        self.coordinator = Coordinator(self.settings, random.Random(seed))
        self.now_ms = 1_000_000
        self.wall_ms = 1_700_000_000_000
        self.answers: dict[int, Any] = {}
        self.log: list[GroupRecord] = []
        self.keeps = True
        self.held: list[Step] = []
        self._tickets = 0

    @property
    def clock(self) -> Clock:
        return Clock(self.now_ms, self.wall_ms)

    @property
    def group(self) -> ClassicGroup:
        return self.coordinator.groups[GROUP]

    @property
    def state(self) -> str:
        return self.group.state.value

    def perform(self, step: Step) -> None:
        """What a shard does with a step."""
        if step.records and not self.keeps:
            self.held.append(step)
            return
        self._kept(step)

    def _kept(self, step: Step) -> None:
        self.log += step.records
        self.coordinator.replay(step.records)
        for ticket, response in step.answers:
            self.tell(ticket, response)
        if step.kept is not None:
            self.perform(step.kept())

    def tell(self, ticket: int, response: Any) -> None:
        """The answer to a request goes out."""
        assert ticket not in self.answers, "answered twice"
        self.answers[ticket] = response

    def keep_all(self) -> None:
        """The log catches up."""
        held, self.held = self.held, []
        for step in held:
            self._kept(step)

    def lose_all(self) -> None:
        """The log is gone: another node leads."""
        held, self.held = self.held, []
        for step in held:
            self.lose(step, NotCoordinatorError("gone"))

    def lose(self, step: Step, error: OttlaError) -> None:
        """A step whose records will not be kept."""
        for ticket, _ in step.answers:
            self.tell(ticket, error)
        if step.lost is not None:
            self.perform(step.lost(error))

    def _ask(self, decide: Any) -> int:
        self._tickets += 1
        ticket = self._tickets
        try:
            self.perform(decide(ticket))
        except OttlaError as error:
            self.tell(ticket, error)
        return ticket

    def join(
        self,
        member_id: str = "",
        *,
        instance: str | None = None,
        protocols: Iterable[tuple[str, bytes]] = (("range", b"m"),),
        protocol_type: str = "consumer",
        client: str = "c",
        told_first: bool = False,
        session_ms: int = SESSION_MS,
    ) -> int:
        request = JoinGroupRequest(
            group_id=GROUP,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=REBALANCE_MS,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=protocol_type,
            protocols=tuple(
                JoinGroupRequestProtocol(name=name, metadata=data) for name, data in protocols
            ),
        )
        caller = Caller(client, "/host", knows_member_id_required=told_first)
        return self._ask(lambda ticket: self.coordinator.join(request, caller, ticket, self.clock))

    def sync(
        self,
        member_id: str,
        generation: int,
        assignments: dict[str, bytes] | None = None,
        instance: str | None = None,
    ) -> int:
        request = SyncGroupRequest(
            group_id=GROUP,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=instance,
            assignments=tuple(
                SyncGroupRequestAssignment(member_id=key, assignment=value)
                for key, value in (assignments or {}).items()
            ),
        )
        return self._ask(lambda ticket: self.coordinator.sync(request, ticket, self.clock))

    def heartbeat(self, member_id: str, generation: int, instance: str | None = None) -> int:
        request = HeartbeatRequest(
            group_id=GROUP,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=instance,
        )
        return self._ask(lambda ticket: self.coordinator.heartbeat(request, ticket, self.clock))

    def leave(self, *members: str, instance: str | None = None) -> int:
        identities = [MemberIdentity(member_id=each) for each in members]
        if instance is not None:
            identities.append(MemberIdentity(member_id="", group_instance_id=instance))
        request = LeaveGroupRequest(group_id=GROUP, members=tuple(identities))
        return self._ask(lambda ticket: self.coordinator.leave(request, ticket, self.clock))

    def commit(
        self,
        offset: int,
        member_id: str = "",
        generation: int = -1,
        partition: int = 0,
        expires_wall_ms: int = -1,
    ) -> int:
        offsets = {partition: offset}
        return self.commit_all(offsets, member_id, generation, expires_wall_ms=expires_wall_ms)

    def commit_all(
        self,
        offsets: dict[int, int],
        member_id: str = "",
        generation: int = -1,
        instance: str | None = None,
        expires_wall_ms: int = -1,
    ) -> int:
        request = OffsetCommitRequest(
            group_id=GROUP,
            generation_id_or_member_epoch=generation,
            member_id=member_id,
            group_instance_id=instance,
        )
        positions = {
            TopicPartition("t", partition): Position(offset, -1, "", self.wall_ms, expires_wall_ms)
            for partition, offset in offsets.items()
        }
        return self._ask(
            lambda ticket: self.coordinator.commit(GROUP, positions, request, self.clock).answer(
                ticket, max(offsets.values())
            )
        )

    def delete(self) -> int:
        return self._ask(
            lambda ticket: self.coordinator.delete_group(GROUP).answer(ticket, "deleted")
        )

    def committed(self, partition: int = 0) -> int | None:
        found = self.coordinator.offsets.of(GROUP).get(TopicPartition("t", partition))
        return None if found is None else found.offset

    def sleep(self, ms: int) -> None:
        """Time passes; what is due happens when it is due."""
        end = self.now_ms + ms
        while True:
            due = self.coordinator.next_deadline_ms(GROUP)
            if due is None or due > end:
                break
            self.wall_ms += max(due - self.now_ms, 0)
            self.now_ms = max(due, self.now_ms)
            before = self.coordinator.next_deadline_ms(GROUP)
            self.perform(self.coordinator.expire(GROUP, self.clock))
            assert self.coordinator.next_deadline_ms(GROUP) != before, "a deadline that stays"
        self.wall_ms += end - self.now_ms
        self.now_ms = end

    def reload(self) -> "Lab":
        """The next coordinator: it knows what the log has kept, through its bytes."""
        lab = Lab(seed=2)
        lab.settings = self.settings
        lab.coordinator = Coordinator(self.settings, random.Random(2))
        lab.now_ms, lab.wall_ms = self.now_ms, self.wall_ms
        lab.log = list(self.log)
        lab._tickets = self._tickets
        for key, value in self.log:
            record = decode_record(encode_key(key), encode_value(value))
            assert record is not None
            lab.coordinator.load(record, lab.clock)
        return lab

    def settled(self, *clients: str) -> tuple[int, list[str]]:
        """A stable group of new members: the generation and their ids, the leader first."""
        tickets = [self.join(client=client) for client in clients]
        for ticket in tickets[1:]:
            assert ticket not in self.answers
        # The first one joined alone; it hears of the others and joins again.
        ids = [self.answers[tickets[0]].member_id]
        if len(clients) > 1:
            again = self.join(ids[0])
            ids += [self.answers[ticket].member_id for ticket in tickets[1:]]
            tickets = [again, *tickets[1:]]
        joined: JoinGroupResponse = self.answers[tickets[0]]
        assert joined.leader == ids[0]
        for member_id in ids[1:]:
            self.sync(member_id, joined.generation_id)
        shares = {member_id: member_id.encode() for member_id in ids}
        ticket = self.sync(ids[0], joined.generation_id, shares)
        assert self.answers[ticket].assignment == ids[0].encode()
        return joined.generation_id, ids

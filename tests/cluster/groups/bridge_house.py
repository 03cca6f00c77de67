"""A house with members of both protocols: what a classic one asks, request by request."""

from collections.abc import Callable
from typing import Any

from cluster.groups.classic_group import ClassicGroup
from cluster.groups.reconciliation import Assignment
from cluster.groups.settings import Caller
from cluster.groups.step import Step, Ticket
from cluster.groups.subscriptions import assignment_bytes, known
from storage.errors import OttlaError
from tests.cluster.groups.consumer_house import G, House
from wire.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    read,
    write,
)
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from wire.messages.offset_commit import OffsetCommitRequest
from wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

SESSION_MS = 10_000
REBALANCE_MS = 30_000
OLD_CLIENT = Caller("old", "/127.0.0.1", knows_member_id_required=False)


class BridgeHouse(House):
    """Requests are answered with a response or an error; None: the answer is still waited for."""

    def _ask(self, decide: Callable[[Ticket], Step]) -> Ticket:
        ticket = self.ticket()
        try:
            self.perform(decide(ticket))
        except OttlaError as error:
            self.answers[ticket] = error
        return ticket

    @property
    def classic(self) -> ClassicGroup:
        """The group, when it is a classic one."""
        return self.coordinator.groups[G]

    def ask_join(
        self,
        member: str = "",
        *,
        owned: Assignment = frozenset(),
        topics: tuple[str, ...] = ("t",),
        instance: str | None = None,
        protocols: tuple[str, ...] = ("range",),
        version: int = 3,
        generation: int = -1,
        caller: Caller = OLD_CLIENT,
    ) -> Ticket:
        """JoinGroup. generation: since which the member has what it owns, as it says."""
        metadata = self.subscription(owned, topics, version, generation)
        request = JoinGroupRequest(
            group_id=G,
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            member_id=member,
            group_instance_id=instance,
            protocol_type="consumer",
            protocols=tuple(
                JoinGroupRequestProtocol(name=each, metadata=metadata) for each in protocols
            ),
        )
        return self._ask(lambda it: self.coordinator.join(request, caller, it, self.clock))

    def classic_join(self, member: str = "", **options: Any) -> Any:
        """JoinGroup that is answered at once."""
        return self.answers.get(self.ask_join(member, **options))

    def subscription(
        self, owned: Assignment, topics: tuple[str, ...], version: int, generation: int
    ) -> bytes:
        """What a member joins with."""
        there = read(
            ConsumerProtocolAssignment, assignment_bytes(owned, self.topics, b"\0\3")
        ).assigned_partitions
        wanted = ConsumerProtocolSubscription(
            topics=topics, owned_partitions=there, generation_id=generation
        )
        return write(wanted, version)

    def share(self, partitions: Assignment) -> bytes:
        """What a leader gives to one."""
        return assignment_bytes(partitions, self.topics, b"\0\3")

    def ask_sync(
        self,
        member: str,
        generation: int,
        shares: dict[str, Assignment] | None = None,
        instance: str | None = None,
        protocol: str = "range",
    ) -> Ticket:
        """SyncGroup."""
        request = SyncGroupRequest(
            group_id=G,
            generation_id=generation,
            member_id=member,
            group_instance_id=instance,
            protocol_type="consumer",
            protocol_name=protocol,
            assignments=tuple(
                SyncGroupRequestAssignment(member_id=each, assignment=self.share(partitions))
                for each, partitions in (shares or {}).items()
            ),
        )
        return self._ask(lambda it: self.coordinator.sync(request, it, self.clock))

    def given(self, answer: Any) -> Assignment:
        """The partitions of an answered SyncGroup."""
        if not answer.assignment:
            return frozenset()
        found = read(ConsumerProtocolAssignment, answer.assignment)
        return known(found.assigned_partitions, self.topics)

    def classic_sync(self, member: str, generation: int, **options: Any) -> Any:
        """SyncGroup: partitions, or the error."""
        answer = self.answers.get(self.ask_sync(member, generation, **options))
        return answer if answer is None or isinstance(answer, OttlaError) else self.given(answer)

    def ask_heartbeat(self, member: str, generation: int, instance: str | None = None) -> Ticket:
        """Heartbeat."""
        request = HeartbeatRequest(
            group_id=G, member_id=member, generation_id=generation, group_instance_id=instance
        )
        return self._ask(lambda it: self.coordinator.heartbeat(request, it, self.clock))

    def classic_heartbeat(self, member: str, generation: int, instance: str | None = None) -> str:
        """Heartbeat: the name of the code."""
        answer = self.answers[self.ask_heartbeat(member, generation, instance)]
        return answer.code.name if isinstance(answer, OttlaError) else "NONE"

    def classic_leave(self, member: str) -> Any:
        """LeaveGroup."""
        request = LeaveGroupRequest(group_id=G, members=(MemberIdentity(member_id=member),))
        return self.answers.get(
            self._ask(lambda it: self.coordinator.leave(request, it, self.clock))
        )

    def may_commit(self, member: str, generation: int) -> str:
        """What would be said to a commit."""
        request = OffsetCommitRequest(
            group_id=G, member_id=member, generation_id_or_member_epoch=generation
        )
        try:
            self.coordinator.check_commit(request, self.clock)
        except OttlaError as error:
            return error.code.name
        return "NONE"

    def settled_classic(self, *shares: Assignment, **options: Any) -> tuple[int, list[str]]:
        """A stable classic group whose members have these shares: its generation and their ids."""
        tickets = [self.ask_join(**options) for _ in shares]
        leader = self.answers[tickets[0]].member_id
        if len(shares) > 1:
            tickets[0] = self.ask_join(leader, **options)
        ids = [self.answers[each].member_id for each in tickets]
        generation = self.answers[tickets[0]].generation_id
        protocol = self.answers[tickets[0]].protocol_name
        for each in ids[1:]:
            self.ask_sync(each, generation, protocol=protocol)
        wanted = dict(zip(ids, shares, strict=True))
        self.ask_sync(leader, generation, wanted, protocol=protocol)
        assert self.classic.state.value == "Stable"
        return generation, ids

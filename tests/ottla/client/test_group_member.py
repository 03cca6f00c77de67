"""A member of a group that changes its mind while it joins."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ottla.client.assignors import assignors
from ottla.client.errors import BrokerError
from ottla.client.group_member import GroupSettings, Membership, MembershipLostError
from ottla.v1 import common_pb2
from ottla.v1 import groups_pb2 as pb
from storage.errors import ErrorCode


def _refusal(code: ErrorCode) -> BrokerError:
    return BrokerError(common_pb2.Error(code=common_pb2.ErrorCode.ValueType(code.value)))


def _member(coordinator: "Coordinator") -> Membership:
    link: Any = coordinator
    view: Any = SimpleNamespace()
    settings = GroupSettings("g", None, "c", tuple(assignors(["range"])), 10_000, 3_000, 30_000)
    return Membership(settings, view, link, lambda: None)


class Coordinator:
    """In place of the link: the first join waits until it may be answered, and its sync comes too late."""

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.may_answer = asyncio.Event()
        self.sync_refused = True
        self.attends: str | None = None

    async def ask(self, attempt: Any, refusal: Any, **_times: Any) -> Any:
        reply = await attempt(self, 1.0)
        refused = refusal(reply)
        if refused is not None:
            raise refused
        return reply

    def attend(self, request: pb.AttendRequest) -> None:
        """In place of the open call."""
        self.attends = request.member_id

    def end_attendance(self) -> None:
        """In place of its end."""
        self.attends = None

    async def JoinGroup(
        self, _request: pb.JoinGroupRequest, timeout: float
    ) -> pb.JoinGroupResponse:
        assert timeout > 0
        await self.may_answer.wait()
        self.members.add("me")
        return pb.JoinGroupResponse(member_id="me", generation_id=1, leader_id="other")

    async def SyncGroup(
        self, _request: pb.SyncGroupRequest, timeout: float
    ) -> pb.SyncGroupResponse:
        assert timeout > 0
        if self.sync_refused:
            raise _refusal(ErrorCode.REBALANCE_IN_PROGRESS)
        return pb.SyncGroupResponse()

    async def LeaveGroup(
        self, request: pb.LeaveGroupRequest, timeout: float
    ) -> pb.LeaveGroupResponse:
        assert timeout > 0
        self.members -= {each.member_id for each in request.members}
        return pb.LeaveGroupResponse()


def test_who_left_before_it_knew_its_id_leaves_nobody_behind() -> None:
    """The others would wait a session for it."""

    async def run() -> None:
        coordinator = Coordinator()
        member = _member(coordinator)
        joining = asyncio.create_task(member.join(["t"], (), member.begin()))
        await asyncio.sleep(0)
        await member.leave()
        coordinator.may_answer.set()
        async with asyncio.timeout(5):
            try:
                await joining
            except MembershipLostError:
                pass
            else:
                raise AssertionError("it is a member all the same")
        assert coordinator.members == set()
        assert coordinator.attends is None

    asyncio.run(run())


@pytest.mark.parametrize("code", [ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION])
def test_what_is_said_of_the_generation_before_while_it_joins_makes_no_further_rebalance(
    code: ErrorCode,
) -> None:
    """A heartbeat or a commit was on its way, and its answer comes before that to the join."""

    async def run() -> None:
        coordinator = Coordinator()
        coordinator.sync_refused = False
        member = _member(coordinator)
        member.ask_to_join()
        joining = asyncio.create_task(member.join(["t"], (), member.begin()))
        member.refused(_refusal(code))
        await asyncio.sleep(0)
        member.refused(_refusal(code))
        coordinator.may_answer.set()
        async with asyncio.timeout(5):
            assert (await joining).generation == member.generation == 1
        assert coordinator.attends == "me"
        assert not member.needs_join
        assert not member.lost
        member.refused(_refusal(code))
        assert member.needs_join, "of this generation it is news"

    asyncio.run(run())

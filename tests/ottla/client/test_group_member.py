"""A member of a group that changes its mind while it joins."""

import asyncio
from types import SimpleNamespace
from typing import Any

from ottla.client.assignors import assignors
from ottla.client.errors import BrokerError
from ottla.client.group_member import GroupSettings, Membership, MembershipLostError
from ottla.v1 import common_pb2
from ottla.v1 import groups_pb2 as pb
from storage.errors import ErrorCode


class Coordinator:
    """In place of the link: the first join waits until it may be answered, and its sync comes too late."""

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.may_answer = asyncio.Event()

    async def ask(self, attempt: Any, refusal: Any, **_times: Any) -> Any:
        reply = await attempt(self, 1.0)
        refused = refusal(reply)
        if refused is not None:
            raise refused
        return reply

    async def JoinGroup(  # noqa: N802 - gRPC's name
        self, _request: pb.JoinGroupRequest, timeout: float
    ) -> pb.JoinGroupResponse:
        assert timeout > 0
        await self.may_answer.wait()
        self.members.add("me")
        return pb.JoinGroupResponse(member_id="me", generation_id=1, leader_id="other")

    async def SyncGroup(  # noqa: N802 - gRPC's name
        self, _request: pb.SyncGroupRequest, timeout: float
    ) -> pb.SyncGroupResponse:
        assert timeout > 0
        raise BrokerError(
            common_pb2.Error(
                code=common_pb2.ErrorCode.ValueType(ErrorCode.REBALANCE_IN_PROGRESS.value)
            )
        )

    async def LeaveGroup(  # noqa: N802 - gRPC's name
        self, request: pb.LeaveGroupRequest, timeout: float
    ) -> pb.LeaveGroupResponse:
        assert timeout > 0
        self.members -= {each.member_id for each in request.members}
        return pb.LeaveGroupResponse()


def test_who_left_before_it_knew_its_id_leaves_nobody_behind() -> None:
    """The others would wait a session for it."""

    async def run() -> None:
        coordinator = Coordinator()
        link: Any = coordinator
        settings = GroupSettings("g", None, "c", tuple(assignors(["range"])), 10_000, 3_000, 30_000)
        view: Any = SimpleNamespace()
        member = Membership(settings, view, link, lambda: None)
        joining = asyncio.create_task(member.join(["t"], ()))
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

    asyncio.run(run())

"""This node's consensus driver as the operators' commands and the shutdown need it."""

import asyncio

import structlog

from kraft.driver import RaftDriver
from kraft.raft.errors import NotLeaderError
from kraft.raft.membership import MembershipChange
from kraft.raft.ready import LeadershipFact, Role
from kraft.raft.status import RaftStatus
from storage.errors import ErrorCode, OttlaError

log = structlog.get_logger("quorum")

TRANSFER_TIMEOUT_S = 3.0


class TransferFailedError(OttlaError):
    """Leadership of the quorum did not move in time; it may be tried again."""

    code = ErrorCode.REQUEST_TIMED_OUT
    retriable = True


class QuorumPort:
    """previous_leader: who led before the leader of now, as far as this node knows."""

    def __init__(self, driver: RaftDriver) -> None:
        self._driver = driver
        self._leader: int | None = None
        self._changed = asyncio.Event()
        self.previous_leader: int | None = None

    def leadership_changed(self, fact: LeadershipFact) -> None:
        """The driver's word."""
        if fact.leader_id is not None and fact.leader_id != self._leader:
            self.previous_leader, self._leader = self._leader, fact.leader_id
        self._changed.set()

    def status(self) -> RaftStatus:
        """The quorum as this node sees it."""
        return self._driver.status()

    async def propose_membership(self, change: MembershipChange) -> int:
        """Committed. Raises NotLeaderError, MembershipBusyError, MembershipChangeError, ProposalRefusedError."""
        return await self._driver.propose_membership(change)

    async def transfer_leadership(self, target: int) -> None:
        """Done when another node leads. Raises NotLeaderError and the like, TransferFailedError."""
        self._driver.transfer_leadership(target)
        await self._await_other_leader()

    async def hand_over(self) -> None:
        """Let another voter lead, if this node does and there is one; a leader that stops is missed otherwise."""
        if (
            self._driver.node.role is not Role.LEADER
            or len(self._driver.node.membership.voters) < 2
        ):
            return
        try:
            self._driver.transfer_leadership()
            await self._await_other_leader()
        except (TransferFailedError, NotLeaderError) as error:
            log.warning("the quorum's leadership was not handed over", reason=str(error))

    async def _await_other_leader(self) -> None:
        node = self._driver.node
        try:
            async with asyncio.timeout(TRANSFER_TIMEOUT_S):
                while node.role is Role.LEADER or node.leader_id is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TransferFailedError(
                f"leadership of the quorum did not move within {TRANSFER_TIMEOUT_S:g} s"
            ) from None

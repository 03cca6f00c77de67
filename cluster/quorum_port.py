"""This node's consensus driver as the operators' commands and the shutdown need it."""

import asyncio
from collections.abc import Callable, Collection

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
    """previous_leader: who led before the leader of now, as far as this node knows. `dead` names the nodes whose
    process is gone.
    """

    def __init__(
        self, node_id: int, driver: RaftDriver, dead: Callable[[], Collection[int]]
    ) -> None:
        self._node_id = node_id
        self._driver = driver
        self._dead = dead
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
        if self._driver.node.role is not Role.LEADER or not self._heirs():
            return
        try:
            self._driver.transfer_leadership()
            await self._await_other_leader()
        except (TransferFailedError, NotLeaderError) as error:
            log.warning("the quorum's leadership was not handed over", reason=str(error))

    def _heirs(self) -> frozenset[int]:
        """The voters who could lead instead, as far as is known."""
        return self._driver.node.membership.voters.difference(self._dead(), [self._node_id])

    async def _await_other_leader(self) -> None:
        node = self._driver.node
        try:
            async with asyncio.timeout(TRANSFER_TIMEOUT_S):
                while node.role is Role.LEADER or node.leader_id is None:
                    if not self._heirs():
                        raise TransferFailedError("no other voter is alive")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TransferFailedError(
                f"leadership of the quorum did not move within {TRANSFER_TIMEOUT_S:g} s"
            ) from None

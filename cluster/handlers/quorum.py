"""The metadata quorum for operators: describe it, change its voters, move its leadership. Carried out at its leader."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from cluster.peers.network import Peer, PeerGoneError, PeerNetwork
from kraft.metadata.errors import InvalidRequestError, NotControllerError, Refusal
from kraft.raft.errors import MembershipBusyError, NotLeaderError, ProposalRefusedError
from kraft.raft.membership import ChangeKind, MembershipChange
from kraft.raft.status import RaftStatus
from storage.errors import ErrorCode, OttlaError

log = structlog.get_logger("quorum")

METHOD = "Quorum"
TIMEOUT_S = 10.0
JOIN_TIMEOUT_S = 1.0
CATCH_UP_TIMEOUT_S = 30.0
RETRY_S = 0.05
# A voter that is not heard of for so long counts as gone when another is to be removed: several heartbeats.
SILENT_MS = 1500


class VoterError(OttlaError):
    """The node cannot be made a voter, or is none."""

    code = ErrorCode.VOTER_NOT_FOUND


class QuorumMember(Struct, frozen=True):
    """match_index and last_contact_ms are -1 where the describing node is not the leader and cannot tell."""

    node_id: int
    match_index: int
    lag: int
    last_contact_ms: int
    voter: bool
    address: str


class QuorumDescription(Struct, frozen=True):
    """leader_id -1: none is known. node_id: who says so."""

    leader_id: int
    term: int
    commit_index: int
    applied_index: int
    log_start_index: int
    log_end_index: int
    snapshot_index: int
    replicas: tuple[QuorumMember, ...]
    node_id: int


class _Describe(Struct, frozen=True, tag="describe"):
    pass


class _Add(Struct, frozen=True, tag="add"):
    node_id: int


class _Remove(Struct, frozen=True, tag="remove"):
    node_id: int


class _Transfer(Struct, frozen=True, tag="transfer"):
    node_id: int


class Join(Struct, frozen=True, tag="join"):
    """A node without a vote asks to be sent the metadata log, or tells that its address is another."""

    node_id: int
    address: str
    # Set when a voter hands the question on to the leader: nobody hands it on twice.
    forwarded: bool = False
    # A member's address stays what it is: this one may be good for its own host only.
    only_if_no_member: bool = False


class _Answer(Struct, frozen=True):
    description: QuorumDescription | None = None
    leader_id: int = -1
    refusal: Refusal | None = None


_Request = _Describe | _Add | _Remove | _Transfer | Join
_request_decoder = msgspec.msgpack.Decoder(_Request)
_answer_decoder = msgspec.msgpack.Decoder(_Answer)


class Driver(Protocol):
    """What is needed of this node's consensus driver."""

    def status(self) -> RaftStatus:
        """The quorum as this node sees it."""
        ...

    async def propose_membership(self, change: MembershipChange) -> object:
        """Committed. Raises NotLeaderError, MembershipBusyError, MembershipChangeError, ProposalRefusedError."""
        ...

    async def transfer_leadership(self, target: int) -> None:
        """Done when another node leads. Raises NotLeaderError, and TransferFailedError when it did not come to it."""
        ...


class QuorumHandler:
    """`peer` finds a node's peer address, `no_leader` says to people why there is nobody to ask."""

    def __init__(
        self,
        node_id: int,
        driver: Driver,
        network: PeerNetwork,
        peer: Callable[[int], Peer | None],
        no_leader: Callable[[], str],
        now_ms: Callable[[], int],
    ) -> None:
        self._node_id = node_id
        self._driver = driver
        self._network = network
        self._peer = peer
        self._no_leader = no_leader
        self._now_ms = now_ms

    def leader_id(self) -> int:
        """The quorum's leader as far as is known here, -1 for none."""
        leader = self._driver.status().leader_id
        return -1 if leader is None else leader

    async def describe(self) -> QuorumDescription:
        """As the leader sees it, or, when it does not answer, as this node does."""
        try:
            answer = await self._ask(_Describe(), 1.0)
        except OttlaError:
            return self._description()
        return answer.description or self._description()

    async def add(self, node_id: int) -> None:
        """Make a learner a voter, once it has caught up. Raises VoterError, MembershipBusyError."""
        await self._ask(_Add(node_id), CATCH_UP_TIMEOUT_S)

    async def remove(self, node_id: int) -> None:
        """Take a member out. Raises VoterError and what the consensus refuses."""
        await self._ask(_Remove(node_id), TIMEOUT_S)

    async def transfer(self, node_id: int) -> int:
        """Move leadership to a voter (-1: the one furthest ahead) and return the new leader."""
        return (await self._ask(_Transfer(node_id), TIMEOUT_S)).leader_id

    async def ask_to_join(
        self, voters: Mapping[int, str], request: Join, *, quiet: bool = False
    ) -> None:
        """Ask every voter to be admitted as a learner: one of them leads. Tells of refusals, raises nothing."""
        tell = log.debug if quiet else log.info
        for node_id, address in voters.items():
            try:
                data = await self._network.call(
                    Peer(node_id, address), METHOD, msgspec.msgpack.encode(request), JOIN_TIMEOUT_S
                )
                refusal = _answer_decoder.decode(data).refusal
            except OttlaError as error:
                refusal = Refusal.of(error)
            if refusal is None:
                return
            tell("not admitted to the metadata log yet", voter=node_id, reason=refusal.message)

    async def serve(self, data: bytes) -> bytes:
        """Answer another node. Raises InvalidRequestError for garbage."""
        try:
            request = _request_decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise InvalidRequestError(f"no quorum request: {error}") from error
        try:
            if isinstance(request, Join) and not request.forwarded:
                answer = await self._attempt(
                    msgspec.structs.replace(request, forwarded=True), JOIN_TIMEOUT_S
                )
            else:
                answer = await self._carry_out(request)
        except OttlaError as error:
            answer = _Answer(refusal=Refusal.of(error))
        return msgspec.msgpack.encode(answer)

    async def _ask(self, request: _Request, timeout_s: float) -> _Answer:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            try:
                return await self._attempt(request, deadline_s - loop.time())
            except (
                NotControllerError,
                NotLeaderError,
                PeerGoneError,
                MembershipBusyError,
                ProposalRefusedError,
            ):
                if loop.time() + RETRY_S >= deadline_s:
                    raise
            await asyncio.sleep(RETRY_S)

    async def _attempt(self, request: _Request, timeout_s: float) -> _Answer:
        leader = self._driver.status().leader_id
        if leader is None:
            raise NotControllerError(self._no_leader())
        if leader == self._node_id:
            return await self._carry_out(request)
        peer = self._peer(leader)
        if peer is None:
            raise NotControllerError(
                f"the address of the quorum's leader, node {leader}, is not known"
            )
        data = await self._network.call(peer, METHOD, msgspec.msgpack.encode(request), timeout_s)
        answer = _answer_decoder.decode(data)
        if answer.refusal is not None:
            raise _as_raised(answer.refusal)
        return answer

    async def _carry_out(self, request: _Request) -> _Answer:
        status = self._driver.status()
        if status.leader_id != self._node_id:
            raise NotControllerError(f"node {self._node_id} does not lead the metadata quorum")
        match request:
            case _Describe():
                return _Answer(description=self._description())
            case _Add(node_id):
                self._member(status, node_id)
                await self._driver.propose_membership(MembershipChange(ChangeKind.PROMOTE, node_id))
            case _Remove(node_id):
                self._member(status, node_id)
                await self._require_majority_without(node_id)
                await self._driver.propose_membership(MembershipChange(ChangeKind.REMOVE, node_id))
            case Join():
                await self._admit(status, request)
            case _Transfer(node_id):
                return await self._transfer(status, node_id)
        return _Answer()

    async def _admit(self, status: RaftStatus, request: Join) -> None:
        node_id, address = request.node_id, request.address
        known = next((each for each in status.members if each.node_id == node_id), None)
        if known is None:
            change = MembershipChange(ChangeKind.ADD_LEARNER, node_id, address)
        elif known.address != address and not request.only_if_no_member:
            change = MembershipChange(ChangeKind.UPDATE, node_id, address)
        else:
            return
        await self._driver.propose_membership(change)

    async def _transfer(self, status: RaftStatus, node_id: int) -> _Answer:
        voters = [each.node_id for each in status.members if each.voter]
        if node_id == -1:
            ahead = [each for each in status.followers if each.node_id in voters]
            if not ahead:
                raise VoterError("there is no other voter to transfer leadership to")
            node_id = max(ahead, key=lambda each: each.match_index).node_id
        elif node_id not in voters:
            raise VoterError(f"node {node_id} is not a voter; the voters are {voters}")
        if node_id == self._node_id:
            return _Answer(leader_id=node_id)
        await self._driver.transfer_leadership(node_id)
        return _Answer(leader_id=node_id)

    def _member(self, status: RaftStatus, node_id: int) -> None:
        members = sorted(each.node_id for each in status.members)
        if node_id not in members:
            raise VoterError(
                f"node {node_id} is no member of the metadata quorum, {', '.join(map(str, members))} are; a new node "
                f"is one when it runs with process.roles=broker"
            )

    async def _require_majority_without(self, node_id: int) -> None:
        """A removal that those who stay cannot commit would stop the cluster until more of them are up.

        What was heard before the question proves nothing: waits until enough of them are heard of again. Raises
        InvalidRequestError.
        """
        asked_ms = self._now_ms()
        while True:
            status = self._driver.status()
            left = [each.node_id for each in status.members if each.voter]
            if node_id not in left or left == [node_id]:
                return
            left.remove(node_id)
            heard_ms = {each.node_id: each.last_contact_ms for each in status.followers}
            alive = [
                each for each in left if each == self._node_id or heard_ms.get(each, 0) > asked_ms
            ]
            if len(alive) > len(left) // 2:
                return
            if self._now_ms() - asked_ms > SILENT_MS:
                raise InvalidRequestError(
                    f"without node {node_id} the voters are {_ids(left)}, and of these only {_ids(alive) or 'none'} "
                    f"can be heard: no majority could go on; start the others or add voters first"
                )
            await asyncio.sleep(RETRY_S)

    def _description(self) -> QuorumDescription:
        status = self._driver.status()
        followers = {each.node_id: each for each in status.followers}
        members = []
        for member in status.members:
            found = followers.get(member.node_id)
            own = member.node_id == self._node_id
            match = status.last_index if own else found.match_index if found else -1
            contact = 0 if own else self._now_ms() - found.last_contact_ms if found else -1
            lag = status.last_index - match if match >= 0 else -1
            members.append(
                QuorumMember(member.node_id, match, lag, contact, member.voter, member.address)
            )
        return QuorumDescription(
            leader_id=-1 if status.leader_id is None else status.leader_id,
            term=status.term,
            commit_index=status.commit_index,
            applied_index=status.applied_index,
            log_start_index=status.first_index,
            log_end_index=status.last_index,
            snapshot_index=status.snapshot_index,
            replicas=tuple(members),
            node_id=self._node_id,
        )


def _ids(ids: Iterable[int]) -> str:
    return ", ".join(map(str, ids))


def _as_raised(refusal: Refusal) -> OttlaError:
    """Busy and not-leader refusals as the kinds that `_ask` repeats."""
    if refusal.code == ErrorCode.NOT_CONTROLLER:
        return NotControllerError(refusal.message)
    if refusal.code == ErrorCode.REASSIGNMENT_IN_PROGRESS:
        return MembershipBusyError(refusal.message)
    if refusal.code == ErrorCode.VOTER_NOT_FOUND:
        return VoterError(refusal.message)
    return refusal.to_error()

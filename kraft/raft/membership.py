"""Who belongs to the group: voters, and learners who receive the log without a vote (Raft thesis, 4.2.1)."""

from enum import Enum

import msgspec
from msgspec import Struct

from kraft.raft.errors import MembershipChangeError


class Member(Struct, frozen=True, array_like=True):
    """One node. `address` is its peer listener as host:port; `extra` is the shell's own and opaque here."""

    node_id: int
    address: str
    voter: bool = True
    extra: bytes = b""


class Membership(Struct, frozen=True, array_like=True):
    """All members, in the order of their ids."""

    members: tuple[Member, ...]

    @property
    def voters(self) -> frozenset[int]:
        """Ids of those who vote."""
        return frozenset(member.node_id for member in self.members if member.voter)

    @property
    def learners(self) -> frozenset[int]:
        """Ids of those who only receive the log."""
        return frozenset(member.node_id for member in self.members if not member.voter)

    def find(self, node_id: int) -> Member | None:
        """The member with this id, or None."""
        return next((member for member in self.members if member.node_id == node_id), None)

    def encode(self) -> bytes:
        """The data of a MEMBERSHIP entry."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def decode(data: bytes) -> "Membership":
        """The reverse of `encode`. Raises msgspec.DecodeError."""
        return msgspec.msgpack.decode(data, type=Membership)

    @staticmethod
    def of(*members: Member) -> "Membership":
        """Members in order. Raises MembershipChangeError for a repeated id or when nobody votes."""
        ids = [member.node_id for member in members]
        if len(set(ids)) != len(ids):
            raise MembershipChangeError(f"members {ids}: a node id stands there twice")
        if not any(member.voter for member in members):
            raise MembershipChangeError(f"members {ids}: none of them votes; there must be a voter")
        return Membership(tuple(sorted(members, key=lambda member: member.node_id)))


class ChangeKind(Enum):
    """The single steps; none changes more than one voter, so old and new majorities overlap (Raft thesis, 4.1)."""

    ADD_LEARNER = "add learner"
    PROMOTE = "promote"
    REMOVE = "remove"
    # A known member's address or extra: votes do not change.
    UPDATE = "update"


class MembershipChange(Struct, frozen=True):
    """One step from one membership to the next. `address` and `extra` are for ADD_LEARNER and UPDATE."""

    kind: ChangeKind
    node_id: int
    address: str = ""
    extra: bytes = b""

    def applied_to(self, membership: Membership) -> Membership:
        """The membership after this step. Raises MembershipChangeError naming what does not fit."""
        member = membership.find(self.node_id)
        others = tuple(each for each in membership.members if each.node_id != self.node_id)
        if self.kind is ChangeKind.ADD_LEARNER:
            if member is not None:
                raise MembershipChangeError(f"node {self.node_id} is a member already")
            if not self.address:
                raise MembershipChangeError(f"node {self.node_id}: its peer address is needed")
            return Membership.of(
                *others, Member(self.node_id, self.address, voter=False, extra=self.extra)
            )
        if member is None:
            raise MembershipChangeError(
                f"node {self.node_id} is not a member; members are "
                f"{[each.node_id for each in membership.members]}"
            )
        if self.kind is ChangeKind.REMOVE:
            return Membership.of(*others)
        if self.kind is ChangeKind.PROMOTE:
            if member.voter:
                raise MembershipChangeError(f"node {self.node_id} is a voter already")
            return Membership.of(
                *others, Member(self.node_id, member.address, voter=True, extra=member.extra)
            )
        address = self.address or member.address
        return Membership.of(*others, Member(self.node_id, address, member.voter, self.extra))

"""Groups as administrators see them. Pure."""

from typing import NamedTuple

from cluster.groups.classic_group import State
from cluster.groups.coordinator import Coordinator

CLASSIC = "classic"


class MemberView(NamedTuple):
    """One member. metadata, assignment: as its protocol has them."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    metadata: bytes
    assignment: bytes


class GroupView(NamedTuple):
    """One group. state: Kafka's word for it; since_wall_ms: since when, milliseconds since the epoch, -1: not known."""

    group_id: str
    group_type: str
    state: str
    protocol_type: str
    protocol: str
    members: tuple[MemberView, ...] = ()
    since_wall_ms: int = -1


def described(coordinator: Coordinator, group_id: str) -> GroupView:
    """A group that exists, with its members."""
    group = coordinator.groups.get(group_id)
    if group is None:
        return GroupView(group_id, CLASSIC, State.EMPTY.value, "", "")
    stable = group.state is State.STABLE
    protocol = group.protocol or "" if stable else ""
    return GroupView(
        group_id,
        CLASSIC,
        group.state.value,
        group.protocol_type or "",
        protocol,
        tuple(
            MemberView(
                each.member_id,
                each.instance_id,
                each.client_id,
                each.client_host,
                each.metadata(protocol) if stable else b"",
                each.assignment if stable else b"",
            )
            for each in group.members.values()
        ),
        group.state_since_wall_ms,
    )


def listed(coordinator: Coordinator) -> list[GroupView]:
    """All groups, without their members."""
    return [
        described(coordinator, group_id)._replace(members=())
        for group_id in coordinator.group_ids()
    ]

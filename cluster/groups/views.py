"""Groups as administrators see them. Pure."""

from typing import NamedTuple

from cluster.groups.classic_group import State
from cluster.groups.coordinator import Coordinator
from cluster.groups.reconciliation import NOTHING, Assignment, ConsumerMember
from wire.consumer_protocol import PROTOCOL_TYPE

CLASSIC = "classic"
CONSUMER = "consumer"


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


class ConsumerMemberView(NamedTuple):
    """A member of a KIP-848 group. target: what it shall have."""

    member: ConsumerMember
    target: Assignment


class ConsumerGroupView(NamedTuple):
    """A KIP-848 group. state: Kafka's word for it."""

    group_id: str
    state: str
    epoch: int
    assignment_epoch: int
    assignor: str
    members: tuple[ConsumerMemberView, ...]


def consumer_described(
    coordinator: Coordinator, group_id: str, default_assignor: str
) -> ConsumerGroupView | None:
    """A KIP-848 group as far as it is committed; None when it is none."""
    group = coordinator.consumer.groups.get(group_id)
    if group is None:
        return None
    state = group.committed
    return ConsumerGroupView(
        group_id,
        state.phase.value,
        state.epoch,
        state.assignment_epoch,
        state.assignor(default_assignor),
        tuple(
            ConsumerMemberView(each, state.targets.get(each.member_id, NOTHING))
            for each in state.members.values()
        ),
    )


def described(coordinator: Coordinator, group_id: str) -> GroupView:
    """A group that exists, with its members, if they have the classic protocol."""
    consumer = coordinator.consumer.groups.get(group_id)
    if consumer is not None:
        phase = consumer.committed.phase.value
        return GroupView(group_id, CONSUMER, phase, PROTOCOL_TYPE, "")
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

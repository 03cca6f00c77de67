"""Members with the classic protocol and with that of KIP-848 in one group."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.compat.group import Group
from tests.compat.target import Target, code
from wire.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    Partitions,
    read,
    write,
)
from wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    TopicPartitions,
)
from wire.messages.list_groups import ListGroupsRequest

NEW = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


class Mixed:
    """A group that reads a topic with two partitions."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.topic = target.topic()
        self.topic_id: UUID = target.topic_id(self.topic)
        self.group = Group(target)

    def subscription(self, *owned: int) -> bytes:
        there = (Partitions(topic=self.topic, partitions=owned),) if owned else ()
        wanted = ConsumerProtocolSubscription(topics=(self.topic,), owned_partitions=there)
        return write(wanted, 1)

    def join(self, member: str = "", *owned: int, **options: Any) -> Any:
        return self.group.join(member, metadata=self.subscription(*owned), **options)

    def joined(self, member: str = "", *owned: int, **options: Any) -> Any:
        """[error, generation, protocol, leader, how many members it hears of]."""
        found = self.join(member, *owned, **options)
        return [
            code(found.error_code),
            found.generation_id,
            found.protocol_name,
            found.leader == found.member_id,
            len(found.members),
        ]

    def sync(self, member: str, generation: int, *share: int, **options: Any) -> Any:
        """[error, partitions]."""
        given = ConsumerProtocolAssignment(
            assigned_partitions=(Partitions(topic=self.topic, partitions=share),)
        )
        found = self.group.sync(member, generation, write(given, 1), **options)
        if found.error_code or not found.assignment:
            return [code(found.error_code), None]
        got = read(ConsumerProtocolAssignment, found.assignment).assigned_partitions
        return [code(found.error_code), len([one for each in got for one in each.partitions])]

    def settled(self, **options: Any) -> tuple[str, int]:
        """A classic member that reads everything: its id and generation."""
        joined = self.join(self.join(**options).member_id, **options)
        protocol = options.get("protocols", ("range",))[0]
        assert self.sync(joined.member_id, joined.generation_id, 0, 1, protocol=protocol)[1] == 2
        return joined.member_id, joined.generation_id

    def beat(self, epoch: int, *owned: int, member: str = NEW, **fields: Any) -> Any:
        """A heartbeat of KIP-848 that names what it has: [error, epoch, how many partitions]."""
        there = (TopicPartitions(topic_id=self.topic_id, partitions=owned),) if owned else ()
        full = epoch >= 0
        request = ConsumerGroupHeartbeatRequest(
            group_id=self.group.name,
            member_id=member,
            member_epoch=epoch,
            rebalance_timeout_ms=30_000 if full else -1,
            subscribed_topic_names=(self.topic,) if full else None,
            topic_partitions=there if full else None,
            **fields,
        )
        found = self.target.call(request, 1, self.group.node)
        assigned = found.assignment
        if assigned is not None:
            assigned = sum(len(each.partitions) for each in assigned.topic_partitions)
        return [code(found.error_code), found.member_epoch, assigned]

    def kind(self) -> Any:
        """[state, type] as ListGroups has them."""
        found = self.target.call(ListGroupsRequest(), 5, self.group.node)
        return [
            [each.group_state, each.group_type]
            for each in found.groups
            if each.group_id == self.group.name
        ]

    def described(self) -> Any:
        """ConsumerGroupDescribe."""
        request = ConsumerGroupDescribeRequest(group_ids=(self.group.name,))
        found = self.target.call(request, 1, self.group.node).groups[0]

        def size(assignment: Any) -> int:
            return sum(len(each.partitions) for each in assignment.topic_partitions)

        return [
            code(found.error_code),
            found.group_state,
            found.group_epoch,
            found.assignment_epoch,
            found.assignor_name,
            sorted(
                [
                    each.member_type,
                    each.member_epoch,
                    size(each.assignment),
                    size(each.target_assignment),
                ]
                for each in found.members
            ),
        ]


def upgrade(target: Target) -> Any:
    """An eager classic member, and a new one beside it."""
    mixed = Mixed(target)
    old, generation = mixed.settled()
    answers = [
        mixed.kind(),
        mixed.beat(0),
        mixed.kind(),
        mixed.described(),
        mixed.group.heartbeat(old, generation),
        mixed.sync(old, generation),
        mixed.group.commit(mixed.topic, generation=generation, member=old),
        mixed.joined(old),
        mixed.sync(old, generation + 1),
        mixed.group.commit(mixed.topic, generation=generation, member=old),
        mixed.group.commit(mixed.topic, generation=generation + 1, member=old),
    ]
    return [
        *answers,
        mixed.beat(generation + 1),
        mixed.group.heartbeat(old, generation + 1),
        mixed.described(),
        mixed.group.describe(6)[:3],
        mixed.group.delete(),
    ]


def cooperative(target: Target) -> Any:
    """It lets go before the other gets it."""
    mixed = Mixed(target)
    names = {"protocols": ("cooperative-sticky",)}
    protocol = "cooperative-sticky"
    old, generation = mixed.settled(**names)
    answers = [
        mixed.beat(0),
        mixed.joined(old, 0, 1, **names),
        mixed.sync(old, generation, protocol=protocol),
        mixed.group.heartbeat(old, generation),
        mixed.beat(generation + 1),
        mixed.group.commit(mixed.topic, generation=generation, member=old),
    ]
    # Which of the two it keeps is the assignor's.
    keeps = 0
    again = mixed.join(old, keeps, **names)
    if again.generation_id == generation:
        keeps = 1
        again = mixed.join(old, keeps, **names)
    return [
        *answers,
        [code(again.error_code), again.generation_id],
        mixed.beat(generation + 1),
        mixed.sync(old, generation + 1, protocol=protocol),
        mixed.group.heartbeat(old, generation + 1),
        mixed.described(),
    ]


def downgrade(target: Target) -> Any:
    """The last new member leaves."""
    mixed = Mixed(target)
    old, generation = mixed.settled()
    mixed.beat(0)
    mixed.joined(old)
    mixed.sync(old, generation + 1)
    answers = [
        mixed.beat(generation + 1),
        mixed.beat(-1),
        mixed.kind(),
        mixed.group.heartbeat(old, generation + 1),
        mixed.group.commit(mixed.topic, generation=generation + 1, member=old),
        mixed.joined(old),
        mixed.sync(old, generation + 2, 0, 1),
        mixed.group.heartbeat(old, generation + 2),
        mixed.kind(),
        mixed.described()[0],
    ]
    return [*answers, mixed.beat(-1)[0]]


def joins_new_members(target: Target) -> Any:
    """A classic member comes second. When a group of the new protocol alone begins at which epoch is not compared."""
    mixed = Mixed(target)
    answers = [mixed.beat(0)[0]]
    required = mixed.join()
    answers.append([code(required.error_code), bool(required.member_id)])
    old = required.member_id
    return [
        *answers,
        mixed.joined(old),
        mixed.joined(old),
        mixed.sync(old, 2),
        mixed.group.heartbeat(old, 2),
        mixed.kind()[0][1],
        mixed.joined(version=3)[0],
        mixed.joined(protocols=("sticky",)),
        mixed.joined(protocol_type="connect"),
    ]


def refusals(target: Target) -> Any:
    mixed = Mixed(target)
    old, generation = mixed.settled()
    mixed.beat(0)
    mixed.joined(old)
    generation += 1
    return [
        mixed.group.heartbeat(old, generation - 1),
        mixed.group.heartbeat(old, generation + 1),
        mixed.group.heartbeat(NEW, generation),
        mixed.group.heartbeat("somebody", generation),
        mixed.group.heartbeat(old, generation, "i"),
        mixed.sync(old, generation - 1),
        mixed.sync("somebody", generation),
        mixed.sync(NEW, generation),
        mixed.sync(old, generation, protocol="sticky"),
        mixed.sync(old, generation, protocol_type="connect"),
        mixed.group.commit(mixed.topic, generation=-1),
        mixed.group.commit(mixed.topic, generation=generation, member="somebody"),
        mixed.group.commit(mixed.topic, generation=generation - 1, member=old),
        mixed.beat(generation, member=old)[0],
        mixed.beat(generation, member=OTHER)[0],
    ]


def stranger_ids(target: Target) -> Any:
    """An id that is not known joins, with and without anything that it says it has; and the id of a new member."""
    mixed = Mixed(target)
    mixed.beat(0)
    return [
        mixed.joined("somebody")[:3],
        mixed.joined("somebody else", 0)[0],
        code(mixed.join(NEW).error_code),
    ]


def leaves(target: Target) -> Any:
    mixed = Mixed(target)
    old, generation = mixed.settled()
    mixed.beat(0)
    return [
        mixed.group.leave("somebody"),
        mixed.group.leave(old),
        mixed.group.heartbeat(old, generation),
        mixed.kind(),
        mixed.beat(-1),
        mixed.kind(),
    ]


def static(target: Target) -> Any:
    """A static member's process is replaced by one with the other protocol, and back."""
    mixed = Mixed(target)
    joined = mixed.join(instance="i")
    old, generation = joined.member_id, joined.generation_id
    mixed.sync(old, generation, 0, 1, instance="i")
    answers = [
        mixed.beat(0, instance_id="i"),
        mixed.kind(),
        mixed.group.heartbeat(old, generation, "i"),
        code(mixed.join(old, instance="i").error_code),
        mixed.beat(0, member=OTHER, instance_id="i")[0],
    ]
    again = mixed.join(instance="i")
    return [
        *answers,
        [code(again.error_code), bool(again.member_id)],
        mixed.kind()[0][1],
        mixed.beat(generation + 1, 0, 1, instance_id="i")[0],
    ]


def static_among_new(target: Target) -> Any:
    """A classic static member is restarted."""
    mixed = Mixed(target)
    mixed.beat(0)
    first = mixed.join(instance="i")
    generation = first.generation_id
    second = mixed.join(instance="i")
    return [
        [code(first.error_code), generation],
        [code(second.error_code), second.generation_id, second.member_id == first.member_id],
        mixed.group.heartbeat(first.member_id, generation, "i"),
        mixed.group.heartbeat(second.member_id, second.generation_id, "i"),
        mixed.sync(second.member_id, second.generation_id, instance="i"),
        code(mixed.join(first.member_id, instance="i").error_code),
        code(mixed.join("somebody", instance="nobody").error_code),
    ]


def not_upgraded(target: Target) -> Any:
    """What is no consumers' group, who is no newcomer."""
    mixed = Mixed(target)
    joined = mixed.join(mixed.join(protocol_type="connect").member_id, protocol_type="connect")
    answers = [code(joined.error_code), mixed.beat(0)[0]]
    mixed = Mixed(target)
    mixed.settled()
    return [*answers, mixed.beat(0, member=NEW, server_assignor="nonsense")[0], mixed.kind()]


def empty_groups(target: Target) -> Any:
    """Without members a group becomes whatever comes."""
    mixed = Mixed(target)
    old, _ = mixed.settled()
    mixed.group.leave(old)
    answers = [mixed.kind(), mixed.beat(0)[::2], mixed.kind(), mixed.beat(-1), mixed.kind()]
    joined = mixed.join(mixed.join().member_id)
    return [
        *answers,
        code(joined.error_code),
        joined.leader == joined.member_id,
    ]


SCENARIOS: dict[str, Callable[[Target], Any]] = {
    "bridge: a new member among classic ones": upgrade,
    "bridge: cooperative": cooperative,
    "bridge: back to classic": downgrade,
    "bridge: a classic member among new ones": joins_new_members,
    "bridge: refusals": refusals,
    "bridge: ids that are not known": stranger_ids,
    "bridge: leave": leaves,
    "bridge: a static member changes its protocol": static,
    "bridge: a static classic member is restarted": static_among_new,
    "bridge: what does not change": not_upgraded,
    "bridge: groups without members": empty_groups,
}

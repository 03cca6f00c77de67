"""What is said to members, to strangers, and to those who commit."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.compat.group import Group
from tests.compat.target import Target, closed_or, code
from wire.messages.find_coordinator import FindCoordinatorRequest
from wire.messages.list_groups import ListGroupsRequest
from wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)

STRANGE_ID = UUID("12345678-1234-4234-8234-123456789abc")
SCENARIOS: dict[str, Callable[[Target], Any]] = {}


def joining(target: Target) -> Any:
    """[error, generation, protocol, whether it leads, how many members it hears of]."""
    group = Group(target)
    first = group.join()
    second = group.join(first.member_id)
    repeated = group.join(first.member_id)
    return [
        [
            code(each.error_code),
            each.generation_id,
            each.protocol_name,
            each.leader == each.member_id,
            len(each.members),
        ]
        for each in (first, second, repeated)
    ]


def _join(name: str, member: str = "", **options: Any) -> None:
    def scenario(target: Target) -> Any:
        group_name = options.get("group")
        rest = {key: value for key, value in options.items() if key != "group"}
        group = Group(target, group_name)

        def ask() -> Any:
            found = group.join(member, **rest)
            return [
                code(found.error_code),
                found.generation_id,
                found.protocol_name,
                bool(found.member_id),
                found.leader == found.member_id,
            ]

        return closed_or(ask)

    SCENARIOS[f"join: {name}"] = scenario


_join("a stranger's id", "somebody")
_join("no name", group="")
_join("a short session", session_ms=1)
_join("a long session", session_ms=10_000_000)
_join("no protocols", protocols=())
_join("no protocol type", protocol_type="")
_join("version 3 is told its id when it has joined", version=3)
_join("version 0", version=0)


def joins_with_others(target: Target) -> Any:
    group = Group(target)
    member, _ = group.settled()
    return [
        code(group.join(protocols=("sticky",)).error_code),
        code(group.join(protocol_type="connect").error_code),
        code(group.join(member, protocols=("sticky",)).error_code),
        code(group.join("somebody").error_code),
    ]


def syncs(target: Target) -> Any:
    group = Group(target)
    member, generation = group.settled()
    return [
        code(each.error_code)
        for each in (
            group.sync(member, generation),
            group.sync(member, generation + 1),
            group.sync(member, generation - 1),
            group.sync("somebody", generation),
            group.sync(member, generation, protocol="sticky"),
            group.sync(member, generation, protocol_type="connect"),
            Group(target).sync(member, generation),
            Group(target, "").sync(member, generation),
        )
    ]


def heartbeats(target: Target) -> Any:
    group = Group(target)
    member, generation = group.settled()
    return [
        group.heartbeat(member, generation),
        group.heartbeat(member, generation + 1),
        group.heartbeat(member, generation - 1),
        group.heartbeat("somebody", generation),
        group.heartbeat("", generation),
        group.heartbeat(member, generation, "an instance"),
        Group(target).heartbeat(member, generation),
        Group(target, "").heartbeat(member, generation),
    ]


def static_members(target: Target) -> Any:
    """A process takes another one's place."""
    group = Group(target)
    old, generation = group.settled("i")
    new = group.join(instance="i")
    topic = target.topic()
    return [
        [code(new.error_code), new.generation_id == generation, new.skip_assignment],
        code(group.sync(new.member_id, new.generation_id, instance="i").error_code),
        group.heartbeat(old, generation, "i"),
        group.heartbeat(new.member_id, new.generation_id, "i"),
        group.commit(topic, generation=generation, member=old, instance="i"),
        group.commit(topic, generation=new.generation_id, member=new.member_id, instance="i"),
        code(group.join(old, instance="i").error_code),
        group.leave(old, instance="i"),
        group.leave("", instance="nobody"),
        group.leave("", instance="i"),
    ]


def leaving(target: Target) -> Any:
    group = Group(target)
    member, generation = group.settled()
    return [
        group.leave("somebody"),
        group.leave(member, "somebody"),
        group.leave(member),
        group.heartbeat(member, generation),
        Group(target).leave(member),
        group.describe(),
    ]


def commits_of_strangers(target: Target) -> Any:
    """A group with a member."""
    group, topic = Group(target), target.topic()
    member, generation = group.settled()
    return [
        group.commit(topic, generation=generation, member=member),
        group.commit(topic, generation=generation + 1, member=member),
        group.commit(topic, generation=generation - 1, member=member),
        group.commit(topic, generation=generation, member="somebody"),
        group.commit(topic, generation=-1, member=""),
        group.commit(topic, generation=-1, member=member),
        group.commit(topic, generation=generation, member=""),
        group.commit(topic, generation=generation, member=member, instance="i"),
    ]


def commits_without_members(target: Target) -> Any:
    group, topic = Group(target), target.topic()
    return [
        group.commit(topic, generation=3, member="somebody"),
        group.commit(topic, generation=-1, member="somebody"),
        group.commit(topic),
        group.commit(topic, generation=-1, member="somebody"),
        group.commit(topic, generation=0, member=""),
        group.commit(topic, generation=-1, instance="i"),
    ]


def commits_to_no_group(target: Target) -> Any:
    """What is said of a missing group depends on how new the question is (KIP-848)."""
    group, topic = Group(target), target.topic()
    return [
        group.commit(topic, version=version, generation=generation, member=member)
        for version in (7, 8, 9)
        for generation, member in ((3, "somebody"), (0, "somebody"), (3, ""))
    ]


def commits_after_members(target: Target) -> Any:
    group, topic = Group(target), target.topic()
    member, generation = group.settled()
    group.leave(member)
    return [
        group.commit(topic, generation=-1, member=member),
        group.commit(topic, generation=-1),
        group.commit(topic, generation=generation, member=member),
        group.commit(topic, generation=generation),
    ]


def commits_while_rebalancing(target: Target) -> Any:
    """Between the join and the assignment."""
    group, topic = Group(target), target.topic()
    joined = group.join(group.join().member_id)
    identity = {"member": joined.member_id, "generation": joined.generation_id}
    return [group.commit(topic, **identity), group.heartbeat(joined.member_id, 1)]


def commits_of_nothing(target: Target) -> Any:
    group, topic = Group(target), target.topic()
    return [
        group.commit(target.name()),
        group.commit(topic, partition=9),
        group.commit(topic, partition=-1),
        group.commit(topic, -1),
        group.commit(topic, note="x" * 4096),
        group.commit(topic, note="x" * 4097),
        group.commit(topic, note=None),
        group.commit(topic, version=2),
        group.commit("", version=10, topic_id=STRANGE_ID, member="m"),
        group.fetch(topic, 0, 1, 9),
    ]


def fetches(target: Target) -> Any:
    group, topic = Group(target), target.topic()
    group.commit(topic, 7, note="hello")
    return [
        group.fetch(topic, 0, 1),
        group.fetch(topic, everything=True),
        group.fetch(target.name(), 0),
        Group(target).fetch(topic, 0),
        Group(target).fetch(topic, everything=True),
    ]


def descriptions(target: Target) -> Any:
    group = Group(target)
    answers = [group.describe(), group.describe(6)]
    joined = group.join(group.join().member_id)
    group.sync(joined.member_id, joined.generation_id)
    answers.append(group.describe())
    group.leave(joined.member_id)
    answers.append(group.describe())
    loner = Group(target)
    loner.commit(target.topic())
    return [*answers, loner.describe()]


def lists(target: Target) -> Any:
    """Of our group: state and type, with filters that fit and that do not."""
    group = Group(target)
    group.settled()

    def listed(**filters: tuple[str, ...]) -> Any:
        found = target.call(ListGroupsRequest(**filters), 5, group.node)
        return [
            code(found.error_code),
            [
                [each.group_state, each.protocol_type, each.group_type]
                for each in found.groups
                if each.group_id == group.name
            ],
        ]

    return [
        listed(),
        listed(states_filter=("Stable",)),
        listed(states_filter=("stable",)),
        listed(states_filter=("Empty",)),
        listed(states_filter=("Nonsense",)),
        listed(types_filter=("classic",)),
        listed(types_filter=("Consumer",)),
        listed(types_filter=("nonsense",)),
    ]


def deletions(target: Target) -> Any:
    group, topic = Group(target), target.topic()
    member, _ = group.settled()
    answers = [group.delete()]
    group.leave(member)
    answers += [group.delete(), group.delete()]
    loner = Group(target)
    loner.commit(topic)
    return [*answers, loner.delete(), loner.fetch(topic, 0)]


def offset_deletions(target: Target) -> Any:
    group, topic = Group(target), target.topic()

    def delete(name: str, partition: int) -> Any:
        request = OffsetDeleteRequest(
            group_id=group.name,
            topics=(
                OffsetDeleteRequestTopic(
                    name=name,
                    partitions=(OffsetDeleteRequestPartition(partition_index=partition),),
                ),
            ),
        )
        found = target.call(request, 0, group.node)
        return [
            code(found.error_code),
            [code(each.error_code) for topic in found.topics for each in topic.partitions],
        ]

    answers = [delete(topic, 0)]
    group.commit(topic)
    return [
        *answers,
        delete(topic, 0),
        delete(topic, 9),
        delete(target.name(), 0),
        delete(topic, 0),
    ]


def wrong_coordinator(target: Target) -> Any:
    """Everything, asked of a broker that does not coordinate the group."""
    group, topic = Group(target), target.topic()
    member, generation = group.settled()
    here = group.node
    group.node = next(
        (each.host, each.port)
        for each in target.metadata().brokers
        if (each.host, each.port) != here
    )
    return [
        code(group.join().error_code),
        code(group.sync(member, generation).error_code),
        group.heartbeat(member, generation),
        group.leave(member),
        group.commit(topic, generation=generation, member=member),
        group.fetch(topic, 0),
        group.describe(),
        group.delete(),
    ]


def coordinators(target: Target) -> Any:
    def find(version: int, key: str, kind: int = 0) -> Any:
        request = FindCoordinatorRequest(key=key, key_type=kind, coordinator_keys=(key,))

        def ask() -> Any:
            found = target.call(request, version)
            if version >= 4:
                found = found.coordinators[0]
            return [code(found.error_code), found.node_id > 0]

        return closed_or(ask)

    target.coordinator("x")
    return [find(3, "x"), find(4, "x"), find(3, ""), find(3, "x", 9), find(4, "x", 9), find(0, "x")]


SCENARIOS |= {
    "join: told the id first, then in": joining,
    "join: beside a member": joins_with_others,
    "sync": syncs,
    "heartbeat": heartbeats,
    "static members": static_members,
    "leave": leaving,
    "commit: beside a member": commits_of_strangers,
    "commit: without members": commits_without_members,
    "commit: to no group": commits_to_no_group,
    "commit: after the members": commits_after_members,
    "commit: while rebalancing": commits_while_rebalancing,
    "commit: what is not there": commits_of_nothing,
    "offsets of groups": fetches,
    "describe groups": descriptions,
    "list groups": lists,
    "delete groups": deletions,
    "delete offsets": offset_deletions,
    "the wrong coordinator": wrong_coordinator,
    "find coordinators": coordinators,
}

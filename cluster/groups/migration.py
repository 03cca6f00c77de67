"""How a group with members changes its protocol (KIP-848, migration): what it was goes, what it becomes is kept. Pure.

A classic group's generation becomes the epoch of everything, what its members were assigned becomes what they have and
their target. The other way round the epoch becomes the generation, and the members are told to join again: a group
without a leader's assignment is one that has not done so yet, also for the next coordinator.
"""

from collections.abc import Iterable, Mapping

from cluster.groups import classic_rebalance as rebalance
from cluster.groups import consumer_changes as changes
from cluster.groups.classic_group import ClassicGroup, Member, State
from cluster.groups.classic_rebalance import Clock
from cluster.groups.classic_records import generation_record
from cluster.groups.consumer_group import ConsumerGroup, ConsumerGroupState
from cluster.groups.errors import (
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    RebalanceInProgressError,
)
from cluster.groups.reconciliation import (
    NOTHING,
    AssignedPartition,
    Assignment,
    ClassicTerms,
    ConsumerMember,
)
from cluster.groups.records import GroupRecord
from cluster.groups.settings import GroupSettings
from cluster.groups.step import Step
from cluster.groups.subscriptions import assignment_bytes, known, subscribed_topics
from cluster.groups.topics import Topics
from wire.consumer_protocol import (
    PROTOCOL_TYPE,
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    Partitions,
    read,
)
from wire.errors import WireError


def check_upgrade(group: ClassicGroup, settings: GroupSettings) -> None:
    """Whether a classic group may become one of KIP-848. Raises GroupIdNotFoundError."""
    reason = ""
    if not settings.consumer_migration_policy.upgrades:
        policy = settings.consumer_migration_policy.value
        reason = f"group.consumer.migration.policy={policy} lets no others join: stop them first"
    elif group.protocol_type != PROTOCOL_TYPE:
        reason = f"its protocol type is {group.protocol_type!r}, not {PROTOCOL_TYPE!r}"
    elif len(group.members) > settings.consumer_max_size:
        reason = f"group.consumer.max.size={settings.consumer_max_size}, and there are {len(group.members)}"
    if reason:
        raise GroupIdNotFoundError(
            f"the members of group {group.group_id} have the classic protocol; {reason}"
        )


def upgraded(group: ClassicGroup, topics: Topics) -> list[GroupRecord]:
    """A classic group with members as a KIP-848 group.

    Raises GroupIdNotFoundError for bytes that cannot be read, CoordinatorNotAvailableError for topics not known yet.
    """
    group_id, epoch = group.group_id, group.generation
    has = _what_they_have(group, topics)
    # A group that was rebalancing goes on with that: its members have to get a new target.
    settled = group.state is State.STABLE and group.subscribed is not None
    topics_hash = topics.metadata_hash(group.subscribed or ()) if settled else 0
    records = [changes.epoch(group_id, epoch, topics_hash)]
    for each in group.members.values():
        wanted = read(ConsumerProtocolSubscription, _subscription(group, each))
        member = ConsumerMember(
            each.member_id,
            instance_id=each.instance_id,
            rack_id=wanted.rack_id,
            client_id=each.client_id,
            client_host=each.client_host,
            rebalance_timeout_ms=each.rebalance_timeout_ms,
            topics=tuple(sorted(set(wanted.topics))),
            epoch=epoch,
            previous_epoch=epoch,
            assigned=has[each.member_id],
            classic=ClassicTerms(each.session_timeout_ms, each.protocols),
        )
        records += [
            changes.subscription(group_id, member),
            changes.target(group_id, each.member_id, member.assigned),
            changes.current(group_id, member),
        ]
    records.append(changes.assignment_epoch(group_id, epoch))
    return records


def _subscription(group: ClassicGroup, member: Member) -> bytes:
    return member.metadata(group.protocol or "") or member.protocols[0][1]


def _what_they_have(group: ClassicGroup, topics: Topics) -> Mapping[str, Assignment]:
    """What each may be reading: what it was assigned, and what it said that it has when it joined for another share."""
    taken: set[AssignedPartition] = set()
    has = dict.fromkeys(group.members, NOTHING)
    try:
        assigned = {
            each.member_id: _all_known(
                group, read(ConsumerProtocolAssignment, each.assignment).assigned_partitions, topics
            )
            for each in group.members.values()
            if each.assignment
        }
        claimed = {
            each.member_id: _all_known(
                group,
                read(ConsumerProtocolSubscription, _subscription(group, each)).owned_partitions,
                topics,
            )
            for each in group.members.values()
        }
    except WireError as error:
        raise GroupIdNotFoundError(
            f"the members of group {group.group_id} have the classic protocol, with bytes that are not Kafka's "
            f"consumer protocol: {error}"
        ) from None
    for said in (assigned, claimed):
        for member_id, partitions in said.items():
            mine = partitions - taken
            has[member_id] |= mine
            taken |= mine
    return has


def _all_known(group: ClassicGroup, partitions: Iterable[Partitions], topics: Topics) -> Assignment:
    """A member may read what this node has not heard of yet; left out, it would be given to others. Of topics that are
    gone the group's leader will hear.
    """
    for each in partitions:
        if topics.topic_id(each.topic) is None:
            raise CoordinatorNotAvailableError(
                f"group {group.group_id} reads {each.topic}, which this node does not know (yet): try again"
            )
    return known(partitions, topics)


def fail_waiting(group: ClassicGroup) -> Step:
    """Who waits to join or for its assignment has to join again."""
    step = Step()
    again = RebalanceInProgressError(f"group {group.group_id} changes its protocol")
    for member in group.members.values():
        step.extend(rebalance.fail_waiting(member, again))
    return step


def may_downgrade(state: ConsumerGroupState, settings: GroupSettings) -> bool:
    """Whether a KIP-848 group has members with the classic protocol only, and may become a classic one."""
    return (
        settings.consumer_migration_policy.downgrades
        and 0 < len(state.members) <= settings.max_size
        and all(each.classic is not None for each in state.members.values())
    )


def downgrade(group: ConsumerGroup, topics: Topics, settings: GroupSettings, clock: Clock) -> None:
    """Decide that a KIP-848 group is a classic one from now on, whose members have to join again."""
    classic, shares = _downgraded(group, topics, clock)
    records = changes.no_group(group.group_id, group.current)
    group.emit(*records, generation_record(classic, shares, clock.wall_ms))
    begun = rebalance.prepare(classic, settings, clock)
    assert not begun.records, "nobody has joined yet"
    group.becomes = classic


def _downgraded(
    group: ConsumerGroup, topics: Topics, clock: Clock
) -> tuple[ClassicGroup, dict[str, bytes]]:
    state = group.current
    classic = ClassicGroup(
        group.group_id,
        State.STABLE,
        PROTOCOL_TYPE,
        state.epoch,
        state_since_wall_ms=clock.wall_ms,
    )
    for each in state.members.values():
        assert each.classic is not None
        member = Member(
            each.member_id,
            each.instance_id,
            each.client_id,
            each.client_host,
            each.classic.session_timeout_ms,
            each.rebalance_timeout_ms,
            each.classic.protocols,
        )
        member.heard(clock.now_ms)
        classic.members[each.member_id] = member
        if each.instance_id is not None:
            classic.static[each.instance_id] = each.member_id
    classic.protocol = classic.select_protocol()
    for each in state.members.values():
        member = classic.members[each.member_id]
        member.assignment = assignment_bytes(each.has, topics, member.metadata(classic.protocol))
    classic.subscribed = subscribed_topics(
        PROTOCOL_TYPE, (each.metadata(classic.protocol) for each in classic.members.values())
    )
    return classic, {each.member_id: each.assignment for each in classic.members.values()}

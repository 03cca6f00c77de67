"""Who of a group reads which partitions: Kafka's assignors, run by the leader of the group. Pure.

All members of a group must know the one that is used; which one that is, the coordinator decides by their votes.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple, Protocol

from ottla.client.consumer_protocol import Subscription
from ottla.client.errors import ClientError
from ottla.client.records import TopicPartition

Assignment = dict[str, list[TopicPartition]]


class GroupMember(NamedTuple):
    """A member as the leader is told of it."""

    member_id: str
    instance_id: str | None
    subscription: Subscription


class Assignor(Protocol):
    """`cooperative`: members keep what they have while they join again (KIP-429). `remembers`: it wants to be told what
    a member had, also when that was revoked before it joined again."""

    name: str
    cooperative: bool
    remembers: bool

    def subscription(
        self, topics: Sequence[str], owned: Sequence[TopicPartition], generation: int
    ) -> Subscription:
        """What a member says of itself."""
        ...

    def assign(self, members: Sequence[GroupMember], partitions: Mapping[str, int]) -> Assignment:
        """Every partition of a topic that somebody wants goes to one member. `partitions`: how many a topic has."""
        ...


class _Plain:
    """Knows nothing of what was before."""

    cooperative = False
    remembers = False

    def subscription(
        self, topics: Sequence[str], owned: Sequence[TopicPartition], generation: int
    ) -> Subscription:
        """Topics, and what is owned for whoever leads."""
        return Subscription(tuple(topics), tuple(owned), generation)


class RangeAssignor(_Plain):
    """Topic by topic, each member a range; the first ones get one more when it does not come out even."""

    name = "range"

    def assign(self, members: Sequence[GroupMember], partitions: Mapping[str, int]) -> Assignment:
        """See Assignor."""
        found: Assignment = {each.member_id: [] for each in members}
        for topic in wanted_topics(members):
            takers = [each for each in in_order(members) if topic in each.subscription.topics]
            size, extra = divmod(partitions.get(topic, 0), len(takers))
            begin = 0
            for number, member in enumerate(takers):
                end = begin + size + (number < extra)
                found[member.member_id] += [
                    TopicPartition(topic, index) for index in range(begin, end)
                ]
                begin = end
        return found


class RoundRobinAssignor(_Plain):
    """All partitions of all topics, one by one in turn to those who want them."""

    name = "roundrobin"

    def assign(self, members: Sequence[GroupMember], partitions: Mapping[str, int]) -> Assignment:
        """See Assignor."""
        found: Assignment = {each.member_id: [] for each in members}
        turns = cycle(in_order(members))
        for topic in wanted_topics(members):
            for index in range(partitions.get(topic, 0)):
                member = next(each for each in turns if topic in each.subscription.topics)
                found[member.member_id].append(TopicPartition(topic, index))
        return found


def in_order(members: Sequence[GroupMember]) -> list[GroupMember]:
    """Static members first, by the name that outlives a restart."""
    return sorted(
        members,
        key=lambda each: (each.instance_id is None, each.instance_id or "", each.member_id),
    )


def wanted_topics(members: Sequence[GroupMember]) -> list[str]:
    """Topics that anybody wants."""
    return sorted({topic for each in members for topic in each.subscription.topics})


def assignors(names: Sequence[str]) -> list[Assignor]:
    """By Kafka's names, best liked first. Raises ClientError for one that there is not."""
    from ottla.client.sticky import CooperativeStickyAssignor, StickyAssignor

    known: dict[str, Assignor] = {
        each.name: each
        for each in (
            RangeAssignor(),
            RoundRobinAssignor(),
            StickyAssignor(),
            CooperativeStickyAssignor(),
        )
    }
    if not names:
        raise ClientError(f"no assignor given; there are {', '.join(known)}")
    for name in names:
        if name not in known:
            raise ClientError(f"there is no assignor {name!r}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]

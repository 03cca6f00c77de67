"""Who shall read what in a KIP-848 group: the assignors that a broker has. Pure, and the same for the same input.

`uniform` gives everybody as many partitions as possible the same number, and leaves as much as possible where it is.
`range` cuts each topic into ranges in the order of the members, so that topics with equally many partitions are cut
alike and a join of two topics finds both sides in one member.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from cluster.groups.reconciliation import NOTHING, AssignedPartition, Assignment


class MemberSubscription(NamedTuple):
    """What an assignor knows of a member. topics: ids of topics that exist; assigned: its target until now."""

    topics: frozenset[UUID]
    assigned: Assignment = NOTHING
    instance_id: str | None = None


Subscriptions = Mapping[str, MemberSubscription]
Partitions = Mapping[UUID, int]
"""topic -> how many partitions it has."""
Assignor = Callable[[Subscriptions, Partitions], dict[str, Assignment]]


def uniform(members: Subscriptions, partitions: Partitions) -> dict[str, Assignment]:
    """Balanced and sticky."""
    order = sorted(members)
    if not order:
        return {}
    kept = {each: _still_valid(members[each], partitions) for each in order}
    if len({members[each].topics for each in order}) == 1:
        return _equal(order, members[order[0]].topics, partitions, kept)
    return _Unequal(order, members, partitions, kept).assign()


def _still_valid(member: MemberSubscription, partitions: Partitions) -> list[AssignedPartition]:
    return sorted(
        each
        for each in member.assigned
        if each.topic_id in member.topics and each.partition < partitions.get(each.topic_id, 0)
    )


def _all(topics: Iterable[UUID], partitions: Partitions) -> list[AssignedPartition]:
    return [
        AssignedPartition(topic, number)
        for topic in sorted(topics)
        for number in range(partitions.get(topic, 0))
    ]


def _equal(
    order: list[str],
    topics: frozenset[UUID],
    partitions: Partitions,
    kept: dict[str, list[AssignedPartition]],
) -> dict[str, Assignment]:
    """All want the same: each keeps up to its share, the rest fills the others up."""
    everything = _all(topics, partitions)
    share, more = divmod(len(everything), len(order))
    # Those who have most already get the odd ones: nothing has to move for it.
    by_load = sorted(order, key=lambda each: (-len(kept[each]), each))
    quota = {each: share + (index < more) for index, each in enumerate(by_load)}
    taken: set[AssignedPartition] = set()
    result: dict[str, list[AssignedPartition]] = {}
    for each in order:
        mine = [one for one in kept[each] if one not in taken][: quota[each]]
        taken.update(mine)
        result[each] = mine
    free = iter([each for each in everything if each not in taken])
    for each in order:
        missing = quota[each] - len(result[each])
        result[each] += [next(free) for _ in range(missing)]
    return {each: frozenset(found) for each, found in result.items()}


class _Unequal:
    """Members want different topics: fill the emptiest first, then move along paths from the fullest to the emptiest.

    As long as there is a path (a gives one to b, b one to c) that ends at somebody with at least two fewer than where
    it begins, the assignment is not balanced; when there is none, it is as balanced as these subscriptions allow.
    """

    def __init__(
        self,
        order: list[str],
        members: Subscriptions,
        partitions: Partitions,
        kept: dict[str, list[AssignedPartition]],
    ) -> None:
        self._order = order
        # Topics are numbers in here: ids are slow to compare.
        self._topics = sorted({topic for each in order for topic in members[each].topics})
        self._counts = [partitions.get(topic, 0) for topic in self._topics]
        number_of = {topic: number for number, topic in enumerate(self._topics)}
        self._wanted_by: list[list[str]] = [[] for _ in self._topics]
        for each in order:
            for topic in members[each].topics:
                self._wanted_by[number_of[topic]].append(each)
        # member -> topic -> partitions: what moves is any partition of a topic.
        self._has: dict[str, dict[int, list[int]]] = {each: {} for each in order}
        self._load = dict.fromkeys(order, 0)
        self._taken: set[tuple[int, int]] = set()
        for each in order:
            for topic_id, partition in kept[each]:
                if (number_of[topic_id], partition) not in self._taken:
                    self._give(each, number_of[topic_id], partition)

    def _give(self, member: str, topic: int, partition: int) -> None:
        self._taken.add((topic, partition))
        self._has[member].setdefault(topic, []).append(partition)
        self._load[member] += 1

    def assign(self) -> dict[str, Assignment]:
        """Everything."""
        self._fill()
        self._level()
        return {
            each: frozenset(
                AssignedPartition(self._topics[topic], number)
                for topic, numbers in self._has[each].items()
                for number in numbers
            )
            for each in self._order
        }

    def _fill(self) -> None:
        # Topics that few want come first: the others can still make up for it.
        for topic in sorted(range(len(self._topics)), key=lambda each: len(self._wanted_by[each])):
            wanted_by = self._wanted_by[topic]
            for partition in range(self._counts[topic]):
                if (topic, partition) not in self._taken:
                    emptiest = min(wanted_by, key=lambda each: (self._load[each], each))
                    self._give(emptiest, topic, partition)

    def _level(self) -> None:
        moved, settled = True, set[str]()
        while moved:
            moved = False
            for each in sorted(self._order, key=lambda each: (-self._load[each], each)):
                while each not in settled:
                    reached = self._relieve(each)
                    if reached is None:
                        moved = True
                        settled.clear()
                        continue
                    # Whoever is reached from here and has no more finds no way either.
                    settled.add(each)
                    settled.update(
                        other for other in reached if self._load[other] <= self._load[each]
                    )

    def _relieve(self, start: str) -> Collection[str] | None:
        """Move one partition along the shortest path from here to somebody with two fewer.

        Without such a path: all who can be reached.
        """
        limit = self._load[start] - 2
        came: dict[str, tuple[str, int]] = {}
        seen_topics: set[int] = set()
        queue = deque([start])
        while queue:
            giver = queue.popleft()
            for topic in sorted(topic for topic, numbers in self._has[giver].items() if numbers):
                if topic in seen_topics:
                    continue
                seen_topics.add(topic)
                for taker in self._wanted_by[topic]:
                    if taker == start or taker in came:
                        continue
                    came[taker] = (giver, topic)
                    if self._load[taker] <= limit:
                        self._move_along(came, start, taker)
                        return None
                    queue.append(taker)
        return came

    def _move_along(self, came: dict[str, tuple[str, int]], start: str, end: str) -> None:
        taker = end
        while taker != start:
            giver, topic = came[taker]
            number = self._has[giver][topic].pop()
            self._has[taker].setdefault(topic, []).append(number)
            taker = giver
        self._load[start] -= 1
        self._load[end] += 1


def ranges(members: Subscriptions, partitions: Partitions) -> dict[str, Assignment]:
    """Contiguous pieces of each topic. Static members come first, by instance id: a restart changes nothing."""
    order = sorted(
        members,
        key=lambda each: (
            (0, members[each].instance_id or "")
            if members[each].instance_id is not None
            else (1, each)
        ),
    )
    result: dict[str, set[AssignedPartition]] = {each: set() for each in order}
    topics = {topic for each in members.values() for topic in each.topics}
    for topic in topics:
        wanted_by = [each for each in order if topic in members[each].topics]
        share, more = divmod(partitions.get(topic, 0), len(wanted_by))
        begin = 0
        for index, each in enumerate(wanted_by):
            end = begin + share + (index < more)
            result[each].update(AssignedPartition(topic, number) for number in range(begin, end))
            begin = end
    return {each: frozenset(found) for each, found in result.items()}


ASSIGNORS: Mapping[str, Assignor] = {"uniform": uniform, "range": ranges}
"""By the names that Kafka gives them."""

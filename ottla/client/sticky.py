"""Assignors that move as few partitions as balance allows (KIP-54), and the one that moves them in two steps. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from ottla.client.assignors import Assignment, GroupMember, in_order, wanted_topics
from ottla.client.consumer_protocol import (
    Subscription,
    decode_generation,
    decode_sticky_data,
    encode_generation,
    encode_sticky_data,
)
from ottla.client.records import TopicPartition

Claims = dict[str, tuple[tuple[TopicPartition, ...], int]]
"""member -> (what it says it owns, since which generation)"""


class StickyAssignor:
    """Balanced first, then as it was. What was owned travels in the user data."""

    name = "sticky"
    cooperative = False
    remembers = True

    def subscription(
        self, topics: Sequence[str], owned: Sequence[TopicPartition], generation: int
    ) -> Subscription:
        """See Assignor."""
        data = encode_sticky_data(owned, generation) if owned else None
        return Subscription(tuple(topics), (), generation, data)

    def assign(self, members: Sequence[GroupMember], partitions: Mapping[str, int]) -> Assignment:
        """See Assignor."""
        claims: Claims = {
            each.member_id: decode_sticky_data(each.subscription.user_data or b"")
            for each in members
        }
        return balanced(members, partitions, claims)


class CooperativeStickyAssignor:
    """The same balance; a partition that moves is given to nobody until its owner has let go of it (KIP-429)."""

    name = "cooperative-sticky"
    cooperative = True
    remembers = False

    def subscription(
        self, topics: Sequence[str], owned: Sequence[TopicPartition], generation: int
    ) -> Subscription:
        """See Assignor."""
        return Subscription(tuple(topics), tuple(owned), generation, encode_generation(generation))

    def assign(self, members: Sequence[GroupMember], partitions: Mapping[str, int]) -> Assignment:
        """See Assignor."""
        claims: Claims = {}
        for each in members:
            said = each.subscription
            generation = (
                said.generation if said.generation >= 0 else decode_generation(said.user_data)
            )
            claims[each.member_id] = (said.owned, generation)
        found = balanced(members, partitions, claims)
        owners: dict[TopicPartition, set[str]] = {}
        for member_id, (owned, _) in claims.items():
            for where in owned:
                owners.setdefault(where, set()).add(member_id)
        # Whoever believes to own it reads it, whatever generation it is of.
        return {
            member_id: [each for each in given if owners.get(each, {member_id}) <= {member_id}]
            for member_id, given in found.items()
        }


def balanced(
    members: Sequence[GroupMember], partitions: Mapping[str, int], claims: Claims
) -> Assignment:
    """No member that has two fewer than another could take one from it."""
    wants = {each.member_id: frozenset(each.subscription.topics) for each in members}
    all_of_them = [
        TopicPartition(topic, index)
        for topic in wanted_topics(members)
        for index in range(partitions.get(topic, 0))
    ]
    order = [each.member_id for each in in_order(members)]
    held = _kept(order, wants, all_of_them, claims)
    taken = {where for found in held.values() for where in found}
    free = [where for where in all_of_them if where not in taken]
    takers = {
        topic: [each for each in order if topic in wants[each]]
        for topic in {where.topic for where in free}
    }
    # Those that few can take first, so that they do not end with somebody who has much already.
    for where in sorted(free, key=lambda each: (len(takers[each.topic]), each)):
        least = min(takers[where.topic], key=lambda each: len(held[each]))
        held[least][where] = None
    _even_out(order, wants, held)
    return {member_id: sorted(found) for member_id, found in held.items()}


Held = dict[str, dict[TopicPartition, None]]


def _kept(
    order: Sequence[str],
    wants: Mapping[str, frozenset[str]],
    existing: Iterable[TopicPartition],
    claims: Claims,
) -> Held:
    """What members own and still want; of two who claim the same, the later generation has it."""
    left = set(existing)
    held: Held = {member_id: {} for member_id in order}
    for member_id in sorted(order, key=lambda each: -claims[each][1]):
        for where in claims[member_id][0]:
            if where in left and where.topic in wants[member_id]:
                left.remove(where)
                held[member_id][where] = None
    return held


def _even_out(order: Sequence[str], wants: Mapping[str, frozenset[str]], held: Held) -> None:
    """Every move makes the sum of the squares smaller, so that it ends."""
    while True:
        by_load = sorted(order, key=lambda each: len(held[each]))
        move = next(
            (
                (rich, poor, where)
                for poor in by_load
                for rich in reversed(by_load)
                if len(held[rich]) >= len(held[poor]) + 2
                for where in reversed(held[rich])
                if where.topic in wants[poor]
            ),
            None,
        )
        if move is None:
            return
        rich, poor, where = move
        del held[rich][where]
        held[poor][where] = None

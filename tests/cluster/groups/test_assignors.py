"""The assignors of KIP-848 groups against what they promise: complete, balanced, sticky, only what was asked for."""

from itertools import permutations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.groups.assignors import ASSIGNORS, MemberSubscription, ranges, uniform
from cluster.groups.reconciliation import NOTHING, AssignedPartition, Assignment

TOPICS = [UUID(int=each) for each in range(1, 6)]
A, B, C = TOPICS[:3]

partition_counts = st.dictionaries(st.sampled_from(TOPICS), st.integers(1, 7), min_size=1)
subscriptions = st.dictionaries(
    st.sampled_from([f"m{each}" for each in range(7)]),
    st.frozensets(st.sampled_from(TOPICS), min_size=1),
    min_size=1,
)


def members(
    wanted: dict[str, frozenset[UUID]], had: dict[str, Assignment] | None = None
) -> dict[str, MemberSubscription]:
    return {
        each: MemberSubscription(topics, (had or {}).get(each, NOTHING))
        for each, topics in wanted.items()
    }


def numbers(result: dict[str, Assignment], topic: UUID) -> dict[str, list[int]]:
    return {
        each: sorted(number for found, number in partitions if found == topic)
        for each, partitions in result.items()
    }


def check_complete(
    result: dict[str, Assignment],
    wanted: dict[str, frozenset[UUID]],
    partitions: dict[UUID, int],
) -> None:
    assert result.keys() == wanted.keys()
    given_out = [each for found in result.values() for each in found]
    asked = frozenset().union(*wanted.values())
    assert len(given_out) == len(set(given_out))
    assert set(given_out) == {
        AssignedPartition(topic, number)
        for topic in asked
        for number in range(partitions.get(topic, 0))
    }
    for member, found in result.items():
        assert {each.topic_id for each in found} <= wanted[member]


@pytest.mark.parametrize("name", sorted(ASSIGNORS))
@given(wanted=subscriptions, partitions=partition_counts)
def test_everything_is_given_to_somebody_who_asked(
    name: str, wanted: dict[str, frozenset[UUID]], partitions: dict[UUID, int]
) -> None:
    check_complete(ASSIGNORS[name](members(wanted), partitions), wanted, partitions)


@given(wanted=subscriptions, partitions=partition_counts, later=subscriptions)
def test_uniform_is_as_balanced_as_the_subscriptions_allow(
    wanted: dict[str, frozenset[UUID]],
    partitions: dict[UUID, int],
    later: dict[str, frozenset[UUID]],
) -> None:
    first = uniform(members(wanted), partitions)
    second = uniform(members(later, first), partitions)
    for result, asked in ((first, wanted), (second, later)):
        check_complete(result, asked, partitions)
        reach = _reachable(result, asked)
        for fuller, emptier in permutations(result, 2):
            if emptier in reach[fuller]:
                assert len(result[fuller]) <= len(result[emptier]) + 1


def _reachable(
    result: dict[str, Assignment], wanted: dict[str, frozenset[UUID]]
) -> dict[str, set[str]]:
    """To whom one partition more could come from each member, by way of others."""
    gives = {
        giver: {
            taker
            for taker in result
            if any(each.topic_id in wanted[taker] for each in result[giver])
        }
        for giver in result
    }
    reach = {}
    for start in result:
        seen, todo = {start}, [start]
        while todo:
            for taker in gives[todo.pop()] - seen:
                seen.add(taker)
                todo.append(taker)
        reach[start] = seen
    return reach


@given(
    names=st.sets(st.sampled_from("abcdefgh"), min_size=1),
    partitions=partition_counts,
    gone=st.sampled_from("abcdefgh"),
    comes=st.sampled_from("abcdefgh"),
)
def test_uniform_moves_no_more_than_it_must(
    names: set[str], partitions: dict[UUID, int], gone: str, comes: str
) -> None:
    everything = frozenset(TOPICS)
    before = uniform(members(dict.fromkeys(names, everything)), partitions)
    left = (names - {gone}) | {comes}
    after = uniform(members(dict.fromkeys(left, everything), before), partitions)
    total = sum(partitions.values())
    share, more = divmod(total, len(left))
    quotas = sorted([share + 1] * more + [share] * (len(left) - more), reverse=True)
    loads = sorted((len(before.get(each, NOTHING)) for each in left), reverse=True)
    must_move = total - sum(min(load, quota) for load, quota in zip(loads, quotas, strict=True))
    moved = sum(len(after[each] - before.get(each, NOTHING)) for each in left)
    assert moved == must_move


@given(wanted=subscriptions, partitions=partition_counts)
def test_an_assignment_stands_when_nothing_has_changed(
    wanted: dict[str, frozenset[UUID]], partitions: dict[UUID, int]
) -> None:
    first = uniform(members(wanted), partitions)
    assert uniform(members(wanted, first), partitions) == first


def test_uniform_finds_a_way_through_others() -> None:
    """From m1 to m3 only by m2, who has one between: no single move makes it better."""
    had = {
        "m1": frozenset(AssignedPartition(A, each) for each in range(3)),
        "m2": frozenset(AssignedPartition(B, each) for each in range(2)),
        "m3": frozenset({AssignedPartition(B, 2)}),
    }
    wanted = {"m1": frozenset({A}), "m2": frozenset({A, B}), "m3": frozenset({B})}
    result = uniform(members(wanted, had), {A: 3, B: 3})
    assert sorted(len(each) for each in result.values()) == [2, 2, 2]


def test_what_does_not_exist_any_more_is_not_kept() -> None:
    had = {"m1": frozenset({AssignedPartition(A, 0), AssignedPartition(A, 5)})}
    result = uniform(members({"m1": frozenset({A})}, had), {A: 2})
    assert result == {"m1": frozenset({AssignedPartition(A, 0), AssignedPartition(A, 1)})}


def test_two_members_that_had_the_same_do_not_both_keep_it() -> None:
    both = frozenset({AssignedPartition(A, 0)})
    result = uniform(
        members({"m1": frozenset({A}), "m2": frozenset({A})}, {"m1": both, "m2": both}), {A: 2}
    )
    check_complete(result, {"m1": frozenset({A}), "m2": frozenset({A})}, {A: 2})


def test_range_cuts_topics_alike() -> None:
    result = ranges(members(dict.fromkeys(("m1", "m2", "m3"), frozenset({A, B}))), {A: 7, B: 7})
    assert numbers(result, A) == {"m1": [0, 1, 2], "m2": [3, 4], "m3": [5, 6]}
    assert numbers(result, B) == numbers(result, A)


def test_range_takes_static_members_first_in_the_order_of_their_names() -> None:
    everything = frozenset({C})
    result = ranges(
        {
            "a-dynamic": MemberSubscription(everything),
            "z1": MemberSubscription(everything, instance_id="one"),
            "y2": MemberSubscription(everything, instance_id="two"),
        },
        {C: 3},
    )
    assert numbers(result, C) == {"z1": [0], "y2": [1], "a-dynamic": [2]}


@pytest.mark.parametrize("name", sorted(ASSIGNORS))
def test_nobody_and_nothing(name: str) -> None:
    assert ASSIGNORS[name]({}, {A: 3}) == {}
    assert ASSIGNORS[name](members({"m1": frozenset()}), {}) == {"m1": NOTHING}

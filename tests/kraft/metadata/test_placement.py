"""Placement: leaders even, racks alternating, the dead last, lost leaderships taken over by all alike."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kraft.metadata.placement import UsableBroker, place


def brokers(count: int, racks: int = 0, dead: frozenset[int] = frozenset()) -> list[UsableBroker]:
    return [
        UsableBroker(n, f"rack{n % racks}" if racks else "", n not in dead)
        for n in range(1, count + 1)
    ]


clusters = st.tuples(st.integers(1, 8), st.integers(1, 40), st.integers(0, 2**32)).flatmap(
    lambda drawn: st.tuples(st.just(drawn), st.integers(1, drawn[0]))
)


@given(clusters)
def test_leaders_and_replicas_are_spread_evenly(
    drawn: tuple[tuple[int, int, int], int],
) -> None:
    (count, partitions, seed), factor = drawn
    placed = place(brokers(count), partitions, factor, random.Random(seed))
    assert len(placed) == partitions
    assert all(len(set(replicas)) == factor for replicas in placed)
    leaders = Counter(dict.fromkeys(range(1, count + 1), 0))
    load = leaders.copy()
    for replicas in placed:
        leaders[replicas[0]] += 1
        load.update(replicas)
    assert max(leaders.values()) - min(leaders.values()) <= 1
    assert max(load.values()) - min(load.values()) <= 2


@given(st.integers(2, 4), st.integers(1, 3), st.integers(1, 30), st.integers(0, 2**32))
def test_replicas_of_a_partition_stand_in_different_racks(
    racks: int, each: int, partitions: int, seed: int
) -> None:
    usable = brokers(racks * each, racks)
    rack_of = {broker.node_id: broker.rack for broker in usable}
    for replicas in place(usable, partitions, racks, random.Random(seed)):
        assert len({rack_of[replica] for replica in replicas}) == racks


def test_more_replicas_than_racks_use_each_rack_before_using_one_again() -> None:
    usable = brokers(6, 2)
    rack_of = {broker.node_id: broker.rack for broker in usable}
    for replicas in place(usable, 30, 4, random.Random(1)):
        assert sorted(Counter(rack_of[replica] for replica in replicas).values()) == [2, 2]


@given(st.integers(0, 2**32))
def test_dead_brokers_get_replicas_only_where_the_living_do_not_suffice(seed: int) -> None:
    usable = brokers(5, dead=frozenset([2, 4]))
    for replicas in place(usable, 20, 3, random.Random(seed)):
        assert set(replicas) == {1, 3, 5}
    for replicas in place(usable, 20, 4, random.Random(seed)):
        assert replicas[0] in {1, 3, 5}
        assert set(replicas[:3]) == {1, 3, 5}


def test_a_lost_leaders_partitions_are_taken_over_by_all_the_others_alike() -> None:
    placed = place(brokers(3), 60, 3, random.Random(7))
    heirs = Counter((replicas[0], replicas[1]) for replicas in placed)
    assert set(heirs.values()) == {10}


def test_new_partitions_of_a_topic_go_where_it_has_fewest() -> None:
    placed = place(brokers(3), 2, 1, random.Random(7), existing=[(1,), (1,), (1,)])
    assert sorted(placed) == [(2,), (3,)]


def test_chance_decides_between_equals_and_is_handed_in() -> None:
    first = {tuple(place(brokers(3), 1, 1, random.Random(seed))) for seed in range(50)}
    assert len(first) == 3
    assert place(brokers(9), 40, 3, random.Random(3)) == place(brokers(9), 40, 3, random.Random(3))

"""Where the replicas of a broker that leaves go."""

import pytest

from ottla.cli.move_off import Held, NoRoomError, moves_off

NO_RACKS = {1: "", 2: "", 3: "", 4: ""}


def _moves(
    leaving: int, held: list[Held], racks: dict[int, str] = NO_RACKS
) -> dict[tuple[str, int], list[int]]:
    return moves_off(leaving, held, racks, held)


def test_the_replacement_takes_the_same_place_so_that_leaderships_stay_spread() -> None:
    assert _moves(1, [Held("a", 0, [1, 2, 3]), Held("a", 1, [2, 1, 3])]) == {
        ("a", 0): [4, 2, 3],
        ("a", 1): [2, 4, 3],
    }


def test_partitions_without_the_broker_stay() -> None:
    assert _moves(1, [Held("a", 0, [2, 3])]) == {}


def test_the_emptiest_brokers_take_it_in_turns() -> None:
    held = [Held("a", number, [1]) for number in range(4)] + [Held("b", 0, [2])]
    targets = [replicas[0] for replicas in _moves(1, held).values()]
    assert targets == [3, 4, 2, 3]


def test_a_rack_without_a_replica_is_preferred_to_an_empty_broker() -> None:
    racks = {1: "x", 2: "y", 3: "y", 4: "z"}
    held = [Held("a", 0, [1, 2]), Held("b", 0, [4]), Held("b", 1, [4])]
    assert _moves(1, held, racks) == {("a", 0): [4, 2]}


def test_dead_brokers_take_nothing() -> None:
    assert _moves(1, [Held("a", 0, [1])], {1: "", 3: ""}) == {("a", 0): [3]}


def test_no_other_broker_is_said_by_name() -> None:
    with pytest.raises(NoRoomError, match=r"a-0 .*1,2,3,4.* node 1"):
        _moves(1, [Held("a", 0, [1, 2, 3, 4])])

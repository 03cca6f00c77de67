"""Who leads: a table of elections (KIP-966; I5: never outside ISR and ELR unless the operator says so)."""

import pytest

from kraft.metadata.image import PartitionRegistration
from kraft.metadata.leader_election import Elected, Election, elect

ONLINE, PREFERRED, UNCLEAN = Election.ONLINE, Election.PREFERRED, Election.UNCLEAN

Row = tuple[
    str,
    tuple[int, ...],
    tuple[int, ...],
    set[int],
    int,
    Election,
    bool,
    tuple[int, tuple[int, ...], tuple[int, ...], bool],
]

TABLE: list[Row] = [
    # what: isr, elr, eligible, old leader, election, unclean allowed -> leader, isr, elr, unclean
    ("the leader stays", (1, 2, 3), (), {1, 2, 3}, 2, ONLINE, False, (2, (1, 2, 3), (), False)),
    (
        "preferred asked for",
        (1, 2, 3),
        (),
        {1, 2, 3},
        2,
        PREFERRED,
        False,
        (1, (1, 2, 3), (), False),
    ),
    ("preferred not in sync", (2, 3), (), {1, 2, 3}, 3, PREFERRED, False, (3, (2, 3), (), False)),
    ("first of the ISR", (2, 3), (), {2, 3}, 1, ONLINE, False, (2, (2, 3), (), False)),
    ("ISR before ELR", (3,), (2,), {2, 3}, 1, ONLINE, False, (3, (3,), (2,), False)),
    ("ELR when no ISR", (), (2, 3), {1, 3}, -1, ONLINE, False, (3, (3,), (2,), False)),
    ("nobody is safe", (), (2, 3), {1}, -1, ONLINE, False, (-1, (), (2, 3), False)),
    ("topic allows unclean", (), (2, 3), {1}, -1, ONLINE, True, (1, (1,), (), True)),
    ("operator asks unclean", (), (2, 3), {1}, -1, UNCLEAN, False, (1, (1,), (), True)),
    ("ELR before unclean", (), (2, 3), {1, 3}, -1, UNCLEAN, True, (3, (3,), (2,), False)),
    ("ISR before unclean", (2,), (), {1, 2}, -1, UNCLEAN, True, (2, (2,), (), False)),
    ("nobody lives", (), (2, 3), set(), -1, UNCLEAN, True, (-1, (), (2, 3), False)),
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_election(row: Row) -> None:
    _, isr, elr, eligible, leader, election, unclean_allowed, expected = row
    old = PartitionRegistration(replicas=(1, 2, 3), isr=isr, elr=elr, leader=leader)
    found = elect(
        old,
        replicas=(1, 2, 3),
        isr=isr,
        elr=elr,
        eligible=eligible,
        election=election,
        unclean_allowed=unclean_allowed,
    )
    assert found == Elected(*expected)


def test_an_unclean_election_prefers_who_once_was_eligible() -> None:
    old = PartitionRegistration(replicas=(1, 2, 3), isr=(), last_known_elr=(3,))
    found = elect(
        old,
        replicas=(1, 2, 3),
        isr=(),
        elr=(),
        eligible={1, 2, 3},
        election=UNCLEAN,
        unclean_allowed=False,
    )
    assert found == Elected(3, (3,), (), unclean=True)


def test_node_zero_is_a_broker_like_any_other() -> None:
    old = PartitionRegistration(replicas=(0, 1), isr=(), elr=(0,))
    found = elect(
        old,
        replicas=(0, 1),
        isr=(),
        elr=(0,),
        eligible={0},
        election=ONLINE,
        unclean_allowed=False,
    )
    assert found.leader == 0

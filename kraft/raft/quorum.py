"""Majorities: of indexes, of times, of votes."""

from collections.abc import Collection, Iterable, Mapping
from enum import Enum


def majority_size(count: int) -> int:
    """How many of `count` voters are a majority."""
    return count // 2 + 1


def majority_value(values: Iterable[int]) -> int:
    """The highest value that a majority has reached: the match index to commit, the time a quorum was last heard."""
    ordered = sorted(values, reverse=True)
    return ordered[majority_size(len(ordered)) - 1]


class Tally(Enum):
    """How an election stands."""

    WON = "won"
    LOST = "lost"
    OPEN = "open"


def tally(voters: Collection[int], votes: Mapping[int, bool]) -> Tally:
    """Count the votes of those who may vote; others' do not count."""
    needed = majority_size(len(voters))
    granted = sum(1 for voter in voters if votes.get(voter, False))
    refused = sum(1 for voter in voters if not votes.get(voter, True))
    if granted >= needed:
        return Tally.WON
    return Tally.LOST if refused > len(voters) - needed else Tally.OPEN

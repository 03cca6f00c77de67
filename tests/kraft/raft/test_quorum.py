"""Majorities, against counting."""

from hypothesis import given
from hypothesis import strategies as st

from kraft.raft.quorum import Tally, majority_size, majority_value, tally


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9))
def test_the_majority_value_is_the_highest_that_more_than_half_have_reached(
    values: list[int],
) -> None:
    found = majority_value(values)
    assert sum(value >= found for value in values) * 2 > len(values)
    assert sum(value > found for value in values) * 2 <= len(values)


@given(st.integers(1, 9))
def test_two_majorities_always_overlap_also_across_one_added_or_removed_voter(count: int) -> None:
    assert 2 * majority_size(count) > count
    assert majority_size(count) + majority_size(count + 1) > count + 1


@given(st.sets(st.integers(0, 9), min_size=1), st.dictionaries(st.integers(0, 9), st.booleans()))
def test_only_voters_votes_count(voters: set[int], votes: dict[int, bool]) -> None:
    granted = sum(votes.get(voter) is True for voter in voters)
    refused = sum(votes.get(voter) is False for voter in voters)
    result = tally(voters, votes)
    assert (result is Tally.WON) == (granted * 2 > len(voters))
    assert (result is Tally.LOST) == (refused * 2 >= len(voters))

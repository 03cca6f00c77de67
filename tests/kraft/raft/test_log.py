"""The log in memory, against a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraft.raft.log import RaftLog
from kraft.raft.messages import Entry
from tests.kraft.raft.bench import entries_of


def test_an_empty_log_ends_at_its_base() -> None:
    log = RaftLog(7, 3)
    assert (log.last_index, log.last_term) == (7, 3)
    assert log.matches(7, 3)
    assert not log.matches(6, 3)
    assert not log.matches(8, 3)


@given(st.data())
def test_appends_cuts_and_compactions_match_a_list(data: st.DataObject) -> None:
    log, model, base, term = RaftLog(0, 0), list[Entry](), 0, 1
    for _ in range(data.draw(st.integers(0, 30))):
        act = data.draw(st.sampled_from(("append", "append", "cut", "compact")))
        if act == "append":
            term += data.draw(st.integers(0, 2))
            entry = Entry(base + len(model) + 1, max(term, log.last_term))
            log.append(entry)
            model.append(entry)
        elif act == "cut" and model:
            place = data.draw(st.integers(0, len(model) - 1))
            log.truncate_from(base + place + 1)
            del model[place:]
        elif act == "compact":
            count = data.draw(st.integers(0, len(model)))
            log.compact(base + count)
            base += count
            del model[:count]
        assert (log.base_index, log.last_index) == (base, base + len(model))
        assert list(log.slice(base + 1, log.last_index, 1 << 30)) == model
        for entry in model:
            assert log.matches(entry.index, entry.term)


@pytest.mark.parametrize(
    ("first", "last", "max_bytes", "count"),
    [(1, 5, 1 << 20, 5), (1, 5, 54, 2), (2, 2, 1, 1), (3, 2, 99, 0)],
)
def test_a_slice_ends_before_the_limit_but_has_at_least_one_entry(
    first: int, last: int, max_bytes: int, count: int
) -> None:
    log = RaftLog(0, 0, entries_of(1, 1, 1, 1, 1))
    assert [e.index for e in log.slice(first, last, max_bytes)] == list(range(first, first + count))


@pytest.mark.parametrize(
    ("index", "term", "expected"),
    [(9, 9, 6), (4, 2, 4), (6, 2, 4), (6, 1, 2), (6, 0, 0), (3, 1, 2)],
)
def test_where_two_logs_may_agree_at_the_latest(index: int, term: int, expected: int) -> None:
    log = RaftLog(0, 0, entries_of(1, 1, 2, 2, 5, 5))
    assert log.last_not_above(index, term) == expected


@pytest.mark.parametrize(
    "entry", [Entry(2, 1), Entry(4, 1), Entry(3, 0)], ids=["twice", "gap", "older term"]
)
def test_an_entry_that_does_not_follow_is_our_bug(entry: Entry) -> None:
    with pytest.raises(AssertionError):
        RaftLog(0, 0, entries_of(1, 1)).append(entry)

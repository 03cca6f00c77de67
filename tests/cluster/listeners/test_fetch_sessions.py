"""Incremental fetch sessions (KIP-227): what is asked and told once, and what bounds them."""

import random

import pytest

from cluster.listeners.kafka import fetch_sessions
from cluster.listeners.kafka.fetch_sessions import (
    FetchSession,
    FetchSessionIdNotFoundError,
    FetchSessions,
    InvalidFetchSessionEpochError,
    PartitionKey,
    Told,
    Wanted,
)

HERE = Wanted(0, -1, 1000)


def key(number: int) -> PartitionKey:
    return PartitionKey("t", None, number)


def sessions() -> FetchSessions:
    return FetchSessions(random.Random(1))


def begun(found: FetchSessions, *numbers: int) -> FetchSession:
    return found.begin([(key(number), HERE) for number in numbers])


def test_a_request_names_only_what_has_changed() -> None:
    found = sessions()
    session = begun(found, 0, 1, 2)
    moved = HERE._replace(offset=7)
    assert found.go_on(session.session_id, 1, [(key(1), moved)], [key(2)]) is session
    assert dict(session.wanted) == {key(0): HERE, key(1): moved}


def test_an_epoch_is_taken_once_and_in_order() -> None:
    found = sessions()
    session = begun(found, 0)
    found.go_on(session.session_id, 1, (), ())
    for epoch in (1, 3):
        with pytest.raises(InvalidFetchSessionEpochError):
            found.go_on(session.session_id, epoch, (), ())
    found.go_on(session.session_id, 2, (), ())


def test_the_epoch_after_the_last_is_the_first() -> None:
    found = sessions()
    session = begun(found, 0)
    session.epoch = 2**31 - 1
    found.go_on(session.session_id, 2**31 - 1, (), ())
    found.go_on(session.session_id, 1, (), ())


def test_a_session_that_ended_is_not_found() -> None:
    found = sessions()
    session = begun(found, 0)
    found.end(session.session_id)
    with pytest.raises(FetchSessionIdNotFoundError):
        found.go_on(session.session_id, 1, (), ())


def test_what_was_told_is_told_again_only_when_it_is_other_or_an_error() -> None:
    session = begun(sessions(), 0)
    assert session.news(key(0), Told(5, 0, 0), 0)
    assert not session.news(key(0), Told(5, 0, 0), 0)
    assert session.news(key(0), Told(6, 0, 0), 0)
    assert session.news(key(0), Told(6, 0, 0), 100)
    for _ in range(2):
        assert session.news(key(0), Told(-1, -1, 6), 0)


def test_who_got_records_has_its_next_turn_last() -> None:
    session = begun(sessions(), 0, 1)
    session.news(key(0), Told(5, 0, 0), 100)
    assert list(session.wanted) == [key(1), key(0)]


def test_the_session_that_was_quiet_for_longest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_sessions, "SESSIONS_MAX", 2)
    found = sessions()
    quiet, busy = begun(found, 0), begun(found, 0)
    found.go_on(quiet.session_id, 1, (), ())
    begun(found, 0)
    found.go_on(quiet.session_id, 2, (), ())
    with pytest.raises(FetchSessionIdNotFoundError):
        found.go_on(busy.session_id, 1, (), ())


def test_partitions_are_bounded_over_all_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_sessions, "PARTITIONS_MAX", 4)
    found = sessions()
    first, second = begun(found, 0, 1), begun(found, 0, 1)
    found.go_on(second.session_id, 1, (), [key(1)])
    third = begun(found, 0)
    found.go_on(first.session_id, 1, (), ())
    begun(found, 0)
    with pytest.raises(FetchSessionIdNotFoundError):
        found.go_on(second.session_id, 2, (), ())
    found.go_on(third.session_id, 1, (), ())


def test_a_session_that_grows_too_large_is_answered_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch_sessions, "PARTITIONS_MAX", 2)
    found = sessions()
    session = begun(found, 0)
    more = [(key(number), HERE) for number in range(3)]
    assert len(found.go_on(session.session_id, 1, more, ()).wanted) == 3
    with pytest.raises(FetchSessionIdNotFoundError):
        found.go_on(session.session_id, 2, (), ())
    begun(found, 0, 1)

"""Leader epochs: KIP-101, KIP-279, KIP-320."""

from hypothesis import given
from hypothesis import strategies as st

from storage.leader_epochs import UNDEFINED, EpochEnd, LeaderEpochs


def test_the_newest_epoch_ends_at_the_log_end() -> None:
    assert LeaderEpochs([(1, 0), (3, 10)]).end_offset_for(3, 25) == EpochEnd(3, 25)


def test_an_old_epoch_ends_where_the_next_begins() -> None:
    assert LeaderEpochs([(1, 0), (3, 10)]).end_offset_for(1, 25) == EpochEnd(1, 10)


def test_an_epoch_that_was_never_seen_is_answered_with_the_one_before_it() -> None:
    """KIP-279: after a fast failover the follower asks for an epoch that the leader has not."""
    assert LeaderEpochs([(1, 0), (3, 10)]).end_offset_for(2, 25) == EpochEnd(1, 10)


def test_an_epoch_older_than_the_log_ends_where_the_log_begins() -> None:
    assert LeaderEpochs([(5, 100)]).end_offset_for(2, 120) == EpochEnd(2, 100)


def test_a_future_epoch_and_an_empty_log_are_unknown() -> None:
    assert LeaderEpochs([(5, 100)]).end_offset_for(6, 120) == UNDEFINED
    assert LeaderEpochs().end_offset_for(0, 0) == UNDEFINED
    assert LeaderEpochs([(5, 100)]).end_offset_for(-1, 120) == UNDEFINED


def test_older_news_is_ignored() -> None:
    epochs = LeaderEpochs([(5, 100)])
    assert not epochs.assign(5, 120)
    assert not epochs.assign(4, 120)
    assert epochs.entries() == [(5, 100)]


def test_an_epoch_that_wrote_nothing_gives_way() -> None:
    epochs = LeaderEpochs([(1, 0), (2, 10)])
    epochs.assign(3, 10)
    assert epochs.entries() == [(1, 0), (3, 10)]


def test_cutting_the_end_drops_epochs_and_cutting_the_start_keeps_the_spanning_one() -> None:
    epochs = LeaderEpochs([(1, 0), (2, 10), (4, 20)])
    epochs.truncate_from_end(20)
    assert epochs.entries() == [(1, 0), (2, 10)]
    epochs.truncate_from_start(15)
    assert epochs.entries() == [(2, 15)]
    assert epochs.epoch_at(16) == 2
    assert epochs.epoch_at(14) == -1


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), max_size=20))
def test_every_answer_is_what_a_scan_of_the_log_says(appends: list[tuple[int, int]]) -> None:
    """Against the log as a list of epochs by offset."""
    log: list[int] = []
    epochs = LeaderEpochs()
    for epoch, records in sorted(appends):
        epochs.assign(epoch, len(log))
        log += [epoch] * records
    for asked in range(-1, 8):
        found = epochs.end_offset_for(asked, len(log))
        known = [epoch for epoch in log if epoch <= asked]
        if not log or asked < 0 or asked > max(log):
            assert found == UNDEFINED
        elif known:
            assert found == EpochEnd(max(known), len(known))
        else:
            assert found == EpochEnd(asked, 0)
    for offset, epoch in enumerate(log):
        assert epochs.epoch_at(offset) == epoch

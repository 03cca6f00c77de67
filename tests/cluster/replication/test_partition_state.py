"""The pure heart of replication: high watermark, joins, leaves; the published schedules as tests (bugs.md I1 to I4)."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from cluster.replication.partition_state import LeaderState

EPOCHS = {2: 20, 3: 30}


def leader(
    *, isr: Iterable[int] = (1, 2, 3), end: int = 0, high_watermark: int = 0, min_isr: int = 2
) -> LeaderState:
    """Node 1 leads replicas 1, 2, 3; its log ends, durably, at `end`."""
    return LeaderState.elected(
        node_id=1,
        leader_epoch=5,
        partition_epoch=7,
        replicas=(1, 2, 3),
        isr=isr,
        log_end_offset=end,
        flushed_offset=end,
        high_watermark=high_watermark,
        min_insync_replicas=min_isr,
        now_ms=0,
    )


def ack(state: LeaderState, replica: int, offset: int, *, end: int = 100, now_ms: int = 0) -> bool:
    return state.follower_acked(
        replica, offset, log_end_offset=end, broker_epoch=EPOCHS[replica], now_ms=now_ms
    )


def anyone(_node: int, _epoch: int) -> bool:
    return True


def test_the_high_watermark_is_the_smallest_durable_end_of_the_isr() -> None:
    state = leader()
    state.flushed(10)
    assert not ack(state, 2, 8)
    assert ack(state, 3, 5)
    assert state.high_watermark == 5


def test_a_member_without_room_leaves_at_once_as_long_as_enough_are_left() -> None:
    state = leader(min_isr=2)
    assert state.without_room(frozenset()) == frozenset()
    state.follower_has_room(2, room=False)
    state.follower_has_room(3, room=False)
    state.follower_has_room(9, room=False)
    assert state.without_room(frozenset()) == {2}, "one can be spared, not both"
    assert state.without_room(frozenset({3})) == frozenset(), "when 3 leaves anyhow, none"
    assert state.propose_leave(frozenset({2})) == {1: -1, 3: -1}
    assert state.without_room(frozenset()) == frozenset(), "one change at a time"
    state.metadata_changed(partition_epoch=8, replicas=(1, 2, 3), isr=(1, 3), now_ms=0)
    assert state.without_room(frozenset()) == frozenset()
    ack(state, 2, 0)
    assert state.may_join(anyone) is None, "not before it has room"
    state.follower_has_room(2, room=True)
    assert state.may_join(anyone) == 2


def test_bytes_that_the_leader_has_not_synced_do_not_count() -> None:
    """S5."""
    state = leader()
    ack(state, 2, 10)
    ack(state, 3, 10)
    assert state.high_watermark == 0
    assert state.flushed(4)
    assert state.high_watermark == 4


def test_the_high_watermark_never_goes_back() -> None:
    """A new leader's may be ahead of what its followers have told it so far."""
    state = leader(end=10, high_watermark=10)
    for replica in (2, 3):
        assert not ack(state, replica, 5)
    assert state.high_watermark == 10


def test_a_proposed_member_counts_before_the_controller_has_answered() -> None:
    """I3: the controller may have taken it already, and elect it."""
    state = leader(isr=(1, 2), end=10, high_watermark=10)
    ack(state, 2, 10)
    ack(state, 3, 10)
    state.propose_join(3)
    state.flushed(20)
    assert not ack(state, 2, 20)
    assert state.high_watermark == 10
    assert ack(state, 3, 20)
    assert state.high_watermark == 20


def test_a_member_proposed_for_removal_counts_until_it_is_gone() -> None:
    """I3, the other way round: the controller may refuse."""
    state = leader()
    ack(state, 2, 10)
    ack(state, 3, 3)
    state.flushed(10)
    state.propose_leave(frozenset([3]))
    assert not state.flushed(11)
    assert not ack(state, 2, 11)
    assert state.high_watermark == 3
    assert state.metadata_changed(partition_epoch=8, replicas=(1, 2, 3), isr=(1, 2), now_ms=0)
    assert state.high_watermark == 11


def test_an_ack_that_comes_late_takes_nothing_back() -> None:
    """An old stream may bring it after a new one has brought more."""
    state = leader(isr=(1, 2), end=10)
    ack(state, 3, 10)
    ack(state, 3, 5)
    assert state.may_join(anyone) == 3


def test_a_replica_joins_only_when_it_holds_the_start_of_the_leader_epoch() -> None:
    """KAFKA-7128: the high watermark of a new leader may be stale."""
    state = leader(isr=(1, 2), end=10, high_watermark=4)
    ack(state, 3, 9)
    assert state.may_join(anyone) is None
    ack(state, 3, 10)
    assert state.may_join(anyone) == 3


def test_a_replica_joins_only_when_it_holds_the_high_watermark() -> None:
    state = leader(isr=(1, 2), end=10, high_watermark=10)
    state.flushed(20)
    ack(state, 2, 20)
    ack(state, 3, 15)
    assert state.may_join(anyone) is None


def test_a_fenced_broker_or_another_incarnation_does_not_join() -> None:
    """KIP-841, KIP-903: asked with the epoch that the progress belongs to."""
    state = leader(isr=(1, 2), end=10)
    ack(state, 3, 10)
    assert state.may_join(lambda node, epoch: False) is None
    assert state.may_join(lambda node, epoch: (node, epoch) == (3, 30)) == 3
    assert state.propose_join(3) == {1: -1, 2: -1, 3: 30}


def test_a_rebooted_follower_begins_anew() -> None:
    """KIP-903: what its last life held may be gone."""
    state = leader(isr=(1, 2), end=10)
    ack(state, 3, 10)
    state.follower_acked(3, 2, log_end_offset=10, broker_epoch=31, now_ms=0)
    assert state.may_join(anyone) is None


def test_an_earlier_life_is_not_heard_any_more() -> None:
    state = leader(isr=(1, 2), end=10)
    state.follower_acked(3, 2, log_end_offset=10, broker_epoch=31, now_ms=0)
    ack(state, 3, 10)
    assert state.may_join(anyone) is None


def test_who_speaks_before_the_leader_knows_of_its_assignment_joins_without_another_word() -> None:
    """An addition does not begin a leader epoch, and while nothing is appended a follower speaks only once."""
    state = leader(isr=(1, 2), end=10)
    state.follower_acked(4, 10, log_end_offset=10, broker_epoch=40, now_ms=0)
    assert state.may_join(anyone) is None, "not before it is a replica"
    state.metadata_changed(partition_epoch=8, replicas=(4, 2, 3, 1), isr=(1, 2), now_ms=0)
    assert state.may_join(lambda node, epoch: (node, epoch) == (4, 40)) == 4
    assert state.propose_join(4) == {1: -1, 2: -1, 4: 40}


def test_who_spoke_before_the_leader_knew_of_its_assignment_has_the_full_lag_time() -> None:
    """It may join with the high watermark alone, and is not to be taken out again at once."""
    state = leader(isr=(1, 2), end=10)
    state.flushed(100)
    state.follower_acked(4, 10, log_end_offset=100, broker_epoch=40, now_ms=50_000)
    state.metadata_changed(partition_epoch=8, replicas=(4, 2, 1), isr=(1, 2, 4), now_ms=50_000)
    assert 4 not in state.lagging(100, 10_000, 60_000)
    assert 4 in state.lagging(100, 10_000, 60_001)


def test_the_high_watermark_stands_below_min_isr() -> None:
    """KIP-966, I4: what the last one standing alone holds would be lost with it."""
    state = leader(isr=(1,), end=0)
    assert not state.flushed(10)
    ack(state, 2, 10)
    assert state.high_watermark == 0
    assert state.metadata_changed(partition_epoch=8, replicas=(1, 2, 3), isr=(1, 2), now_ms=0)
    assert state.high_watermark == 10


def test_a_proposed_member_does_not_make_the_isr_large_enough() -> None:
    """KIP-966, I4: until the controller has taken it, it could not be elected when this leader dies."""
    state = leader(isr=(1,), end=0)
    ack(state, 2, 0)
    state.propose_join(2)
    assert not state.flushed(10)
    assert not ack(state, 2, 10)
    assert not state.has_enough_replicas
    assert state.metadata_changed(partition_epoch=8, replicas=(1, 2, 3), isr=(1, 2), now_ms=0)
    assert state.high_watermark == 10


def test_min_isr_is_no_more_than_the_replicas() -> None:
    state = LeaderState.elected(
        node_id=1,
        leader_epoch=0,
        partition_epoch=0,
        replicas=(1,),
        isr=(1,),
        log_end_offset=0,
        flushed_offset=0,
        high_watermark=0,
        min_insync_replicas=2,
        now_ms=0,
    )
    assert state.has_enough_replicas
    assert state.flushed(3)


def test_old_metadata_changes_nothing() -> None:
    state = leader(isr=(1, 2), end=10)
    ack(state, 3, 10)
    state.propose_join(3)
    assert not state.metadata_changed(partition_epoch=7, replicas=(1, 2, 3), isr=(1, 2), now_ms=0)
    assert state.in_flight


def test_a_refusal_of_an_older_proposal_changes_nothing() -> None:
    state = leader(isr=(1, 2), end=10)
    ack(state, 3, 10)
    state.propose_join(3)
    assert not state.proposal_refused(6)
    assert state.in_flight
    state.proposal_refused(7)
    assert not state.in_flight


def test_a_follower_that_stands_still_lags() -> None:
    state = leader()
    ack(state, 2, 10, end=10, now_ms=0)
    ack(state, 3, 10, end=10, now_ms=0)
    state.caught_up_when_appending(10, 1000)
    ack(state, 2, 20, end=20, now_ms=1001)
    assert state.lagging(20, 10_000, 11_000) == frozenset()
    assert state.lagging(20, 10_000, 11_500) == {3}


def test_a_follower_a_little_behind_an_ever_growing_log_does_not_lag() -> None:
    """Under constant load nobody is ever at the log's very end; what counts is to reach where it was a while ago."""
    state = leader()
    for now_ms in range(0, 60_000, 10):
        end = now_ms + 10
        state.caught_up_when_appending(end - 1, now_ms)
        ack(state, 2, end - 5, end=end, now_ms=now_ms)
        ack(state, 3, end // 2, end=end, now_ms=now_ms)
        if now_ms < 10_000:
            assert 2 not in state.lagging(end, 10_000, now_ms)
    assert state.lagging(60_000, 10_000, 60_000) == {3}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ack"), st.sampled_from([2, 3]), st.integers(0, 50)),
        st.tuples(st.just("flush"), st.just(1), st.integers(0, 50)),
        st.tuples(st.just("join"), st.just(0), st.just(0)),
        st.tuples(st.just("leave"), st.sampled_from([2, 3]), st.just(0)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
        st.tuples(st.just("refuse"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(steps=STEPS, min_isr=st.integers(1, 3))
def test_whatever_happens_the_high_watermark_is_on_every_possible_isr(
    steps: list[tuple[str, int, int]], min_isr: int
) -> None:
    """I3 (ReplicationQuorumSuperset): on all of the committed and all of the proposed ISR, and never goes back."""
    state = leader(min_isr=min_isr)
    ends = {1: 0, 2: 0, 3: 0}
    for kind, replica, offset in steps:
        before = state.high_watermark
        enough = state.has_enough_replicas
        if kind == "ack":
            ends[replica] = max(ends[replica], offset)
            ack(state, replica, offset)
        elif kind == "flush":
            ends[1] = max(ends[1], offset)
            state.flushed(offset)
        else:
            _change_isr(state, kind, replica)
        assert state.high_watermark >= before
        if state.high_watermark > before:
            assert enough or kind == "commit"
            assert len(state.isr) >= min_isr
            possible = state.isr | getattr(state.isr_state, "proposed", frozenset())
            assert state.high_watermark <= min(ends[each] for each in possible)


def _change_isr(state: LeaderState, kind: str, replica: int) -> None:
    if kind == "join" and (joining := state.may_join(anyone)) is not None:
        state.propose_join(joining)
    elif kind == "leave" and not state.in_flight and replica in state.isr:
        state.propose_leave(frozenset([replica]))
    elif kind == "commit" and state.in_flight:
        state.metadata_changed(
            partition_epoch=state.partition_epoch + 1,
            replicas=state.replicas,
            isr=getattr(state.isr_state, "proposed", state.isr),
            now_ms=0,
        )
    elif kind == "refuse" and state.in_flight:
        state.proposal_refused(state.partition_epoch)

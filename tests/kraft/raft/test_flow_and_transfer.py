"""Pipelining with flow control (Raft thesis, 10.2), limits, and the handing over of leadership (thesis, 3.10)."""

from typing import Any

import pytest

from kraft.raft.errors import (
    MembershipChangeError,
    NotLeaderError,
    ProposalRefusedError,
    ProposalTooLargeError,
)
from kraft.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    RequestVote,
    TimeoutNow,
)
from kraft.raft.ready import FollowerLostDataFact, Role
from tests.kraft.raft.bench import ELECTION_TIMEOUT_MS, Bench, only
from tests.kraft.raft.simulation import Simulation


def _leading(*voters: int, **settings: Any) -> Bench:
    bench = Bench(*voters, **settings)
    bench.lead()
    for follower in bench.voters:
        bench.acknowledge(follower, 1)
    return bench


def _carried(sent: list[AppendEntries], target: int) -> list[int]:
    return [
        entry.index for message in sent if message.target == target for entry in message.entries
    ]


def test_entries_follow_each_other_without_waiting_for_answers() -> None:
    bench = _leading()
    carried = []
    for _ in range(5):
        carried += _carried(only(bench.propose(), AppendEntries), 2)
    assert carried == [2, 3, 4, 5, 6]


def test_no_more_messages_are_in_flight_than_allowed() -> None:
    bench = _leading(max_inflight_appends=3)
    carried = []
    for _ in range(10):
        carried += _carried(only(bench.propose(), AppendEntries), 2)
    assert carried == [2, 3, 4]
    assert _carried(only(bench.acknowledge(2, 3), AppendEntries), 2) == list(range(5, 12))


def test_one_message_carries_no_more_bytes_than_allowed() -> None:
    bench = _leading(max_append_bytes=1000)
    sent = only(bench.propose(*(b"x" * 400 for _ in range(5))), AppendEntries)
    assert [len(m.entries) for m in sent if m.target == 2] == [2, 2, 1]


def test_an_entry_above_the_limit_of_a_message_travels_alone() -> None:
    bench = _leading(max_append_bytes=100)
    sent = only(bench.propose(b"x" * 5000, b"y"), AppendEntries)
    assert [len(m.entries) for m in sent if m.target == 2] == [1, 1]


def test_a_heartbeat_finds_out_what_was_lost_on_the_way() -> None:
    bench = _leading()
    bench.propose()
    (heartbeat,) = [m for m in only(bench.sleep(150), AppendEntries) if m.target == 2]
    assert (heartbeat.previous_index, heartbeat.entries) == (2, ())
    sent = bench.receive(
        AppendEntriesResponse(
            2, 1, 1, success=False, index=2, round=0, hint_index=1, hint_term=1, last_index=1
        )
    )
    assert _carried(only(sent, AppendEntries), 2) == [2]


def test_a_refusal_that_was_overtaken_changes_nothing() -> None:
    bench = _leading()
    bench.propose()
    bench.acknowledge(2, 2)
    sent = bench.receive(
        AppendEntriesResponse(2, 1, 1, success=False, index=1, round=0, last_index=2)
    )
    assert only(sent, AppendEntries) == []


def test_a_follower_that_lost_its_disk_is_named_and_filled_again() -> None:
    bench = _leading()
    bench.propose()
    bench.acknowledge(2, 2)
    bench.receive(AppendEntriesResponse(2, 1, 1, success=False, index=2, round=0, last_index=0))
    facts = [fact for ready in bench.readies for fact in ready.facts]
    assert FollowerLostDataFact(2, acknowledged_index=2, last_index=0) in facts
    assert _carried(only(bench.sent, AppendEntries), 2) == [1, 2]


def test_too_much_uncommitted_is_refused_until_some_is_committed() -> None:
    bench = _leading(max_uncommitted_bytes=1000)
    bench.propose(b"x" * 900)
    with pytest.raises(ProposalRefusedError, match="wait to be committed"):
        bench.propose(b"x" * 900)
    bench.acknowledge(2, 2)
    bench.propose(b"x" * 900)


def test_a_command_above_the_limit_is_refused() -> None:
    bench = _leading(max_entry_bytes=10)
    with pytest.raises(ProposalTooLargeError, match="11 bytes"):
        bench.propose(b"12345678901")
    assert bench.node.last_index == 1, "nothing was appended"


def test_commands_proposed_together_stand_together_and_all_or_none() -> None:
    bench = _leading(max_entry_bytes=10)
    assert bench.node.propose([b"a", b"b", b"c"], bench.now_ms) == (1, 4)
    with pytest.raises(ProposalTooLargeError):
        bench.node.propose([b"d", b"12345678901"], bench.now_ms)
    assert bench.node.last_index == 4


def test_too_many_reads_are_refused() -> None:
    bench = _leading(max_pending_reads=2)
    bench.node.request_read(bench.now_ms)
    bench.node.request_read(bench.now_ms)
    with pytest.raises(ProposalRefusedError, match="2 reads"):
        bench.node.request_read(bench.now_ms)


def test_applying_comes_in_bounded_portions() -> None:
    bench = Bench(1, max_apply_bytes=300)
    bench.sleep(0)
    bench.propose(*(b"x" * 100 for _ in range(10)))
    portions = [len(ready.apply) for ready in bench.readies if ready.apply]
    assert sum(portions) == 11
    assert max(portions) <= 2


# Handing over.


def test_leadership_goes_to_a_follower_as_soon_as_it_has_everything() -> None:
    bench = _leading()
    bench.propose()
    bench.node.transfer_leadership(2, bench.now_ms)
    bench.settle()
    assert only(bench.sent, TimeoutNow) == []
    sent = bench.acknowledge(2, 2)
    assert [message.target for message in only(sent, TimeoutNow)] == [2]


def test_the_successor_stands_at_once_and_is_voted_for_inside_the_lease() -> None:
    bench = Bench(1, 2, 3, term=1)
    bench.follow(2)
    requests = only(bench.receive(TimeoutNow(2, 1, 1)), RequestVote)
    assert [(m.target, m.term, m.transfer) for m in requests] == [(2, 2, True), (3, 2, True)]


def test_proposals_wait_while_leadership_is_handed_over_and_go_on_when_it_fails() -> None:
    bench = _leading()
    bench.propose()
    bench.node.transfer_leadership(3, bench.now_ms)
    with pytest.raises(ProposalRefusedError, match="handing leadership over to node 3"):
        bench.propose()
    for _ in range(4):
        bench.sleep(ELECTION_TIMEOUT_MS // 4)
        bench.acknowledge(2, 2)
    assert bench.node.role is Role.LEADER
    bench.propose()


@pytest.mark.parametrize(("target", "error"), [(9, MembershipChangeError), (1, None)])
def test_leadership_goes_to_voters_only_and_to_oneself_it_is_nothing(
    target: int, error: type[Exception] | None
) -> None:
    bench = _leading()
    if error is not None:
        with pytest.raises(error, match="not one of the voters"):
            bench.node.transfer_leadership(target, bench.now_ms)
    else:
        bench.node.transfer_leadership(target, bench.now_ms)
    bench.propose()


def test_a_follower_cannot_hand_over() -> None:
    bench = Bench()
    with pytest.raises(NotLeaderError, match="no leader is known"):
        bench.node.transfer_leadership(2, 0)


def test_a_stranger_cannot_make_a_follower_stand() -> None:
    bench = Bench(1, 2, 3, term=1)
    bench.follow(2)
    assert only(bench.receive(TimeoutNow(3, 1, 1)), RequestVote) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_transfer_takes_a_few_round_trips(seed: int) -> None:
    simulation = Simulation(seed)
    leader = simulation.wait_for_leader()
    assert leader.leader_id is not None
    simulation.run(500)
    simulation.do_propose(5)
    target = (leader.leader_id + 1) % 3
    simulation.do_transfer(target)
    simulation.run(80)
    assert simulation.leaders() == [target]
    simulation.converge()


def test_messages_for_somebody_else_are_dropped() -> None:
    bench = Bench()
    assert bench.receive(AppendEntries(2, 3, 5, 0, 0, 0, 0)) == []
    assert bench.node.term == 0


def test_time_that_goes_back_is_our_bug() -> None:
    bench = Bench()
    bench.node.tick(50)
    with pytest.raises(AssertionError, match="time went back"):
        bench.node.tick(49)

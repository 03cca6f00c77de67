"""Bugs that other implementations of Raft shipped: rows R1 to R13 of the project's list, each one by name."""

from itertools import product

import pytest

from kraft.raft.errors import MembershipBusyError
from kraft.raft.membership import ChangeKind, MembershipChange
from kraft.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    HardState,
    PreVoteResponse,
    RequestVote,
    RequestVoteResponse,
)
from kraft.raft.ready import Role
from tests.kraft.raft.bench import ELECTION_TIMEOUT_MS, Bench, entries_of, only
from tests.kraft.raft.simulation import Simulation

LINKS_OF_THREE = [(a, b) for a in range(3) for b in range(3) if a != b]


# R1: term and vote, or the log, not durable before the answer.


def test_r1_a_vote_is_told_only_when_it_is_durable() -> None:
    bench = Bench()
    bench.auto_persist = False
    assert bench.receive(RequestVote(2, 1, 1, 0, 0)) == []
    assert only(bench.waiting, RequestVoteResponse)[0].granted
    assert bench.persists[-1].hard_state == HardState(1, 2)
    bench.persist()
    assert only(bench.sent, RequestVoteResponse)[0].granted


def test_r1_after_a_restart_the_vote_still_stands() -> None:
    bench = Bench(term=4, vote=2)
    assert not bench.ask_for_vote(3, term=4)
    assert bench.ask_for_vote(2, term=4)


def test_r1_entries_are_acknowledged_only_when_they_are_durable() -> None:
    bench = Bench(term=1)
    bench.auto_persist = False
    sent = bench.receive(AppendEntries(2, 1, 1, 0, 0, 0, 0, tuple(entries_of(1, 1))))
    assert sent == []
    (answer,) = only(bench.receive(AppendEntries(2, 1, 1, 2, 1, 0, 0)), AppendEntriesResponse)
    assert (answer.success, answer.index) == (True, 0), (
        "a heartbeat is answered with what is durable"
    )
    bench.persist()
    assert [m.index for m in only(bench.sent, AppendEntriesResponse)] == [0, 2]


def test_r1_a_candidate_asks_and_counts_itself_only_when_its_vote_is_durable() -> None:
    bench = Bench(1, 2)
    bench.time_out()
    bench.auto_persist = False
    bench.receive(PreVoteResponse(2, 1, 1, granted=True))
    assert only(bench.sent, RequestVote) == []
    bench.receive(RequestVoteResponse(2, 1, 1, granted=True))
    roles = [bench.node.role]
    bench.persist()
    roles.append(bench.node.role)
    assert roles == [Role.CANDIDATE, Role.LEADER]


def test_r1_a_term_in_the_log_above_the_stored_one_is_taken_over_without_a_vote() -> None:
    bench = Bench(term=2, vote=3, log=(1, 5))
    assert bench.node.term == 5
    assert bench.ask_for_vote(2, term=5, last_index=2, last_term=5)


# R2: term and vote in two writes; vote erased on stepping down.


def test_r2_term_and_vote_are_one_record() -> None:
    bench = Bench(term=1)
    bench.receive(RequestVote(2, 1, 7, 0, 0))
    assert [persist.hard_state for persist in bench.persists] == [HardState(7, 2)]


def test_r2_stepping_down_within_a_term_keeps_the_vote() -> None:
    bench = Bench()
    bench.lead()
    bench.sleep(ELECTION_TIMEOUT_MS)
    assert bench.node.role is Role.FOLLOWER
    assert not bench.ask_for_vote(2, term=1)


# R3: see Figure 8 in tests/paper; reads before the first commit.


def test_r3_a_new_leader_reads_only_after_committing_in_its_own_term() -> None:
    bench = Bench(log=(1, 1, 1))
    bench.lead()
    bench.node.request_read(bench.now_ms)
    bench.sleep(300)
    for follower in (2, 3):
        bench.acknowledge(follower, 3, round_=5)
    assert bench.reads == [], "the commit index is not known yet"


# R4: truncation below the commit index.


def test_r4_a_committed_entry_is_never_cut_even_if_a_leader_demands_it() -> None:
    bench = Bench(log=(1, 1))
    bench.receive(AppendEntries(2, 1, 1, 2, 1, 2, 0))
    assert bench.node.commit_index == 2
    with pytest.raises(AssertionError, match="committed"):
        bench.receive(AppendEntries(3, 1, 2, 1, 1, 0, 0, tuple(entries_of(1, 2)[1:])))
    assert bench.terms == [1, 1]


# R5: stale reads.


def test_r5_an_answer_to_an_earlier_round_confirms_no_later_read() -> None:
    bench = Bench()
    bench.lead()
    bench.acknowledge(2, 1)
    bench.node.request_read(bench.now_ms)
    bench.settle()
    bench.acknowledge(3, 1, round_=1)
    assert len(bench.reads) == 1
    bench.node.request_read(bench.now_ms)
    bench.settle()
    for _ in range(3):
        for follower in (2, 3):
            bench.acknowledge(follower, 1, round_=1)
    assert len(bench.reads) == 1, "repeated answers to round 1"
    bench.acknowledge(2, 1, round_=2)
    assert len(bench.reads) == 2


def test_r5_a_learners_answer_confirms_no_read() -> None:
    bench = Bench()
    bench.lead()
    bench.acknowledge(2, 1)
    bench.node.propose_membership(
        MembershipChange(ChangeKind.ADD_LEARNER, 4, "node4:1"), bench.now_ms
    )
    bench.settle()
    bench.node.request_read(bench.now_ms)
    bench.settle()
    bench.acknowledge(4, 1, round_=1)
    assert bench.reads == []


@pytest.mark.parametrize("paused_s", [1, 5, 30])
def test_r5_a_leader_that_was_paused_answers_no_read_out_of_the_past(paused_s: int) -> None:
    """SIGSTOP: others lead meanwhile, and on waking the read comes before any message."""
    simulation = Simulation(paused_s)
    paused = simulation.wait_for_leader()
    assert paused.leader_id is not None
    machine = simulation.machines[paused.leader_id]
    machine.node = None
    for _ in range(paused_s):
        simulation.run(1000)
        simulation.do_propose(2)
    simulation.run(50)
    machine.node = paused
    before = simulation.ghost.completed_reads
    simulation.do_read()
    simulation.run(3000)
    assert simulation.ghost.completed_reads <= before + 1, "only the leader in office answers"
    assert simulation.ghost.last_committed > paused_s - 3
    machine.timer_ms = -1
    simulation.do_hint(machine.node_id, 9)
    simulation.converge()


def test_r5_many_reads_share_one_round() -> None:
    bench = Bench()
    bench.lead()
    bench.acknowledge(2, 1)
    for _ in range(100):
        bench.node.request_read(bench.now_ms)
    bench.sent.clear()
    bench.settle()
    assert len(only(bench.sent, AppendEntries)) == 2
    bench.acknowledge(2, 1, round_=1)
    assert len(bench.reads) == 100


# R6: a leader without a majority never resigned.


@pytest.mark.parametrize("mask", range(1 << len(LINKS_OF_THREE)))
def test_r6_under_every_mask_of_one_way_links_only_a_leader_with_a_majority_stays(
    mask: int,
) -> None:
    simulation = Simulation(mask)
    simulation.wait_for_leader()
    simulation.run(500)
    leader, term = simulation.leaders()[0], simulation.leader().term
    for place, (source, target) in enumerate(LINKS_OF_THREE):
        if mask >> place & 1:
            simulation.do_block(source, target)
    round_trips = sum(
        not {(leader, other), (other, leader)} & simulation.blocked
        for other in range(3)
        if other != leader
    )
    # The last answers may be a heartbeat old and on their way when the links break.
    simulation.run(ELECTION_TIMEOUT_MS + 15)
    if round_trips:
        simulation.run(10 * ELECTION_TIMEOUT_MS)
        assert simulation.leaders() == [leader], "a leader with a majority stays"
        assert simulation.leader().term == term
    else:
        assert leader not in simulation.leaders(), "a leader without a majority resigns"
    simulation.converge()


def test_r6_learners_do_not_keep_a_leader_in_office() -> None:
    bench = Bench()
    bench.lead()
    bench.acknowledge(2, 1)
    bench.node.propose_membership(
        MembershipChange(ChangeKind.ADD_LEARNER, 4, "node4:1"), bench.now_ms
    )
    bench.settle()
    for _ in range(11):
        bench.sleep(100)
        bench.acknowledge(4, 1)
    assert bench.node.role is Role.FOLLOWER


def test_r6_a_slow_disk_of_the_followers_does_not_make_the_leader_resign() -> None:
    """etcd #7617: heartbeats are answered while an fsync of seconds is on its way."""
    simulation = Simulation(5)
    leader = simulation.wait_for_leader()
    for node_id in range(3):
        simulation.do_disk(node_id, 4000)
    for _ in range(20):
        simulation.do_propose()
        simulation.run(500)
    assert len(simulation.leader_changes) == 1
    assert leader.role is Role.LEADER


# R7: livelock under partial partitions.


def _connect(simulation: Simulation, *links: tuple[int, int]) -> None:
    both_ways = {*links, *((b, a) for a, b in links)}
    simulation.blocked = {
        (a, b) for a, b in product(range(5), repeat=2) if (a, b) not in both_ways and a != b
    }


CHAIN = ((0, 1), (1, 2), (2, 3), (3, 4))
BRIDGE = ((0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (3, 4))
STAR = ((0, 1), (0, 2), (0, 3), (0, 4))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("links", [CHAIN, BRIDGE, STAR], ids=["chain", "bridge", "star"])
def test_r7_where_one_node_reaches_a_majority_a_leader_is_elected_and_stays(
    links: tuple[tuple[int, int], ...], seed: int
) -> None:
    simulation = Simulation(seed, voters=5)
    simulation.wait_for_leader()
    _connect(simulation, *links)
    simulation.run(10 * ELECTION_TIMEOUT_MS)
    changes = len(simulation.leader_changes)
    committed = simulation.ghost.last_committed
    for _ in range(30):
        simulation.do_propose()
        simulation.run(ELECTION_TIMEOUT_MS)
    assert len(simulation.leader_changes) == changes, "nobody disturbs the leader"
    assert simulation.ghost.last_committed >= committed + 29


@pytest.mark.parametrize("seed", range(10))
def test_r7_a_follower_cut_off_from_its_leader_only_does_not_disturb_it(seed: int) -> None:
    """Cloudflare, 2 November 2020: six hours of elections."""
    simulation = Simulation(seed)
    leader = simulation.wait_for_leader().leader_id
    assert leader is not None
    other = (leader + 1) % 3
    simulation.do_block(leader, other)
    simulation.do_block(other, leader)
    simulation.run(30 * ELECTION_TIMEOUT_MS)
    assert len(simulation.leader_changes) == 1
    assert simulation.leaders() == [leader]


# R8: errors of pre-votes.


def test_r8_answering_a_pre_vote_changes_nothing() -> None:
    bench = Bench(term=3, vote=2)
    deadline = bench.node.next_deadline()
    persists = len(bench.persists)
    assert bench.ask_for_pre_vote(3, term=50).granted
    assert bench.ask_for_pre_vote(2, term=51).granted
    assert (bench.node.term, bench.node._core.vote) == (3, 2)
    assert bench.node.next_deadline() == deadline
    assert len(bench.persists) == persists


def test_r8_asking_for_pre_votes_changes_no_durable_state() -> None:
    bench = Bench(term=3, vote=2)
    persists = len(bench.persists)
    bench.sleep(100 * ELECTION_TIMEOUT_MS)
    assert bench.node.role is Role.PRE_CANDIDATE
    assert (bench.node.term, len(bench.persists)) == (3, persists)


def test_r8_a_node_isolated_for_a_thousand_timeouts_comes_back_without_an_election() -> None:
    simulation = Simulation(3)
    leader = simulation.wait_for_leader()
    isolated = next(n for n in range(3) if n != leader.leader_id)
    simulation.do_isolate(isolated)
    for _ in range(10):
        simulation.do_propose()
        simulation.run(100 * ELECTION_TIMEOUT_MS)
    term = leader.term
    simulation.do_heal()
    simulation.run(5 * ELECTION_TIMEOUT_MS)
    assert (leader.role, leader.term) == (Role.LEADER, term)
    assert simulation.node(isolated).commit_index == leader.commit_index
    assert len(simulation.leader_changes) == 1


def test_r8_the_former_leaders_own_pre_vote_is_not_held_up_by_its_lease() -> None:
    bench = Bench(term=1)
    bench.follow(2)
    assert not bench.ask_for_pre_vote(3, term=2).granted
    assert bench.ask_for_pre_vote(2, term=2).granted


def test_r8_a_late_pre_vote_of_an_earlier_attempt_does_not_count() -> None:
    bench = Bench(1, 2, 3, term=5)
    bench.time_out()
    bench.receive(PreVoteResponse(2, 1, 4, granted=True))
    bench.receive(PreVoteResponse(3, 1, 9, granted=True))
    assert bench.node.role is Role.PRE_CANDIDATE


# R9: membership changes before an entry of the own term is committed.


def test_r9_no_change_before_an_entry_of_the_own_term_is_committed() -> None:
    bench = Bench(log=(1,))
    bench.lead()
    add = MembershipChange(ChangeKind.ADD_LEARNER, 4, "node4:1")
    with pytest.raises(MembershipBusyError, match="has not committed an entry of its own"):
        bench.node.propose_membership(add, bench.now_ms)
    bench.acknowledge(2, 2)
    bench.node.propose_membership(add, bench.now_ms)


def test_r9_one_change_at_a_time() -> None:
    bench = Bench()
    bench.lead()
    bench.acknowledge(2, 1)
    bench.node.propose_membership(
        MembershipChange(ChangeKind.ADD_LEARNER, 4, "node4:1"), bench.now_ms
    )
    bench.settle()
    with pytest.raises(MembershipBusyError, match="index 2 is not committed yet"):
        bench.node.propose_membership(MembershipChange(ChangeKind.REMOVE, 3), bench.now_ms)


ADD = list(ChangeKind).index(ChangeKind.PROMOTE)
REMOVE = list(ChangeKind).index(ChangeKind.REMOVE)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("first", "second"),
    [((ADD, 4), (REMOVE, 3)), ((ADD, 4), (ADD, 5)), ((REMOVE, 3), (REMOVE, 2))],
    ids=["add-remove", "add-add", "remove-remove"],
)
def test_r9_the_published_schedules_never_make_two_majorities(
    first: tuple[int, int], second: tuple[int, int], seed: int
) -> None:
    """Ongaro, raft-dev t4xj6dJTP6E: one leader's change stays uncommitted, the next leader commits another one,
    then the first comes back with those who have its change. Invariants are asserted all the way."""
    simulation = Simulation(seed, voters=4, spares=2)
    simulation.wait_for_leader()
    simulation.do_transfer(0)
    simulation.run(500)
    for spare in (4, 5):
        simulation.do_change(0, spare)
        simulation.run(500)
    assert simulation.leaders() == [0]
    # Only the spares hear of the first leader's change.
    for other in (1, 2, 3):
        simulation.do_block(0, other)
        simulation.do_block(other, 0)
    simulation.do_change(*first)
    simulation.run(300)
    for spare in (4, 5):
        for other in (1, 2, 3):
            simulation.do_block(spare, other)
            simulation.do_block(other, spare)
    simulation.run(4 * ELECTION_TIMEOUT_MS)
    # As soon as there is another leader it tries its own change, also before its term's first commit.
    for _ in range(40):
        simulation.do_change(*second)
        simulation.run(5)
    simulation.do_split(0b110001 | 0b1000)
    for _ in range(10):
        simulation.do_propose()
        simulation.run(ELECTION_TIMEOUT_MS)
    simulation.do_split(0b110001)
    simulation.run(4 * ELECTION_TIMEOUT_MS)
    simulation.converge()


# R10: snapshots, see tests/paper/test_section_7_snapshots.py and tests/kraft/test_store.py.
# R11: offsets given twice, see tests/kraft/test_store.py.


# R12: acknowledged before it is durable, in a group of one.


def test_r12_a_group_of_one_commits_only_what_is_durable() -> None:
    bench = Bench(1)
    bench.sleep(0)
    bench.auto_persist = False
    bench.propose(b"x")
    assert bench.node.commit_index == 1
    assert all(entry.data != b"x" for entry in bench.applied)
    bench.persist()
    bench.settle()
    assert bench.applied[-1].data == b"x"


def test_r12_a_leader_counts_itself_only_when_its_own_entry_is_durable() -> None:
    """With one follower it would be a majority of two, one of which may lose it."""
    bench = Bench()
    bench.lead()
    bench.auto_persist = False
    bench.propose(b"x")
    bench.acknowledge(2, 2)
    commits = [bench.node.commit_index]
    bench.persist()
    commits.append(bench.node.commit_index)
    assert commits == [1, 2]


def test_r12_nothing_is_applied_that_is_not_durable_here() -> None:
    """The others may commit it first (Raft thesis, 10.2.1), but what this node applies it must find again."""
    bench = Bench()
    bench.lead()
    bench.auto_persist = False
    bench.propose(b"x")
    for follower in (2, 3):
        bench.acknowledge(follower, 2)
    assert bench.node.commit_index == 2
    assert [entry.index for entry in bench.applied] == [1]


# R13: entries doubled when the leader changes.


def test_r13_the_same_entries_from_two_leaders_stand_in_the_log_once() -> None:
    bench = Bench()
    entries = tuple(entries_of(1, 1, 1))
    bench.receive(AppendEntries(2, 1, 1, 0, 0, 0, 0, entries))
    bench.receive(AppendEntries(3, 1, 2, 1, 1, 0, 0, entries[1:]))
    bench.receive(AppendEntries(3, 1, 2, 0, 0, 0, 0, entries))
    assert bench.terms == [1, 1, 1]
    assert sum(len(persist.entries) for persist in bench.persists) == 3

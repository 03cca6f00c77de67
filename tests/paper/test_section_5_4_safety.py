"""Raft paper, 5.4 Safety, and Figure 8."""

import pytest

from kraft.raft.messages import AppendEntries, EntryKind
from kraft.raft.ready import Role
from tests.kraft.raft.bench import Bench, entries_of
from tests.kraft.raft.simulation import Simulation


@pytest.mark.parametrize(
    ("log", "last_index", "last_term", "granted"),
    [
        ((1,), 1, 1, True),
        ((1,), 2, 1, True),
        ((1, 1), 1, 1, False),
        ((1,), 1, 2, True),
        ((1, 1, 1), 1, 2, True),
        ((2,), 1, 1, False),
        ((2,), 9, 1, False),
        ((1, 2), 1, 2, False),
        ((), 0, 0, True),
    ],
)
def test_a_voter_denies_its_vote_when_its_own_log_is_more_up_to_date(
    log: tuple[int, ...], last_index: int, last_term: int, granted: bool
) -> None:
    """5.4.1: "the log with the later term is more up-to-date ... then whichever log is longer"."""
    assert Bench(log=log, term=3).ask_for_vote(2, 4, last_index, last_term) is granted
    assert Bench(log=log, term=3).ask_for_pre_vote(2, 4, last_index, last_term).granted is granted


def test_only_entries_of_the_leaders_own_term_are_committed_by_counting() -> None:
    """5.4.2: "Raft never commits log entries from previous terms by counting replicas"."""
    bench = Bench(1, 2, 3, log=(1, 2))
    bench.lead()
    assert bench.terms == [1, 2, 3]
    for follower in (2, 3):
        bench.acknowledge(follower, 2)
    assert bench.node.commit_index == 0
    bench.acknowledge(2, 3)
    assert bench.node.commit_index == 3


def test_figure_8_an_entry_of_an_old_term_on_a_majority_may_still_be_replaced() -> None:
    """Figure 8 (a)-(d): S1 replicates its entry of term 2 at index 2 to a majority in term 4, crashes before its
    entry of term 4 is there, and S5, with an entry of term 3, takes over. Nothing may have been committed.

    S1 stands on the bench in term 4; S5 with its log of (d) then overwrites S3, which held the entry of term 2.
    """
    s1 = Bench(1, 2, 3, 4, 5, log=(1, 2), term=3)
    s1.lead()
    assert s1.node.term == 4
    s1.acknowledge(2, 2)
    s1.acknowledge(3, 2)
    assert s1.node.commit_index == 0, (
        "(c): the entry of term 2 is on a majority and must not be committed"
    )
    s3 = Bench(1, 2, 3, 4, 5, node_id=3, log=(1, 2), term=4)
    assert s3.ask_for_vote(5, term=5, last_index=2, last_term=3), "(d): S5 wins with its later term"
    s3.receive(AppendEntries(5, 3, 5, 1, 1, 0, 0, (entries_of(1, 3)[1],)))
    assert s3.terms == [1, 3]


def test_figure_8_an_entry_of_the_new_term_on_a_majority_protects_those_before_it() -> None:
    """Figure 8 (e): with the entry of term 4 on a majority S5 cannot win."""
    s1 = Bench(1, 2, 3, 4, 5, log=(1, 2), term=3)
    s1.lead()
    s1.acknowledge(2, 3)
    s1.acknowledge(3, 3)
    assert s1.node.commit_index == 3
    s3 = Bench(1, 2, 3, 4, 5, node_id=3, log=(1, 2, 4), term=4)
    assert not s3.ask_for_vote(5, term=5, last_index=2, last_term=3)


def test_leader_completeness_over_many_histories() -> None:
    """5.4.3: every leader has all entries committed before its term; the simulation asserts it at each election."""
    elections = 0
    for seed in range(30):
        simulation = Simulation(seed, voters=5)
        for _ in range(8):
            simulation.run(1500)
            simulation.do_propose(3)
            simulation.run(20)
            simulation.do_strand_leaders(seed % 32)
            simulation.run(2500)
            simulation.do_heal()
        simulation.converge()
        elections += simulation.seen["elections"]
    assert elections > 60


def test_a_follower_that_crashes_catches_up_when_it_is_back() -> None:
    """5.5: "the crashed server restarts, then the RPC will complete successfully"."""
    simulation = Simulation(5)
    leader = simulation.wait_for_leader()
    victim = next(n for n in range(3) if n != leader.leader_id)
    simulation.do_crash(victim)
    for _ in range(5):
        simulation.do_propose(4)
        simulation.run(100)
    simulation.do_restart(victim)
    simulation.run(2000)
    assert simulation.node(victim).applied_index == leader.commit_index == leader.last_index


def test_section_8_a_new_leader_commits_an_empty_entry_first() -> None:
    """8: "each leader [commits] a blank no-op entry into the log at the start of its term"."""
    bench = Bench(log=(1,))
    bench.lead()
    bench.acknowledge(2, 2)
    assert bench.node.commit_index == 2
    assert bench.applied[-1].kind is EntryKind.NOOP


def test_section_8_a_read_waits_for_the_leaders_first_commit_and_for_a_majority() -> None:
    """8: "a leader must check whether it has been deposed before processing a read-only request"."""
    bench = Bench(log=(1,))
    bench.lead()
    read_id = bench.node.request_read(bench.now_ms)
    bench.settle()
    assert bench.reads == []
    bench.acknowledge(2, 2)
    assert bench.reads == [], "the first commit starts the round of heartbeats"
    bench.acknowledge(3, 2, round_=1)
    assert [(read.read_id, read.index) for read in bench.reads] == [(read_id, 2)]


def test_section_8_a_deposed_leader_answers_no_read() -> None:
    bench = Bench()
    bench.lead()
    bench.acknowledge(2, 1)
    bench.node.request_read(bench.now_ms)
    bench.settle()
    bench.receive(AppendEntries(3, 1, bench.node.term + 1, 0, 0, 0, 0))
    assert [read.index for read in bench.reads] == [None]
    assert bench.node.role is Role.FOLLOWER

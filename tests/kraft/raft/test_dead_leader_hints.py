"""`peer_unreachable`: a dead process is noticed by its refused connections, long before a timeout."""

import pytest

from kraft.raft.messages import AppendEntries
from kraft.raft.ready import Role
from tests.kraft.raft.bench import ELECTION_TIMEOUT_MS, Bench, only
from tests.kraft.raft.simulation import Simulation


@pytest.mark.parametrize("voters", [3, 5])
def test_with_hints_a_dead_leader_is_replaced_in_a_fraction_of_the_timeout(voters: int) -> None:
    gaps = []
    for seed in range(60):
        simulation = Simulation(seed, voters=voters)
        dead = simulation.wait_for_leader().leader_id
        assert dead is not None
        simulation.run(300)
        simulation.do_crash(dead)
        crashed_ms = simulation.now_ms
        simulation.run(2)
        simulation.do_hints(dead)
        while not simulation.leaders() or not _has_committed(simulation):
            simulation.run(5)
            assert simulation.now_ms < crashed_ms + 5000
        gaps.append(simulation.now_ms - crashed_ms)
    gaps.sort()
    assert gaps[len(gaps) // 2] <= 80
    assert gaps[-1] <= 500


def _has_committed(simulation: Simulation) -> bool:
    leader = simulation.leader()
    return leader.commit_index >= leader._core.term_start_index


@pytest.mark.parametrize("seed", range(10))
def test_a_false_hint_to_one_follower_disturbs_nobody(seed: int) -> None:
    simulation = Simulation(seed)
    leader = simulation.wait_for_leader()
    assert leader.leader_id is not None
    for _ in range(10):
        simulation.do_hint((leader.leader_id + 1) % 3, leader.leader_id)
        simulation.run(200)
    assert leader.role is Role.LEADER
    assert len(simulation.leader_changes) == 1


def test_false_hints_to_everybody_cost_an_election_and_nothing_else() -> None:
    simulation = Simulation(4)
    leader = simulation.wait_for_leader()
    assert leader.leader_id is not None
    simulation.do_propose(3)
    simulation.do_hints(leader.leader_id)
    simulation.do_propose(3)
    simulation.run(1000)
    simulation.do_propose(3)
    simulation.converge()
    assert len([data for _, data in simulation.ghost.committed if data]) >= 6


def test_a_voter_that_was_told_so_too_votes_inside_the_lease() -> None:
    bench = Bench(term=1)
    bench.follow(2)
    assert not bench.ask_for_pre_vote(3, term=2).granted
    bench.node.peer_unreachable(2, bench.now_ms)
    assert bench.ask_for_pre_vote(3, term=2).granted
    assert bench.ask_for_vote(3, term=2)


def test_a_heartbeat_takes_a_hint_back() -> None:
    bench = Bench(term=1)
    bench.follow(2)
    bench.node.peer_unreachable(2, bench.now_ms)
    bench.follow(2)
    assert bench.sleep(ELECTION_TIMEOUT_MS - 1) == []
    assert not bench.ask_for_pre_vote(3, term=2).granted


def test_a_hint_about_another_follower_changes_nothing() -> None:
    bench = Bench(term=1)
    bench.follow(2)
    deadline = bench.node.next_deadline()
    bench.node.peer_unreachable(3, bench.now_ms)
    assert bench.node.next_deadline() == deadline


def test_hints_again_and_again_do_not_put_the_election_off() -> None:
    bench = Bench(term=1)
    bench.follow(2)
    for _ in range(60):
        bench.node.peer_unreachable(2, bench.now_ms)
        bench.sleep(1)
    assert bench.node.role is Role.PRE_CANDIDATE


def test_a_leader_probes_a_follower_that_was_reported_dead() -> None:
    bench = Bench()
    bench.lead()
    bench.acknowledge(2, 1)
    for _ in range(5):
        bench.propose()
    bench.node.peer_unreachable(2, bench.now_ms)
    bench.sent.clear()
    bench.settle()
    again = [message for message in only(bench.sent, AppendEntries) if message.target == 2]
    assert [message.previous_index for message in again] == [1]

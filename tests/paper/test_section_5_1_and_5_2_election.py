"""Ongaro and Ousterhout, In Search of an Understandable Consensus Algorithm (extended version), 5.1 and 5.2.

The pre-vote of Ongaro's thesis (9.6) precedes every election here; `stand` plays it.
"""

import pytest

from kraft.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    PreVote,
    RequestVote,
    RequestVoteResponse,
)
from kraft.raft.ready import Role
from tests.kraft.raft.bench import ELECTION_TIMEOUT_MS, Bench, only
from tests.kraft.raft.simulation import Simulation


@pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
def test_a_server_updates_its_smaller_term_to_the_larger_value(role: Role) -> None:
    """5.1: "if one server's current term is smaller than the other's, then it updates its current term"."""
    bench = Bench(term=1)
    if role is Role.CANDIDATE:
        bench.stand()
    if role is Role.LEADER:
        bench.lead()
    bench.receive(AppendEntries(2, 1, 9, 0, 0, 0, 0))
    assert (bench.node.term, bench.node.role, bench.node.leader_id) == (9, Role.FOLLOWER, 2)


def test_a_stale_candidate_or_leader_reverts_to_follower() -> None:
    """5.1: "If a candidate or leader discovers that its term is out of date, it immediately reverts"."""
    bench = Bench()
    bench.lead()
    term = bench.node.term
    bench.receive(AppendEntriesResponse(2, 1, term + 1, success=False, index=0, round=0))
    assert (bench.node.role, bench.node.term) == (Role.FOLLOWER, term + 1)


def test_a_request_with_a_stale_term_is_rejected() -> None:
    """5.1: "If a server receives a request with a stale term number, it rejects the request"."""
    bench = Bench(term=5)
    (answer,) = only(bench.receive(AppendEntries(2, 1, 4, 0, 0, 0, 0)), AppendEntriesResponse)
    assert not answer.success
    assert answer.term == 5
    assert not bench.ask_for_vote(2, term=4)
    assert bench.node.leader_id is None


def test_servers_start_as_followers() -> None:
    """5.2: "When servers start up, they begin as followers"."""
    assert Bench().node.role is Role.FOLLOWER
    assert Bench(term=7, vote=1).node.role is Role.FOLLOWER


def test_a_server_remains_a_follower_while_it_hears_valid_requests() -> None:
    """5.2: "A server remains in follower state as long as it receives valid RPCs from a leader or candidate"."""
    bench = Bench()
    for _ in range(20):
        bench.follow(2)
        assert bench.sleep(ELECTION_TIMEOUT_MS - 1) == []
        assert bench.node.role is Role.FOLLOWER


def test_a_leader_sends_heartbeats_to_all_followers() -> None:
    """5.2: "Leaders send periodic heartbeats (AppendEntries RPCs that carry no log entries) to all followers"."""
    bench = Bench(1, 2, 3, 4, 5)
    bench.lead()
    for _ in range(3):
        heartbeats = only(bench.sleep(150), AppendEntries)
        assert {message.target for message in heartbeats} == {2, 3, 4, 5}
        assert not any(message.entries for message in heartbeats)


def test_a_follower_that_hears_nothing_begins_an_election() -> None:
    """5.2: "it assumes there is no viable leader and begins an election": it asks, stands in the next term, votes
    for itself and asks each of the other servers."""
    bench = Bench(1, 2, 3, term=1)
    asked = only(bench.sleep(2 * ELECTION_TIMEOUT_MS), PreVote)
    assert {message.target for message in asked} == {2, 3}
    requests = only(bench.stand(), RequestVote)
    assert {message.target for message in requests} == {2, 3}
    assert bench.node.term == 2
    state = bench.persists[-1].hard_state
    assert state is not None
    assert (state.term, state.vote) == (2, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7])
def test_a_candidate_wins_with_votes_from_a_majority_and_not_before(size: int) -> None:
    """5.2: "A candidate wins an election if it receives votes from a majority of the servers"."""
    bench = Bench(*range(1, size + 1))
    bench.stand()
    votes = 1
    for voter in bench.voters:
        assert (bench.node.role is Role.LEADER) == (votes > size // 2)
        bench.receive(RequestVoteResponse(voter, 1, bench.node.term, granted=True))
        votes += 1
    assert bench.node.role is Role.LEADER


def test_votes_against_and_votes_given_twice_elect_nobody() -> None:
    bench = Bench(1, 2, 3, 4, 5)
    bench.stand()
    for _ in range(5):
        bench.receive(RequestVoteResponse(2, 1, bench.node.term, granted=True))
    bench.receive(RequestVoteResponse(3, 1, bench.node.term, granted=False))
    bench.receive(RequestVoteResponse(4, 1, bench.node.term - 1, granted=True))
    assert bench.node.role is Role.CANDIDATE


def test_a_server_votes_for_at_most_one_candidate_in_a_term_first_come_first_served() -> None:
    """5.2: "Each server will vote for at most one candidate in a given term"."""
    bench = Bench()
    assert bench.ask_for_vote(2, term=1)
    assert not bench.ask_for_vote(3, term=1)
    assert bench.ask_for_vote(2, term=1), "the same candidate asks again"
    assert bench.ask_for_vote(3, term=2)


def test_the_winner_tells_everybody_at_once() -> None:
    """5.2: "It then sends heartbeat messages to all of the other servers to establish its authority"."""
    sent = only(Bench(1, 2, 3, 4, 5).lead(), AppendEntries)
    assert {message.target for message in sent} == {2, 3, 4, 5}


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_candidate_returns_to_follower_for_a_legitimate_leader(ahead: int) -> None:
    """5.2: "If the leader's term ... is at least as large as the candidate's current term"."""
    bench = Bench()
    bench.stand()
    bench.receive(AppendEntries(3, 1, bench.node.term + ahead, 0, 0, 0, 0))
    assert bench.node.role is Role.FOLLOWER
    assert bench.node.leader_id == 3


def test_a_candidate_ignores_a_leader_of_the_past() -> None:
    """5.2: "the candidate rejects the RPC and continues in candidate state"."""
    bench = Bench(term=4)
    bench.stand()
    bench.receive(AppendEntries(3, 1, 4, 0, 0, 0, 0))
    assert bench.node.role is Role.CANDIDATE


def test_a_split_vote_ends_in_a_new_election_of_a_higher_term() -> None:
    """5.2: "each candidate will time out and start a new election by incrementing its term"."""
    bench = Bench()
    bench.stand()
    term = bench.node.term
    bench.sleep(2 * ELECTION_TIMEOUT_MS)
    assert bench.node.role is Role.PRE_CANDIDATE
    bench.stand()
    assert bench.node.term == term + 1


def test_election_timeouts_are_spread_over_an_interval() -> None:
    """5.2: "election timeouts are chosen randomly from a fixed interval"."""
    seen = set()
    for seed in range(200):
        bench = Bench(seed=seed)
        bench.follow(2)
        seen.add(bench.node.next_deadline() - bench.now_ms)
    assert min(seen) >= ELECTION_TIMEOUT_MS
    assert max(seen) < 2 * ELECTION_TIMEOUT_MS
    assert len(seen) > 100


def test_split_votes_are_rare_and_resolved_quickly() -> None:
    """5.2: randomised timeouts ensure "that split votes are rare and that they are resolved quickly"."""
    waited = []
    for seed in range(100):
        simulation = Simulation(seed, voters=5)
        simulation.wait_for_leader()
        simulation.do_crash_leaders()
        crashed_ms = simulation.now_ms
        simulation.wait_for_leader()
        waited.append(simulation.now_ms - crashed_ms)
    waited.sort()
    assert waited[50] <= 2 * ELECTION_TIMEOUT_MS
    assert waited[-1] <= 5 * ELECTION_TIMEOUT_MS


def test_a_group_of_one_elects_itself_at_once() -> None:
    bench = Bench(1)
    assert bench.node.next_deadline() == 0
    bench.sleep(0)
    assert bench.node.role is Role.LEADER
    assert bench.node.commit_index == 1

"""Raft paper, 6 Cluster membership changes, with the single-server changes of Ongaro's thesis, 4."""

import pytest

from kraft.raft.errors import MembershipBusyError, MembershipChangeError, NotLeaderError
from kraft.raft.membership import ChangeKind, MembershipChange
from kraft.raft.messages import AppendEntries, Entry, EntryKind, TimeoutNow
from kraft.raft.ready import Role
from tests.kraft.raft.bench import ELECTION_TIMEOUT_MS, Bench, members, only
from tests.kraft.raft.simulation import Simulation

ADD_4 = MembershipChange(ChangeKind.ADD_LEARNER, 4, "node4:1")
PROMOTE_4 = MembershipChange(ChangeKind.PROMOTE, 4)
REMOVE_1 = MembershipChange(ChangeKind.REMOVE, 1)
REMOVE_3 = MembershipChange(ChangeKind.REMOVE, 3)


def _leading(*voters: int) -> Bench:
    bench = Bench(*voters)
    bench.lead()
    for follower in bench.voters:
        bench.acknowledge(follower, 1)
    return bench


def _change(bench: Bench, change: MembershipChange) -> None:
    bench.node.propose_membership(change, bench.now_ms)
    bench.settle()


def test_a_server_uses_the_latest_configuration_in_its_log_committed_or_not() -> None:
    """6: "a server always uses the latest configuration in its log, regardless of whether ... committed"."""
    bench = Bench(1, 2, 3)
    new = members(1, 2, 3, 4, 5)
    entry = Entry(1, 1, EntryKind.MEMBERSHIP, new.encode())
    bench.receive(AppendEntries(2, 1, 1, 0, 0, 0, 0, (entry,)))
    assert bench.node.commit_index == 0
    assert bench.node.membership == new
    bench.receive(AppendEntries(3, 1, 2, 0, 0, 0, 0, (Entry(1, 2, EntryKind.NOOP),)))
    assert bench.node.membership == members(1, 2, 3), "cut away again"


def test_new_servers_join_without_a_vote_first() -> None:
    """6: "the new servers join the cluster as non-voting members ... not considered for majorities"."""
    bench = _leading(1, 2, 3)
    _change(bench, ADD_4)
    assert bench.node.membership.learners == {4}
    bench.acknowledge(4, 2)
    assert bench.node.commit_index == 1, "a learner's copy does not count"
    bench.acknowledge(2, 2)
    assert bench.node.commit_index == 2


def test_a_learner_receives_the_log_and_is_promoted_when_it_has_caught_up() -> None:
    """6: "Once the new servers have caught up with the rest of the cluster, the reconfiguration can proceed"."""
    bench = _leading(1, 2, 3)
    _change(bench, ADD_4)
    bench.acknowledge(2, 2)
    for index in range(3, 303):
        bench.propose(b"x")
        bench.acknowledge(2, index)
    with pytest.raises(MembershipBusyError, match=r"learner 4 is \d+ entries behind"):
        _change(bench, PROMOTE_4)
    bench.acknowledge(4, 302)
    _change(bench, PROMOTE_4)
    assert bench.node.membership.voters == {1, 2, 3, 4}


def test_a_silent_learner_is_not_promoted() -> None:
    bench = _leading(1)
    _change(bench, ADD_4)
    bench.sleep(ELECTION_TIMEOUT_MS)
    with pytest.raises(MembershipBusyError, match="not heard of"):
        _change(bench, PROMOTE_4)


def test_a_leader_that_is_not_in_the_new_configuration_steps_down_when_it_is_committed() -> None:
    """6: "the leader steps down (returns to follower state) once it has committed the Cnew log entry", and until
    then "it replicates log entries but does not count itself in majorities"."""
    bench = _leading(1, 2, 3)
    _change(bench, REMOVE_1)
    bench.acknowledge(2, 2)
    assert bench.node.commit_index == 1, "itself and one of {2, 3} are no majority"
    sent = bench.acknowledge(3, 2)
    assert bench.node.commit_index == 2
    assert bench.node.role is Role.FOLLOWER
    assert {m.target for m in only(sent, AppendEntries) if m.commit_index == 2} == {2, 3}
    assert [m.target for m in only(sent, TimeoutNow)] == [2], "a successor is named"


def test_a_removed_server_does_not_stand_for_election() -> None:
    bench = _leading(1, 2, 3)
    _change(bench, REMOVE_1)
    bench.acknowledge(2, 2)
    bench.acknowledge(3, 2)
    assert bench.sleep(10 * ELECTION_TIMEOUT_MS) == []


def test_a_server_whose_removal_is_not_committed_may_still_be_needed_as_leader() -> None:
    """Thesis, 4.2.2: "a server that is not part of its own latest configuration should still start new elections"."""
    simulation = Simulation(1, voters=2)
    leader = simulation.wait_for_leader()
    assert leader.leader_id is not None
    simulation.do_isolate(leader.leader_id)
    simulation.do_change(2, leader.leader_id)
    simulation.do_bounce(leader.leader_id)
    simulation.converge()


def test_a_removed_server_hears_of_its_removal() -> None:
    simulation = Simulation(2, voters=4)
    leader = simulation.wait_for_leader()
    removed = next(n for n in range(4) if n != leader.leader_id)
    simulation.do_change(2, removed)
    simulation.run(1000)
    assert removed not in simulation.node(removed).membership.voters
    assert simulation.node(removed).commit_index == leader.commit_index


def test_servers_disregard_vote_requests_while_they_believe_a_leader_exists() -> None:
    """6: "if a server receives a RequestVote RPC within the minimum election timeout of hearing from a current
    leader, it does not update its term or grant its vote"."""
    bench = Bench(1, 2, 3, term=1)
    bench.follow(2)
    bench.sleep(ELECTION_TIMEOUT_MS - 1)
    assert not bench.ask_for_vote(3, term=9)
    assert not bench.ask_for_pre_vote(3, term=9).granted
    assert bench.node.term == 1
    assert bench.ask_for_vote(3, term=9, transfer=True), "unless the leader itself asked for it"


def test_a_leader_disregards_them_too() -> None:
    bench = _leading(1, 2, 3)
    assert not bench.ask_for_vote(4, term=99)
    assert bench.node.role is Role.LEADER


def test_a_learner_that_was_promoted_without_knowing_it_gives_its_vote() -> None:
    """etcd-io/raft abb533c: voters and candidates may know different configurations."""
    bench = Bench(node_id=4, membership=members(1, 2, 3, learners=(4,)))
    assert bench.ask_for_vote(2, term=1)
    assert bench.sleep(10 * ELECTION_TIMEOUT_MS) == [], "but it does not stand"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (MembershipChange(ChangeKind.REMOVE, 9), "node 9 is not a member"),
        (MembershipChange(ChangeKind.PROMOTE, 2), "node 2 is a voter already"),
        (MembershipChange(ChangeKind.ADD_LEARNER, 2, "x:1"), "node 2 is a member already"),
        (MembershipChange(ChangeKind.ADD_LEARNER, 7), "its peer address is needed"),
    ],
)
def test_changes_that_make_no_sense_are_refused(change: MembershipChange, message: str) -> None:
    with pytest.raises(MembershipChangeError, match=message):
        _change(_leading(1, 2, 3), change)


def test_the_last_voter_cannot_be_removed() -> None:
    bench = _leading(1)
    bench.sleep(0)
    with pytest.raises(MembershipChangeError, match="there must be a voter"):
        _change(bench, REMOVE_1)


def test_only_the_leader_changes_the_members() -> None:
    bench = Bench()
    bench.follow(3)
    with pytest.raises(NotLeaderError) as refused:
        _change(bench, REMOVE_3)
    assert refused.value.leader_id == 3


def test_an_address_changes_without_touching_votes() -> None:
    bench = _leading(1)
    _change(bench, MembershipChange(ChangeKind.UPDATE, 1, "elsewhere:2", b"rack"))
    member = bench.node.membership.find(1)
    assert member is not None
    assert (member.address, member.extra, member.voter) == ("elsewhere:2", b"rack", True)


def test_a_group_grows_from_one_to_five_and_shrinks_to_the_last_two() -> None:
    simulation = Simulation(4, voters=1, spares=4)
    simulation.run(100)
    for node_id in range(1, 5):
        simulation.do_propose(3)
        simulation.do_change(0, node_id)
        simulation.run(600)
        simulation.do_change(1, node_id)
        simulation.run(600)
    assert simulation.leader().membership.voters == {0, 1, 2, 3, 4}
    for node_id in (0, 1, 2):
        simulation.do_change(2, node_id)
        simulation.run(4000)
    assert simulation.wait_for_leader().membership.voters == {3, 4}
    simulation.converge()


@pytest.mark.parametrize("seed", range(20))
def test_a_removed_server_with_its_old_log_disturbs_nobody_and_comes_back(seed: int) -> None:
    """Thesis, 4.2.3: "removed servers can disrupt the cluster"; here one with entries that nobody else has, that led
    when it lost touch and still believes to vote. It is let in as a learner, its tail is cut, then it votes again."""
    simulation = Simulation(seed, voters=4)
    removed = simulation.wait_for_leader().leader_id
    assert removed is not None
    simulation.do_strand_leaders(0)
    simulation.do_crash(removed)
    leader = simulation.wait_for_leader()
    simulation.do_propose(3)
    simulation.run(500)
    simulation.do_change(2, removed)
    simulation.run(500)
    simulation.do_propose(3)
    if seed % 2:
        for node_id in range(4):
            simulation.do_snapshot(node_id)
    simulation.do_heal()
    assert removed not in leader.membership.voters

    term, elections = leader.term, simulation.seen["elections"]
    simulation.do_restart(removed)
    assert removed in simulation.node(removed).membership.voters, "it has not heard of it"
    simulation.run(20 * ELECTION_TIMEOUT_MS)
    assert (leader.role, leader.term) == (Role.LEADER, term), "it disturbed the others"

    simulation.do_change(0, removed)
    simulation.run(1000)
    assert simulation.node(removed).membership.learners == {removed}
    assert simulation.node(removed).commit_index == leader.commit_index
    simulation.do_change(1, removed)
    simulation.run(1000)
    assert simulation.node(removed).membership.voters == {0, 1, 2, 3}
    assert (simulation.leader().term, simulation.seen["elections"]) == (term, elections)
    simulation.converge()

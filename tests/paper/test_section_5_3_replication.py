"""Raft paper, 5.3 Log replication, and Figure 7."""

import pytest

from kraft.raft.messages import AppendEntries, AppendEntriesResponse, EntryKind
from kraft.raft.ready import Role
from tests.kraft.raft.bench import Bench, entries_of, only
from tests.kraft.raft.simulation import Simulation


def test_a_leader_appends_the_command_and_sends_it_to_all_in_parallel() -> None:
    """5.3: "appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel"."""
    bench = Bench()
    bench.lead()
    for follower in (2, 3):
        bench.acknowledge(follower, 1)
    sent = only(bench.propose(b"x"), AppendEntries)
    assert bench.log == [(1, 1), (2, 1)]
    carried = [message for message in sent if message.entries]
    assert [(m.target, m.previous_index, m.previous_term) for m in carried] == [
        (2, 1, 1),
        (3, 1, 1),
    ]
    assert all(message.entries[0].data == b"x" for message in carried)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_an_entry_is_committed_when_a_majority_has_it(size: int) -> None:
    """5.3: "A log entry is committed once the leader ... has replicated it on a majority of the servers"."""
    bench = Bench(*range(1, size + 1))
    bench.lead()
    for follower in bench.voters:
        bench.acknowledge(follower, 1)
    bench.propose(b"x")
    copies = 1
    for follower in bench.voters:
        assert (bench.node.commit_index == 2) == (copies > size // 2)
        bench.acknowledge(follower, 2)
        copies += 1
    assert bench.node.commit_index == 2
    assert bench.applied[-1].data == b"x"


def test_an_entry_is_sent_again_until_the_follower_has_it() -> None:
    """5.3: "the leader retries AppendEntries RPCs indefinitely ... until all followers eventually store all"."""
    simulation = Simulation(3)
    simulation.wait_for_leader()
    simulation.do_weather(25, 0, 50)
    for _ in range(20):
        simulation.do_propose(2)
        simulation.run(200)
    simulation.converge()
    assert simulation.ghost.last_committed >= 30


def test_committing_an_entry_commits_those_of_earlier_leaders_before_it() -> None:
    """5.3: "This also commits all preceding entries in the leader's log, including ... by previous leaders"."""
    bench = Bench(log=(1, 2, 2))
    bench.lead()
    assert bench.applied == []
    bench.acknowledge(2, 4)
    assert bench.node.commit_index == 4
    assert [entry.term for entry in bench.applied] == [1, 2, 2, 3]


def test_followers_learn_the_commit_index_and_apply_in_log_order() -> None:
    """5.3: "Once a follower learns that a log entry is committed, it applies the entry ... (in log order)"."""
    bench = Bench()
    entries = tuple(entries_of(1, 1, 1))
    bench.receive(AppendEntries(2, 1, 1, 0, 0, 1, 0, entries))
    assert [entry.index for entry in bench.applied] == [1]
    bench.follow(2, commit=3)
    assert [entry.index for entry in bench.applied] == [1, 2, 3]


def test_the_news_of_a_commit_travels_at_once() -> None:
    bench = Bench(1, 2, 3, 4, 5)
    bench.lead()
    bench.acknowledge(3, 1)
    sent = only(bench.acknowledge(2, 1), AppendEntries)
    assert {(message.target, message.commit_index) for message in sent} == {(2, 1), (3, 1)}


@pytest.mark.parametrize(
    ("log", "index", "term", "fits"),
    [
        ((), 0, 0, True),
        ((1, 1), 0, 0, True),
        ((1, 1), 2, 1, True),
        ((1, 1), 1, 1, True),
        ((), 1, 1, False),
        ((1, 1), 3, 1, False),
        ((1, 1), 2, 2, False),
        ((1, 2), 1, 2, False),
    ],
)
def test_a_follower_refuses_entries_that_do_not_follow_its_log(
    log: tuple[int, ...], index: int, term: int, fits: bool
) -> None:
    """5.3: "If the follower does not find an entry in its log with the same index and term, then it refuses"."""
    bench = Bench(log=log)
    sent = bench.receive(AppendEntries(2, 1, 3, index, term, 0, 0))
    (answer,) = only(sent, AppendEntriesResponse)
    assert answer.success is fits


# Figure 7: the leader of term 8 and what its followers may have.
LEADER_OF_FIGURE_7 = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
FOLLOWERS_OF_FIGURE_7 = {
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("name", FOLLOWERS_OF_FIGURE_7)
def test_figure_7_the_leader_makes_every_followers_log_equal_to_its_own(name: str) -> None:
    """5.3: "the leader must find the latest log entry where the two logs agree, delete any entries in the
    follower's log after that point, and send the follower all of the leader's entries after that point"."""
    leader = Bench(1, 2, 3, log=LEADER_OF_FIGURE_7, term=7)
    follower = Bench(1, 2, 3, node_id=2, log=FOLLOWERS_OF_FIGURE_7[name], term=7)
    refusals = _replicate(leader, follower)
    assert leader.terms == [*LEADER_OF_FIGURE_7, 8]
    assert follower.log == leader.log
    # 5.3: "one AppendEntries RPC will be required for each term with conflicting entries".
    assert refusals <= 2


def _replicate(leader: Bench, follower: Bench) -> int:
    """Exchange messages between the two until they are silent. Returns how many were refused."""
    to_follower, refusals = [m for m in leader.lead() if m.target == follower.node_id], 0
    for _ in range(50):
        if not to_follower:
            return refusals
        answers = [
            answer
            for message in to_follower
            for answer in only(follower.receive(message), AppendEntriesResponse)
        ]
        refusals += sum(not answer.success for answer in answers)
        to_follower = [
            message
            for answer in answers
            for message in leader.receive(answer)
            if message.target == follower.node_id
        ]
    raise AssertionError("no end of messages")


def test_backing_up_takes_one_refusal_for_each_conflicting_term_not_for_each_entry() -> None:
    """5.3, the optimisation of the last paragraphs but one."""
    leader = Bench(1, 2, 3, log=(1, *(5 for _ in range(300))), term=5)
    follower = Bench(
        1, 2, 3, node_id=2, log=(1, *(2 for _ in range(100)), *(3 for _ in range(200))), term=5
    )
    assert _replicate(leader, follower) <= 3
    assert follower.log == leader.log


def test_a_leader_never_overwrites_or_deletes_its_own_entries() -> None:
    """5.3, Leader Append-Only: whatever its followers answer."""
    bench = Bench(log=(1, 1, 2))
    bench.lead()
    before = bench.log
    for index in (0, 2, 3, 4):
        bench.receive(
            AppendEntriesResponse(
                2, 1, bench.node.term, success=False, index=index, round=0, hint_index=0
            )
        )
        assert bench.log == before
    assert all(persist.truncate_from is None for persist in bench.persists)


def test_a_slow_follower_does_not_hold_back_the_others() -> None:
    """5.3: "a single slow follower will not impact performance"."""
    bench = Bench()
    bench.lead()
    for index in range(2, 200):
        bench.propose(b"x")
        bench.acknowledge(2, index)
    assert bench.node.commit_index == 199


def test_followers_only_append_what_conflicts_or_is_new() -> None:
    """Figure 2, AppendEntries 3 and 4: an old message in the middle of the log cuts nothing."""
    bench = Bench()
    bench.receive(AppendEntries(2, 1, 1, 0, 0, 0, 0, tuple(entries_of(1, 1, 1, 1))))
    bench.receive(AppendEntries(2, 1, 1, 0, 0, 0, 0, tuple(entries_of(1, 1))))
    assert bench.terms == [1, 1, 1, 1]
    assert all(persist.truncate_from is None for persist in bench.persists)


def test_section_5_5_requests_repeated_or_reordered_do_no_harm() -> None:
    """5.5: "Raft RPCs are idempotent, so this causes no harm"."""
    simulation = Simulation(11)
    simulation.wait_for_leader()
    simulation.do_weather(0, 60, 300)
    for _ in range(20):
        simulation.do_propose(3)
        simulation.run(100)
    simulation.converge()
    commands = [data for _, data in simulation.ghost.committed if data]
    assert len(commands) == len(set(commands)) >= 60


def test_a_leader_begins_its_term_with_an_entry_without_a_command() -> None:
    bench = Bench()
    sent = only(bench.lead(), AppendEntries)
    assert bench.node.role is Role.LEADER
    assert [entry.kind for message in sent for entry in message.entries] == 2 * [EntryKind.NOOP]

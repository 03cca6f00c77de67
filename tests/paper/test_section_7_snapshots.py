"""Raft paper, 7 Log compaction, Figures 12 and 13."""

from zlib import crc32

from kraft.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    SnapshotMeta,
)
from kraft.raft.ready import Role
from tests.kraft.raft.bench import Bench, entries_of, members, only, snapshot_of
from tests.kraft.raft.simulation import Simulation

DATA = b"0123456789"


def _snapshot(index: int, term: int, data: bytes = DATA) -> SnapshotMeta:
    return snapshot_of(index, term, 1, 2, 3, data=data)


def _chunk(snapshot: SnapshotMeta, offset: int, data: bytes, term: int = 5) -> InstallSnapshot:
    return InstallSnapshot(2, 1, term, snapshot, offset, data)


def test_a_snapshot_takes_the_place_of_the_log_behind_it() -> None:
    """Figure 12: the server keeps the last included index and term, for the consistency check."""
    bench = Bench(1, log=(1, 1, 2), commit=3, trailing_entries=0)
    bench.settle()
    index, term, membership = bench.node.snapshot_position()
    assert (index, term) == (3, 2)
    bench.node.compact(SnapshotMeta(index, term, membership, 0, 0))
    assert bench.log == []
    assert bench.node.first_index == 4
    bench.sleep(0)
    assert bench.log == [(4, 3)]


def test_trailing_entries_stay_for_followers_that_are_a_little_behind() -> None:
    bench = Bench(1, log=(1, 1, 2, 2), commit=4, trailing_entries=2)
    index, term, membership = bench.node.snapshot_position()
    bench.node.compact(SnapshotMeta(index, term, membership, 0, 0))
    assert bench.log == [(3, 2), (4, 2)]


def test_a_follower_that_needs_discarded_entries_gets_the_snapshot_in_chunks() -> None:
    """7: "The leader uses a new RPC called InstallSnapshot"; chunks follow each other, then the log goes on."""
    snapshot = _snapshot(4, 2)
    bench = Bench(1, 2, 3, snapshot=snapshot, log=(2,), snapshot_chunk_bytes=4)
    sent = bench.lead()
    assert only(sent, InstallSnapshot) == [], "nobody has refused anything yet"
    term = bench.node.term
    bench.receive(AppendEntriesResponse(2, 1, term, success=False, index=5, round=0))
    (first,) = only(bench.sent, InstallSnapshot)
    assert (first.snapshot, first.offset, len(first.data)) == (snapshot, 0, 4)
    (second,) = only(
        bench.receive(InstallSnapshotResponse(2, 1, term, 4, 4, False)), InstallSnapshot
    )
    (third,) = only(
        bench.receive(InstallSnapshotResponse(2, 1, term, 4, 8, False)), InstallSnapshot
    )
    assert [(m.offset, len(m.data)) for m in (second, third)] == [(4, 4), (8, 2)]
    sent = bench.receive(InstallSnapshotResponse(2, 1, term, 4, 10, True))
    carried = [entry.index for m in only(sent, AppendEntries) for entry in m.entries]
    assert carried == [5, 6]


def test_figure_13_chunks_are_put_together_and_the_whole_log_is_discarded() -> None:
    """Figure 13, 2-7: a follower whose log ends before the snapshot, or conflicts with it."""
    snapshot = snapshot_of(9, 4, 1, 2, 5, data=DATA)
    bench = Bench(1, 2, 3, log=(1, 1, 3, 3), snapshot_chunk_bytes=4)
    answers = []
    for offset in (0, 4, 8):
        sent = bench.receive(_chunk(snapshot, offset, DATA[offset : offset + 4]))
        answers += only(sent, InstallSnapshotResponse)
    assert [(m.next_offset, m.installed) for m in answers] == [(4, False), (8, False), (10, True)]
    assert bench.log == []
    assert (bench.node.commit_index, bench.node.applied_index, bench.node.first_index) == (9, 9, 10)
    assert bench.node.membership == members(1, 2, 5)
    persisted = [persist for persist in bench.persists if persist.snapshot is not None]
    assert [persist.snapshot for persist in persisted] == [snapshot]


def test_figure_13_entries_behind_a_snapshot_that_fits_are_kept() -> None:
    """Figure 13, 6: "If existing log entry has same index and term as snapshot's last included entry, retain"."""
    bench = Bench(1, 2, 3, log=(1, 1, 2, 2, 2))
    (answer,) = only(bench.receive(_chunk(_snapshot(3, 2), 0, DATA)), InstallSnapshotResponse)
    assert answer.installed
    assert bench.terms == [1, 1, 2, 2, 2]
    assert bench.node.commit_index == 3
    assert all(persist.snapshot is None for persist in bench.persists)


def test_an_old_snapshot_changes_nothing() -> None:
    bench = Bench(1, 2, 3, log=(1, 1, 2), commit=3)
    (answer,) = only(bench.receive(_chunk(_snapshot(2, 1), 0, DATA)), InstallSnapshotResponse)
    assert answer.installed
    assert bench.node.commit_index == 3


def test_a_chunk_out_of_order_is_answered_with_the_offset_wanted() -> None:
    bench = Bench(1, 2, 3)
    snapshot = _snapshot(9, 4)
    bench.receive(_chunk(snapshot, 0, DATA[:4]))
    for offset in (8, 0):
        (answer,) = only(
            bench.receive(_chunk(snapshot, offset, DATA[offset:])), InstallSnapshotResponse
        )
        assert (answer.next_offset, answer.installed) == (4, False)


def test_a_snapshot_damaged_on_its_way_is_not_installed_and_begins_anew() -> None:
    bench = Bench(1, 2, 3, log=(1,))
    snapshot = _snapshot(9, 4)
    (answer,) = only(bench.receive(_chunk(snapshot, 0, b"0123456780")), InstallSnapshotResponse)
    assert (answer.next_offset, answer.installed) == (0, False)
    assert bench.log == [(1, 1)]
    (answer,) = only(bench.receive(_chunk(snapshot, 0, DATA)), InstallSnapshotResponse)
    assert answer.installed


def test_two_snapshots_in_a_row_leave_the_later_one() -> None:
    """etcd #18055: the second arrives before the first is durable."""
    bench = Bench(1, 2, 3)
    bench.auto_persist = False
    later = snapshot_of(20, 4, 1, 2, 3, data=b"later")
    bench.receive(_chunk(_snapshot(9, 4), 0, DATA))
    bench.receive(_chunk(later, 0, b"later"))
    assert bench.node.applied_index == 0
    assert only(bench.waiting, InstallSnapshotResponse)
    bench.persist()
    bench.settle()
    assert bench.node.applied_index == 20
    assert bench.node.snapshot == later


def test_nothing_is_applied_or_acknowledged_before_the_snapshot_is_durable() -> None:
    bench = Bench(1, 2, 3)
    bench.auto_persist = False
    sent = bench.receive(_chunk(_snapshot(9, 4), 0, DATA))
    sent += bench.receive(AppendEntries(2, 1, 5, 9, 4, 10, 0, tuple(entries_of(5, after=9))))
    assert sent == []
    assert bench.applied == []
    bench.persist()
    bench.settle()
    assert [entry.index for entry in bench.applied] == [10]


def test_a_newcomer_catches_up_by_snapshot_and_log() -> None:
    """7, seen from outside: state(snapshot) + log suffix == state(full log), which the simulation asserts."""
    simulation = Simulation(8, voters=3, spares=1)
    leader = simulation.wait_for_leader()
    for _ in range(20):
        simulation.do_propose(5)
        simulation.run(50)
    for node_id in range(3):
        simulation.do_snapshot(node_id)
    assert leader.first_index > 50
    simulation.do_change(0, 3)
    simulation.run(1000)
    simulation.do_propose(2)
    simulation.converge()
    assert simulation.seen["snapshots installed"] == 1
    assert simulation.node(3).applied_index == leader.commit_index
    assert leader.role is Role.LEADER


def test_the_checksum_is_of_the_state_machines_bytes() -> None:
    assert _snapshot(1, 1).checksum == crc32(DATA)

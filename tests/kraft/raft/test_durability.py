"""What is handed to the disk, and what its answers mean when the log was cut meanwhile."""

from kraft.raft.durability import Durability
from kraft.raft.log import RaftLog
from kraft.raft.messages import Entry, HardState
from kraft.raft.ready import Persist
from tests.kraft.raft.bench import entries_of, snapshot_of


class _Disk:
    def __init__(self, *terms: int) -> None:
        self.log = RaftLog(0, 0, entries_of(*terms))
        self.durability = Durability(HardState(), self.log.last_index)

    def append(self, *entries: Entry) -> None:
        for entry in entries:
            self.log.append(entry)

    def cut(self, index: int) -> None:
        self.log.truncate_from(index)
        self.durability.truncated(index)

    def take(self, term: int = 0, vote: int | None = None) -> Persist:
        persist = self.durability.take(term, vote, self.log)
        assert persist is not None
        return persist


def test_nothing_new_is_nothing_to_persist() -> None:
    disk = _Disk(1, 1)
    assert disk.durability.take(0, None, disk.log) is None


def test_each_entry_and_each_hard_state_is_handed_over_once() -> None:
    disk = _Disk()
    disk.append(*entries_of(1, 1))
    first = disk.take(1, 2)
    disk.append(Entry(3, 1))
    second = disk.take(1, 2)
    assert [entry.index for entry in first.entries] == [1, 2]
    assert first.hard_state == HardState(1, 2)
    assert [entry.index for entry in second.entries] == [3]
    assert second.hard_state is None


def test_many_changes_between_two_calls_are_one_persist() -> None:
    disk = _Disk(1, 1, 1)
    disk.cut(3)
    disk.append(Entry(3, 2), Entry(4, 2))
    disk.cut(2)
    disk.append(Entry(2, 3))
    persist = disk.take(3)
    assert persist.truncate_from == 2
    assert [(entry.index, entry.term) for entry in persist.entries] == [(2, 3)]


def test_a_cut_of_entries_never_handed_over_is_not_told_to_the_disk() -> None:
    disk = _Disk(1)
    disk.append(Entry(2, 1), Entry(3, 1))
    disk.cut(3)
    persist = disk.take(1)
    assert persist.truncate_from is None
    assert [entry.index for entry in persist.entries] == [2]


def test_what_was_cut_while_on_its_way_is_not_durable_when_the_answer_comes() -> None:
    """The same index and term may come back later and be on its way anew (etcd's ABA problem)."""
    disk = _Disk(1)
    disk.append(Entry(2, 2), Entry(3, 2))
    first = disk.take(2)
    disk.cut(2)
    disk.append(Entry(2, 3))
    disk.take(3)
    disk.cut(2)
    disk.append(Entry(2, 2))
    third = disk.take(4)
    disk.durability.persisted(first.sequence)
    assert disk.durability.persisted_index == 1
    disk.durability.persisted(third.sequence)
    assert disk.durability.persisted_index == 2
    assert disk.durability.durable_hard_state == HardState(4)


def test_an_answer_covers_all_persists_before_it() -> None:
    disk = _Disk()
    for index in (1, 2, 3):
        disk.append(Entry(index, 1))
        persist = disk.take(1)
    disk.durability.persisted(persist.sequence)
    assert disk.durability.persisted_index == 3


def test_until_a_snapshot_is_durable_only_the_committed_part_of_the_old_log_counts() -> None:
    disk = _Disk(1, 1, 1, 1)
    snapshot = snapshot_of(9, 4, 1)
    disk.log.reset(9, 4)
    disk.durability.installed(snapshot, commit_index=2)
    disk.append(Entry(10, 4))
    persist = disk.take(4)
    assert (persist.snapshot, persist.truncate_from) == (snapshot, None)
    assert [entry.index for entry in persist.entries] == [10]
    assert disk.durability.persisted_index == 2
    assert disk.durability.persisted(persist.sequence) == snapshot
    assert disk.durability.persisted_index == 10

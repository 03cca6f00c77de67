"""Durable Raft state: what was persisted is there after any crash, what was not is whole or gone (R1, R2, R10-R12)."""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import pytest

from kraft.raft.messages import Entry, EntryKind, HardState, SnapshotMeta
from kraft.raft.ready import ChunkReceived, ChunkToSend, Persist, Restored
from kraft.store import FOLDER, RaftStore
from kraft.store_writer import StoreWriter
from storage.errors import DiskFullError, LogDamagedError, OttlaError, UnreadableFileError
from tests.kraft.raft.bench import entries_of, snapshot_of
from tests.simulation.disk import SimDisk
from tests.simulation.loop import simulate


def _persist(
    *entries: Entry,
    state: HardState | None = None,
    cut: int | None = None,
    snapshot: SnapshotMeta | None = None,
    sequence: int = 1,
) -> deque[Persist]:
    return deque([Persist(sequence, state, snapshot, cut, entries)])


class CrashError(Exception):
    """The power fails here."""


def _fail_at(disk: SimDisk, step: int) -> list[str]:
    """Let the power fail before the durable step of this number. Returns the steps as they come."""
    steps: list[str] = []

    def on_step(name: str) -> None:
        steps.append(name)
        if len(steps) > step:
            raise CrashError(name)

    disk.on_step = on_step
    return steps


def _after_every_crash(
    prepare: Callable[[RaftStore], Awaitable[None]],
    work: Callable[[RaftStore], Awaitable[None]],
    check: Callable[[Restored, bool], None],
    segment_bytes: int = 1 << 20,
) -> int:
    """Do `work` with a crash before each of its durable steps in turn and `check` what is found. Returns the steps."""
    for step in range(1000):
        for seed in range(6):
            done = simulate(_crash_once(prepare, work, check, step, seed, segment_bytes))
        if done:
            return step
    raise AssertionError("the work never ends")


async def _crash_once(
    prepare: Callable[[RaftStore], Awaitable[None]],
    work: Callable[[RaftStore], Awaitable[None]],
    check: Callable[[Restored, bool], None],
    step: int,
    seed: int,
    segment_bytes: int,
) -> bool:
    disk = SimDisk(random.Random(seed))
    store = await RaftStore.open(disk, segment_bytes=segment_bytes)
    await prepare(store)
    _fail_at(disk, step)
    try:
        await work(store)
        done = True
    except (CrashError, OttlaError):
        done = False
    disk.on_step = None
    disk.crash()
    found = (await RaftStore.open(disk, segment_bytes=segment_bytes)).restored()
    check(found, done)
    # What was found once is found again.
    disk.crash()
    again = await RaftStore.open(disk, segment_bytes=segment_bytes)
    assert again.restored() == found
    return done


async def _nothing(_: RaftStore) -> None:
    pass


def test_what_was_persisted_is_found_again() -> None:
    async def scenario() -> None:
        disk = SimDisk(random.Random(1))
        store = await RaftStore.open(disk)
        assert store.restored() == Restored(entries=[])
        entries = [
            Entry(1, 1, EntryKind.NOOP),
            Entry(2, 1, EntryKind.COMMAND, b"x"),
            Entry(3, 4, EntryKind.MEMBERSHIP, b"\0" * 5000),
        ]
        await store.persist(_persist(*entries, state=HardState(4, 2)))
        disk.crash()
        found = (await RaftStore.open(disk)).restored()
        assert found.hard_state == HardState(4, 2)
        assert list(found.entries) == entries

    simulate(scenario())


def test_r2_term_and_vote_are_old_or_new_at_every_crash() -> None:
    async def old(store: RaftStore) -> None:
        await store.persist(_persist(state=HardState(3, 1)))

    async def new(store: RaftStore) -> None:
        await store.persist(_persist(state=HardState(4, 2)))

    def check(found: Restored, done: bool) -> None:
        assert found.hard_state in (
            [HardState(4, 2)] if done else [HardState(3, 1), HardState(4, 2)]
        )

    assert _after_every_crash(old, new, check) >= 1


def test_r1_entries_are_a_prefix_at_every_crash_and_all_there_once_persisted() -> None:
    entries = entries_of(1, 1, 1, 2, 2)

    async def work(store: RaftStore) -> None:
        await store.persist(_persist(*entries[:2], state=HardState(1, 1)))
        await store.persist(_persist(*entries[2:], state=HardState(2, 1)))

    def check(found: Restored, done: bool) -> None:
        kept = list(found.entries)
        assert kept == entries[: len(kept)]
        if done:
            assert kept == entries
        if any(entry.term == 2 for entry in kept):
            assert found.hard_state.term == 2, "a term is durable before its entries"

    _after_every_crash(_nothing, work, check)


def test_a_replaced_tail_is_old_or_new_at_every_crash_never_a_mixture() -> None:
    old, new = entries_of(1, 1, 1, 1, 1), entries_of(1, 1, 3, 3)

    async def before(store: RaftStore) -> None:
        await store.persist(_persist(*old))

    async def work(store: RaftStore) -> None:
        await store.persist(_persist(*new[2:], cut=3, state=HardState(3, None)))

    def check(found: Restored, done: bool) -> None:
        kept = list(found.entries)
        allowed = [new] if done else [old, *(new[:length] for length in range(2, 5))]
        assert kept in allowed

    _after_every_crash(before, work, check)


async def _receive(store: RaftStore, snapshot: SnapshotMeta, data: bytes) -> None:
    for offset in range(0, len(data), 4):
        store.write_chunk(ChunkReceived(snapshot, offset, data[offset : offset + 4]))


@pytest.mark.parametrize("terms", [(), (1, 1), (1, 1, 1, 1), tuple(1 for _ in range(20))])
def test_r10_an_install_is_done_or_not_at_every_crash(terms: tuple[int, ...]) -> None:
    """hashicorp f10b599: the old log must never be found beside, or behind, the snapshot."""
    old, data = entries_of(*terms), b"all of the state"
    snapshot = snapshot_of(9, 5, 1, 2, 3, data=data)
    after = entries_of(5, 6, after=9)

    async def before(store: RaftStore) -> None:
        if old:
            await store.persist(_persist(*old, state=HardState(1, None)))

    async def work(store: RaftStore) -> None:
        await _receive(store, snapshot, data)
        await store.persist(_persist(*after, snapshot=snapshot, state=HardState(6, None)))

    def check(found: Restored, done: bool) -> None:
        if found.snapshot is None:
            assert not done
            assert list(found.entries) == old
        else:
            assert found.snapshot == snapshot
            assert list(found.entries) == after[: len(found.entries)]
            assert not done or list(found.entries) == after

    assert _after_every_crash(before, work, check) >= 4


def test_r10_an_own_snapshot_and_its_compaction_lose_nothing_at_any_crash() -> None:
    entries = entries_of(*(1 for _ in range(60)))
    snapshot = snapshot_of(50, 1, 1, data=b"fifty")

    async def before(store: RaftStore) -> None:
        for entry in entries:
            await store.persist(_persist(entry))

    async def work(store: RaftStore) -> None:
        await store.save_snapshot(snapshot, b"fifty")
        await store.compact(45)

    def check(found: Restored, done: bool) -> None:
        kept = list(found.entries)
        assert kept == entries[-len(kept) :]
        if found.snapshot is None:
            assert not done
            assert kept == entries
        else:
            assert kept[0].index <= 51
        if done:
            assert kept[0].index == 45

    _after_every_crash(before, work, check, segment_bytes=500)


def test_compaction_deletes_segments_and_older_snapshots() -> None:
    async def scenario() -> None:
        disk = SimDisk(random.Random(2))
        store = await RaftStore.open(disk, segment_bytes=1000)
        for round_ in range(5):
            for entry in entries_of(*(1 for _ in range(100)), after=100 * round_):
                await store.persist(_persist(entry))
            index = 100 * round_ + 90
            await store.save_snapshot(snapshot_of(index, 1, 1), b"state")
            await store.compact(index - 20)
        files = [name for name in disk.files() if FOLDER in name]
        assert (
            len([name for name in files if name.endswith(".checkpoint") and "-" in name[-20:]]) == 1
        )
        assert disk.used_bytes() < 10_000
        found = (await RaftStore.open(disk, segment_bytes=1000)).restored()
        assert found.entries[0].index == 470
        assert found.entries[-1].index == 500

    simulate(scenario())


def test_a_snapshot_travels_from_one_store_to_another() -> None:
    async def scenario() -> None:
        data = bytes(range(256)) * 10
        snapshot = snapshot_of(7, 2, 1, 2, data=data)
        source = await RaftStore.open(SimDisk(random.Random(1)))
        await source.persist(_persist(*entries_of(*(2 for _ in range(7)))))
        await source.save_snapshot(snapshot, data)
        target = await RaftStore.open(SimDisk(random.Random(2)))
        for offset in range(0, len(data), 1000):
            length = min(1000, len(data) - offset)
            chunk = source.read_chunk(ChunkToSend(1, 2, 2, snapshot, offset, length))
            assert chunk is not None
            target.write_chunk(ChunkReceived(snapshot, offset, chunk))
        await target.persist(_persist(snapshot=snapshot))
        assert target.snapshot_data() == data
        other = snapshot_of(8, 2, 1, 2, data=data)
        assert source.read_chunk(ChunkToSend(1, 2, 2, other, 0, 10)) is None, "not this one"

    simulate(scenario())


def test_a_transfer_that_begins_anew_leaves_nothing_of_the_first_attempt() -> None:
    async def scenario() -> None:
        store = await RaftStore.open(SimDisk(random.Random(1)))
        first, second = snapshot_of(5, 1, 1, data=b"aaaaaaaa"), snapshot_of(6, 1, 1, data=b"bbbb")
        store.write_chunk(ChunkReceived(first, 0, b"aaaa"))
        store.write_chunk(ChunkReceived(second, 0, b"bbbb"))
        await store.persist(_persist(snapshot=second))
        assert store.snapshot_data() == b"bbbb"

    simulate(scenario())


def test_two_installs_in_one_persist_leave_the_later() -> None:
    async def scenario() -> None:
        disk = SimDisk(random.Random(1))
        store = await RaftStore.open(disk)
        first, second = snapshot_of(5, 1, 1, data=b"aaaa"), snapshot_of(9, 1, 1, data=b"bbbb")
        await _receive(store, first, b"aaaa")
        await _receive(store, second, b"bbbb")
        await store.persist(
            deque([Persist(1, None, first, None, ()), Persist(2, None, second, None, ())])
        )
        disk.crash()
        reopened = await RaftStore.open(disk)
        assert reopened.restored().snapshot == second
        assert reopened.snapshot_data() == b"bbbb"

    simulate(scenario())


def test_a_damaged_vote_is_an_error_never_a_forgotten_vote() -> None:
    async def scenario() -> None:
        disk = SimDisk(random.Random(1))
        store = await RaftStore.open(disk)
        await store.persist(_persist(state=HardState(3, 1)))
        disk.flip_bit(f"{FOLDER}/quorum-state", 15)
        with pytest.raises(UnreadableFileError, match="quorum-state"):
            await RaftStore.open(disk)

    simulate(scenario())


@pytest.mark.parametrize("position", [3, 30, -1])
def test_a_damaged_snapshot_is_named_and_nothing_is_deleted(position: int) -> None:
    async def scenario() -> None:
        disk = SimDisk(random.Random(1))
        store = await RaftStore.open(disk)
        await store.persist(_persist(*entries_of(1, 1, 1)))
        await store.save_snapshot(snapshot_of(2, 1, 1), b"state")
        (path,) = [name for name in disk.files() if name.endswith("-0000000001.checkpoint")]
        size = len(disk.files()[path])
        disk.flip_bit(path, position % size)
        files = set(disk.files())
        with pytest.raises(UnreadableFileError, match=r"-0000000001\.checkpoint"):
            (await RaftStore.open(disk)).snapshot_data()
        assert set(disk.files()) >= files

    simulate(scenario())


def test_entries_missing_between_snapshot_and_log_are_damage() -> None:
    async def scenario() -> None:
        disk = SimDisk(random.Random(1))
        store = await RaftStore.open(disk, segment_bytes=200)
        for entry in entries_of(*(1 for _ in range(20))):
            await store.persist(_persist(entry))
        await store.save_snapshot(snapshot_of(15, 1, 1), b"state")
        await store.compact(15)
        (path,) = [name for name in disk.files() if name.endswith("-0000000001.checkpoint")]
        await disk.remove(path)
        with pytest.raises(LogDamagedError, match="entries 1 to 14"):
            await RaftStore.open(disk, segment_bytes=200)

    simulate(scenario())


def test_s1_after_a_failed_sync_nothing_is_persisted_any_more() -> None:
    async def scenario() -> None:
        disk = SimDisk(random.Random(1))
        store = await RaftStore.open(disk)
        disk.fail_next_sync()
        with pytest.raises(OttlaError):
            await store.persist(_persist(*entries_of(1)))
        with pytest.raises(OttlaError):
            await store.persist(_persist(*entries_of(1, 1)[1:]))

    simulate(scenario())


def test_a_full_disk_is_told_and_the_same_persists_succeed_once_there_is_room() -> None:
    async def scenario() -> None:
        disk = SimDisk(random.Random(1))
        store = await RaftStore.open(disk)
        disk.capacity = disk.used_bytes() + 300
        entries = [Entry(index, 1, EntryKind.COMMAND, b"x" * 100) for index in range(1, 6)]
        persists = deque(
            Persist(entry.index, HardState(1, entry.index), None, None, (entry,))
            for entry in entries
        )
        with pytest.raises(DiskFullError):
            await store.persist(persists)
        assert 0 < len(persists) <= 5
        disk.capacity = None
        await store.persist(persists)
        disk.crash()
        found = (await RaftStore.open(disk)).restored()
        assert list(found.entries) == entries
        assert found.hard_state == HardState(1, 5)

    simulate(scenario())


@pytest.mark.parametrize("seed", range(20))
def test_r11_appends_and_snapshots_that_interleave_give_every_index_once(seed: int) -> None:
    """redpanda 189098d7ee: append against prefix truncation, with a pause at every await."""

    async def scenario() -> None:
        rng = random.Random(seed)
        disk = SimDisk(rng, sync_seconds=(0.0, 0.01))
        store = await RaftStore.open(disk, segment_bytes=400)
        writer = StoreWriter(store, lambda: None)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(writer.run())
            last = 0
            for sequence in range(1, 80):
                entries = entries_of(*(1 for _ in range(rng.randrange(1, 4))), after=last)
                last = entries[-1].index
                writer.persist(Persist(sequence, None, None, None, tuple(entries)))
                await asyncio.sleep(rng.uniform(0, 0.01))
                durable = store.restored().entries[-1].index if writer.persisted_sequence else 0
                if not writer.saving_snapshot and durable > 5:
                    snapshot = snapshot_of(durable - 2, 1, 1)
                    writer.save_snapshot(snapshot, b"state", _keep_behind(durable - 4))
            writer.stop()
        assert writer.persisted_sequence == 79
        disk.crash()
        found = (await RaftStore.open(disk, segment_bytes=400)).restored()
        indexes = [entry.index for entry in found.entries]
        assert indexes == list(range(indexes[0], last + 1))
        assert found.snapshot is not None
        assert indexes[0] <= found.snapshot.index + 1

    simulate(scenario())


def _keep_behind(first: int) -> Callable[[SnapshotMeta], int]:
    return lambda _: first


@pytest.mark.parametrize("seed", range(60))
def test_random_persists_with_power_loss_match_a_model(seed: int) -> None:
    async def scenario() -> None:
        rng = random.Random(seed)
        disk = SimDisk(rng)
        store = await RaftStore.open(disk, segment_bytes=600)
        log: list[Entry] = []
        term = 1
        for sequence in range(1, 40):
            term += rng.random() < 0.3
            cut = rng.randrange(1, len(log) + 1) if log and rng.random() < 0.3 else None
            kept = log if cut is None else log[: cut - 1]
            new = [
                Entry(len(kept) + 1 + n, term, EntryKind.COMMAND, b"%d" % sequence)
                for n in range(3)
            ]
            candidate = [*kept, *new]
            if rng.random() < 0.2:
                _fail_at(disk, rng.randrange(3))
            try:
                await store.persist(
                    _persist(*new, cut=cut, state=HardState(term, None), sequence=sequence)
                )
                log = candidate
            except (CrashError, OttlaError):
                disk.on_step = None
                disk.crash()
                store = await RaftStore.open(disk, segment_bytes=600)
                found = list(store.restored().entries)
                assert _is_one_of(found, log, kept, candidate)
                log = found
            disk.on_step = None
        disk.crash()
        store = await RaftStore.open(disk, segment_bytes=600)
        assert list(store.restored().entries) == log

    simulate(scenario())


def _is_one_of(
    found: Sequence[Entry], old: Sequence[Entry], kept: Sequence[Entry], new: Sequence[Entry]
) -> bool:
    """The old log, or the new one without some of its last entries, but with all that was kept."""
    return found == old or (len(found) >= len(kept) and found == list(new)[: len(found)])

"""PartitionLog against a list, with power losses, kills, clean restarts and cuts between any two steps."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from storage.log_config import LogConfig
from storage.log_replay import replay
from storage.partition_log import PartitionLog
from storage.producer_state import ProducerStates
from storage.record_batch import parse_header
from storage.steps import at_once
from tests.simulation.disk import SimDisk
from tests.storage.batches import NOW_MS, batch, batches_of, epochs_in

Batches = tuple[tuple[int, int, bytes], ...]
FOLDER = "t-0"


class LogMachine(RuleBasedStateMachine):
    """`states` are those the log went through since it was last durable, each with the least that must be left of
    it: a power loss may bring back any of them, cut at a batch, and nothing else."""

    @initialize(seed=st.integers(0, 2**32), segment_bytes=st.sampled_from([150, 400, 10_000]))
    def start(self, seed: int, segment_bytes: int) -> None:
        """A fresh log on a fresh disk."""
        self.rng = random.Random(seed)
        self.disk = SimDisk(self.rng)
        self.config = LogConfig(segment_bytes=segment_bytes, index_interval_bytes=100)
        self.loop = asyncio.new_event_loop()
        self.log = PartitionLog.create(self.disk, FOLDER, self.config, now_ms=NOW_MS)
        # As LogDirectory makes one: its name is durable before anything is in it.
        self.run(self.disk.write_atomic(f"{FOLDER}/partition.meta", b"x"))
        self.log_start = 0
        self.durable_start = 0
        self.model: Batches = ()
        self.end = 0
        self.states: list[tuple[Batches, int, int]] = [((), 0, 0)]
        self.epoch = 0
        self.sequences: dict[int, tuple[int, int]] = {}
        self.count = 0

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """To its end, on this machine's loop."""
        return self.loop.run_until_complete(coroutine)

    def changed(self, model: Batches, end: int) -> None:
        """Remember a new state; a cut lowers the end of what a power loss must leave."""
        self.model, self.end = model, end
        self.states.append((model, end, min(end, self.states[-1][2])))

    def all_durable(self) -> None:
        """Only the present state can come back."""
        self.states = [(self.model, self.end, self.end)]

    @rule(records=st.integers(1, 4), size=st.integers(0, 120), bump=st.booleans())
    def append(self, records: int, size: int, bump: bool) -> None:
        """As a leader, sometimes of a new epoch."""
        self.epoch += bump
        self.count += 1
        data = batch(*[b"%d" % self.count + b"x" * size] * records)
        info = self.log.append_as_leader(data, self.epoch, NOW_MS)
        assert (info.base_offset, info.duplicate) == (self.end, False)
        self.note(info.base_offset)

    @rule(producer=st.integers(1, 2), records=st.integers(1, 3), retry=st.booleans())
    def append_idempotent(self, producer: int, records: int, retry: bool) -> None:
        """As a producer with a sequence; a retry must find what is there."""
        entry = self.log.producers.get(producer)
        sequence = 0 if entry is None else entry.last_sequence + 1
        self.count += 1
        values = [b"%d" % self.count] * records
        data = batch(*values, producer_id=producer, producer_epoch=0, base_sequence=sequence)
        info = self.log.append_as_leader(data, self.epoch, NOW_MS)
        self.note(info.base_offset)
        if retry:
            again = self.log.append_as_leader(data, self.epoch, NOW_MS)
            assert again.duplicate
            assert again.base_offset == info.base_offset

    def note(self, base: int) -> None:
        """Take the appended batch as the log gives it back."""
        data = bytes(self.log.read(base, 1, end_offset=self.log.log_end_offset))
        self.changed((*self.model, (base, self.epoch, data)), parse_header(data).next_offset)

    @rule()
    def sync(self) -> None:
        """One round of group commit; at a new segment it takes two to reach the end."""
        if not self.log.needs_flush:
            return
        ticket = self.log.begin_flush()
        self.run(self.disk.sync(ticket.files))
        self.log.complete_flush(ticket)
        if not self.log.flush_state.dirty:
            self.all_durable()
        else:
            flushed = self.log.flushed_offset
            last, end, least = self.states[-1]
            self.states[-1] = (last, end, max(least, flushed))

    @rule(data=st.data())
    def cut_during_sync(self, data: st.DataObject) -> None:
        """What is in flight proves nothing about what is written behind a cut."""
        if not self.log.needs_flush or self.end <= self.log_start:
            return
        ticket = self.log.begin_flush()
        at = data.draw(st.integers(self.log_start, self.end))
        sync = self.loop.create_task(self.disk.sync(ticket.files))
        self.loop.run_until_complete(asyncio.sleep(0))
        self.cut_at(at)
        self.append(1, 5, bump=True)
        self.run(_wait(sync))
        self.log.complete_flush(ticket)
        assert self.log.flushed_offset <= max(at, self.log_start)

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        """To anywhere in the log."""
        self.cut_at(data.draw(st.integers(self.log_start, self.end)))

    def cut_at(self, offset: int) -> None:
        """Cut the log and the model."""
        kept = tuple(b for b in self.model if parse_header(b[2]).next_offset <= offset)
        self.log.truncate_to(offset)
        if len(kept) < len(self.model):
            end = parse_header(self.model[len(kept)][2]).base_offset
            self.changed(kept, max(end, self.log_start))

    @rule(ahead=st.integers(0, 50))
    def start_anew(self, ahead: int) -> None:
        """A follower that fell behind its leader's log start; as a snapshot does to the metadata log."""
        offset = self.end + ahead
        self.log.truncate_fully_and_start_at(offset)
        self.sync()
        self.model, self.end, self.log_start, self.durable_start = (), offset, offset, offset
        self.all_durable()

    @rule()
    def roll(self) -> None:
        """A new segment."""
        self.log.roll(NOW_MS)

    @rule()
    def checkpoint(self) -> None:
        """Write down; everything is durable after it."""
        self.run(self.log.checkpoint())
        self.all_durable()
        self.durable_start = self.log_start

    @rule(data=st.data())
    def delete_records(self, data: st.DataObject) -> None:
        """Move the log's start; segments below go."""
        self.log_start = data.draw(st.integers(self.log_start, self.end))
        self.log.advance_log_start(self.log_start)
        doomed = self.log.expired_segments(NOW_MS, self.log.flushed_offset)
        self.run(self.log.delete_segments(doomed))
        if doomed:
            self.all_durable()
            self.durable_start = self.log_start

    @rule()
    def power_loss(self) -> None:
        """All but what was synced may be gone."""
        self.disk.crash()
        self.reopen(clean=False)
        found = tuple(batches_of(self.log))
        assert self.possible(found), (found, self.states)
        self.model = (*self.below(self.log.log_start_offset), *found)
        self.end = self.log.log_end_offset
        self.after_restart()

    @rule()
    def kill(self) -> None:
        """The process dies: nothing written is lost."""
        self.disk.kill()
        self.reopen(clean=False)
        self.after_restart()

    @rule()
    def clean_restart(self) -> None:
        """Close, open."""
        self.run(self.log.close())
        self.durable_start = self.log_start
        self.disk.kill()
        self.reopen(clean=True)
        assert self.log.flushed_offset == self.end
        self.after_restart()

    def reopen(self, *, clean: bool) -> None:
        """Open what is on the disk."""
        self.log = PartitionLog.open(self.disk, FOLDER, self.config, clean=clean, now_ms=NOW_MS)
        assert self.durable_start <= self.log.log_start_offset <= self.log_start
        self.log_start = self.log.log_start_offset

    def after_restart(self) -> None:
        """LogDirectory syncs what it loaded before anyone uses it."""
        while self.log.flush_state.dirty:
            ticket = self.log.begin_flush()
            self.run(self.disk.sync(ticket.files))
            self.log.complete_flush(ticket)
        self.all_durable()

    def below(self, offset: int) -> Batches:
        """What was deleted at the front."""
        return tuple(b for b in self.model if parse_header(b[2]).next_offset <= offset)

    def possible(self, found: Batches) -> bool:
        """Whether a power loss may have left this."""
        start = self.log.log_start_offset
        log_end = self.log.log_end_offset
        for state, end, least in self.states:
            visible = tuple(b for b in state if parse_header(b[2]).next_offset > start)
            if visible[: len(found)] == found and least <= log_end <= end:
                return True
        return False

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def reads_are_the_model(self) -> None:
        """Every batch, its bytes, the epochs."""
        log = self.log
        assert log.log_end_offset == self.end
        assert log.log_start_offset == self.log_start
        visible = [b for b in self.model if parse_header(b[2]).next_offset > self.log_start]
        limit = self.rng.choice((1, 200, 1 << 20))
        assert batches_of(log, max_bytes=limit) == visible
        for base, epoch, _ in visible:
            assert log.epoch_at(max(base, self.log_start)) == epoch
        told = [(e, max(s, self.log_start)) for e, s in epochs_in(visible)]
        assert [entry for entry in log.epochs.entries() if entry in told] == told

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def producers_are_a_function_of_the_log(self) -> None:
        """G4: rebuild == live, as long as the whole log is there."""
        if self.log.segments[0].base_offset == 0 and self.log_start == 0:
            rebuilt = ProducerStates()
            at_once(replay(self.log.segments, 0, self.end, rebuilt, None, NOW_MS))
            assert rebuilt.view() == self.log.producers.view()

    def teardown(self) -> None:
        """No loop left open."""
        if hasattr(self, "loop"):
            self.loop.close()


async def _wait(task: "asyncio.Task[None]") -> None:
    await task


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)

"""Leader session and replica fetcher over a stream in memory (KIP-101, KIP-279, KIP-320)."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cluster.peers.network import Peer, PeerStream
from cluster.replication import frames
from cluster.replication.disk_guard import DiskGuard
from cluster.replication.leader_session import LeaderSession
from cluster.replication.partition import Partition
from cluster.replication.replica_fetcher import ReplicaFetcher, _common_end
from tests.cluster.replication.replicas import (
    Pipe,
    append,
    disk,
    flush,
    lead,
    pipes,
    replica,
)
from tests.simulation.cluster import until
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS, batches_of


def _nothing(_: Partition) -> None:
    pass


class Pair:
    """A leader (node 1) and a follower (node 2) with the same partitions, joined by a stream."""

    def __init__(self, leaders: list[Partition], followers: list[Partition]) -> None:
        self.leaders, self.followers = leaders, followers
        self.stuck: list[Partition] = []
        self.streams = 0
        self.broker_epoch = 20
        self.pipes: tuple[Pipe, Pipe] | None = None
        self.fetcher = ReplicaFetcher(
            self,  # type: ignore[arg-type]
            Peer(1, "node1:9190"),
            lambda: self.broker_epoch,
            self._flush,
            lambda: NOW_MS,
            random.Random(1),
        )

    def _flush(self, partition: Partition) -> None:
        flush(partition)
        self.fetcher.flushed(partition.identity)

    @asynccontextmanager
    async def open_stream(self, peer: Peer, method: str) -> AsyncIterator[PeerStream]:
        """The seam's: both sides live as long as the block."""
        self.streams += 1
        self.pipes = there, here = pipes()
        found = {each.identity: each for each in self.leaders}
        session = LeaderSession(there, found.get, _nothing, self.stuck.append, lambda: 0)
        serving = asyncio.get_running_loop().create_task(session.run())
        try:
            yield here
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            if not serving.cancelled():
                serving.exception()

    async def run(self, work: Callable[[], object]) -> None:
        """Follow everything in the leaders' epochs while `work` runs, which may be a coroutine function."""
        fetching = asyncio.get_running_loop().create_task(self.fetcher.run())
        for leader, follower in zip(self.leaders, self.followers, strict=True):
            follower.become_follower(1, leader.leader_epoch)
            self.fetcher.follow(follower, leader.leader_epoch)
        try:
            result = work()
            if asyncio.iscoroutine(result):
                await result
        finally:
            fetching.cancel()
            await asyncio.wait([fetching])

    async def equal(self) -> None:
        """Wait until the follower has everything and knows that it is committed."""

        def same() -> bool:
            return all(
                batches_of(a.log) == batches_of(b.log) and a.high_watermark == b.high_watermark
                for a, b in zip(self.leaders, self.followers, strict=True)
            )

        await until(same, 10.0, "equal logs")


def test_a_broker_that_registers_again_is_known_by_its_new_epoch() -> None:
    """KIP-903: else the controller would refuse it as ISR member for as long as the stream lives."""

    async def run() -> None:
        pair = Pair([replica(1)], [replica(2)])
        state = lead(pair.leaders[0], 1)

        async def work() -> None:
            append(pair.leaders[0], b"a")
            await pair.equal()
            assert state.followers[2].broker_epoch == 20
            pair.broker_epoch = 21
            pair.fetcher.introduce_again()
            await until(lambda: state.followers[2].broker_epoch == 21, 1.0, "the new epoch")
            assert state.followers[2].end_offset == 1
            assert pair.streams == 1

        await pair.run(work)

    simulate(run())


def test_what_the_leader_appends_arrives_and_is_committed() -> None:
    async def run() -> None:
        pair = Pair([replica(1)], [replica(2)])
        lead(pair.leaders[0], 1)

        async def work() -> None:
            append(pair.leaders[0], b"a", b"b")
            await pair.equal()
            append(pair.leaders[0], b"c")
            await pair.equal()
            assert pair.leaders[0].high_watermark == 3

        await pair.run(work)

    simulate(run())


def test_a_tail_that_the_new_leader_never_had_is_cut() -> None:
    """KIP-101: not at the high watermark, but where the logs part."""

    async def run() -> None:
        leader, follower = replica(1), replica(2)
        for each, node in ((leader, 1), (follower, 2)):
            lead(each, 1, node_id=node)
            append(each, b"same")
        append(follower, b"lost", b"lost too")
        lead(leader, 2)
        append(leader, b"new")
        pair = Pair([leader], [follower])
        await pair.run(pair.equal)
        assert [epoch for _, epoch, _ in batches_of(follower.log)] == [1, 2]

    simulate(run())


def test_not_a_record_more_than_needed_is_cut() -> None:
    """KIP-101: below the leader's answer all may be acknowledged, whatever high watermark the follower has heard of.

    It is in the ISR: if the leader dies before the cut records have come again, it is elected without them.
    """
    follower = replica(2)
    lead(follower, 1, node_id=2)
    for value in (b"a", b"b", b"c"):
        append(follower, value)
    follower.become_follower(1, 2)
    assert follower.high_watermark == 0
    assert _common_end(follower, 1, 2) == 2


def test_of_an_epoch_that_only_the_leader_knows_nothing_is_kept() -> None:
    """KIP-279: its end says where the leader went on; ours, of the epoch before, where we left it."""
    follower = replica(2)
    for epoch, value in ((0, b"a"), (2, b"b"), (2, b"c")):
        lead(follower, epoch, node_id=2)
        append(follower, value)
    follower.become_follower(1, 3)
    assert _common_end(follower, 1, 2) == 1


def test_logs_that_parted_twice_find_their_common_part() -> None:
    """KIP-279: the leader's largest epoch not above the follower's, again and again."""

    async def run() -> None:
        leader, follower = replica(1), replica(2)
        for each, node in ((leader, 1), (follower, 2)):
            lead(each, 1, node_id=node)
            append(each, b"same")
        lead(follower, 2, node_id=2)
        append(follower, b"x")
        lead(leader, 3)
        append(leader, b"y")
        lead(follower, 4, node_id=2)
        append(follower, b"z")
        lead(leader, 5)
        append(leader, b"w")
        pair = Pair([leader], [follower])
        await pair.run(pair.equal)
        assert [epoch for _, epoch, _ in batches_of(follower.log)] == [1, 3, 5]

    simulate(run())


def test_a_follower_left_behind_the_log_start_begins_there() -> None:
    async def run() -> None:
        leader, follower = replica(1), replica(2)
        lead(leader, 1)
        append(leader, *(b"v" for _ in range(10)))
        append(leader, b"last")
        leader.log.advance_log_start(10)
        pair = Pair([leader], [follower])
        await pair.run(pair.equal)
        assert follower.log.log_start_offset == 10

    simulate(run())


def test_deleted_records_are_told_without_new_ones() -> None:
    async def run() -> None:
        pair = Pair([replica(1)], [replica(2)])
        leader, follower = pair.leaders[0], pair.followers[0]
        lead(leader, 1)

        async def work() -> None:
            append(leader, b"a", b"b", b"c")
            await pair.equal()
            leader.log.advance_log_start(2)
            leader.commit()
            await until(lambda: follower.log.log_start_offset == 2, 1.0, "the new log start")

        await pair.run(work)

    simulate(run())


def test_the_follower_never_claims_more_than_it_holds() -> None:
    """I6: the leader's high watermark may be far ahead of what has arrived."""
    follower = replica(2)
    follower.become_follower(1, 1)
    follower.follower_saw(1000)
    assert follower.high_watermark == 0


def test_a_frame_that_could_not_be_appended_leaves_no_hole() -> None:
    """S7: what comes after it on the same subscription is dropped, later all comes again."""

    async def run() -> None:
        full = DiskGuard(disk())
        pair = Pair([replica(1)], [replica(2, guard=full)])
        leader, follower = pair.leaders[0], pair.followers[0]
        lead(leader, 1)

        async def work() -> None:
            append(leader, b"a")
            await pair.equal()
            full.full = True
            append(leader, b"b")
            await asyncio.sleep(0.01)
            full.full = False
            append(leader, b"c")
            await asyncio.sleep(0.01)
            assert follower.log.log_end_offset == 1
            assert follower.offline is None
            await pair.equal()
            assert follower.log.log_end_offset == 3

        await pair.run(work)

    simulate(run())


def test_a_follower_with_a_full_disk_says_so_and_comes_back_only_when_there_is_room() -> None:
    """S7: the leader need not wait for `replica.lag.time.max.ms` to know."""

    async def run() -> None:
        full = DiskGuard(disk())
        pair = Pair([replica(1)], [replica(2, guard=full)])
        leader = pair.leaders[0]
        state = lead(leader, 1, min_isr=1)

        async def work() -> None:
            append(leader, b"a")
            await pair.equal()
            assert pair.stuck == []
            full.full = True
            append(leader, b"b")
            await until(lambda: pair.stuck == [leader], 0.1, "word of the full disk")
            assert state.without_room(frozenset()) == {2}
            await asyncio.sleep(10)
            assert pair.stuck == [leader], "it has not come back to be stuck again"
            full.full = False
            await pair.equal()
            assert state.without_room(frozenset()) == frozenset()

        await pair.run(work)

    simulate(run())


def test_many_partitions_share_a_frame_and_all_arrive() -> None:
    async def run() -> None:
        count = 50
        pair = Pair(
            [replica(1, index) for index in range(count)],
            [replica(2, index) for index in range(count)],
        )
        for each in pair.leaders:
            lead(each, 1)
            append(each, b"x" * 100)
        await pair.run(pair.equal)
        assert pair.pipes is not None
        assert pair.pipes[0].frames < count / 5

    simulate(run())


def test_a_follower_that_appends_is_sent_on_beyond_the_window() -> None:
    async def run() -> None:
        pair = Pair([replica(1)], [replica(2)])
        lead(pair.leaders[0], 1)
        for _ in range(3 * frames.WINDOW_BYTES // 200_000):
            append(pair.leaders[0], b"x" * 200_000)
        await pair.run(pair.equal)

    simulate(run())


def test_garbage_and_broken_streams_make_the_follower_begin_again() -> None:
    async def run() -> None:
        pair = Pair([replica(1)], [replica(2)])
        lead(pair.leaders[0], 1)

        async def work() -> None:
            append(pair.leaders[0], b"a")
            await pair.equal()
            for frame in (b"\xff", b"end"):
                assert pair.pipes is not None
                pair.pipes[1].into.put_nowait(frame)
                append(pair.leaders[0], b"b")
                await pair.equal()
            assert pair.streams == 3

        await pair.run(work)

    simulate(run())

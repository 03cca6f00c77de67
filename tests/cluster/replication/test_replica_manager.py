"""All replicas of a broker: what a restart brings back, whom a role change leaves, which logs go, stay or are lost."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from cluster.replication import high_watermarks
from cluster.replication.frames import LeaderFrame, PartitionData, encode
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.partition_state import LeaderState
from storage.log_config import LogConfig
from tests.cluster.replication.house import T0, House, led_by
from tests.cluster.replication.replicas import TOPIC_ID, disk, flush
from tests.simulation.cluster import until
from tests.simulation.disk import SimDisk
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS, batch

LAG_MS = 10_000


def append(partition: Partition) -> None:
    partition.append_as_leader(batch(), acks_all=False, now_wall_ms=NOW_MS, now_ms=0)


def alone(house: House, *, min_isr: int = 1) -> Partition:
    """Begin to lead partition 0 alone in the ISR."""
    house.manager.lead(T0, led_by(1, 1, isr=(1,)), min_isr)
    return house.manager.partitions[T0]


def run(work: Callable[[House], Awaitable[None]], on: SimDisk | None = None) -> None:
    """`work` while the manager runs."""

    async def running() -> None:
        house = await House.opened(on or disk())
        task = asyncio.get_running_loop().create_task(house.manager.run())
        try:
            await work(house)
        finally:
            task.cancel()
            await asyncio.wait([task])

    simulate(running())


def test_a_restart_does_not_forget_what_is_committed() -> None:
    """I6: a leader that begins at nothing would answer with offsets behind those that it gave before."""
    on = disk()

    async def first(house: House) -> None:
        await house.have()
        partition = alone(house)
        append(partition)
        house.manager.request_flush(partition)
        await until(lambda: partition.high_watermark == 1, 5.0, "the commit")
        await house.manager.save_high_watermarks()
        await house.directory.close()

    async def second(house: House) -> None:
        partition = await house.have()
        assert partition.high_watermark == 1
        house.manager.follow(T0, led_by(2, 2))
        assert partition.high_watermark == 1

    run(first, on)
    run(second, on)


def test_high_watermarks_are_written_without_being_asked() -> None:
    on = disk()

    async def work(house: House) -> None:
        await house.have()
        partition = alone(house)
        append(partition)
        house.manager.request_flush(partition)
        await until(lambda: high_watermarks.read(on) != {}, 60.0, "a saved high watermark")
        assert high_watermarks.read(on) == {(str(TOPIC_ID), 0): 1}

    run(work, on)


def test_a_saved_high_watermark_is_not_believed_beyond_the_log() -> None:
    """KAFKA-14704: what is behind the log's end here may become something else."""
    on = disk()

    async def work(house: House) -> None:
        assert (await house.have()).high_watermark == 0

    simulate(high_watermarks.write(on, {(str(TOPIC_ID), 0): 100}))
    run(work, on)


def test_a_new_leader_counts_its_own_tail_only_once_it_is_durable() -> None:
    """S5: what it took as a follower and has not synced; nobody else will ask for that sync."""

    async def work(house: House) -> None:
        partition = await house.have()
        house.manager.follow(T0, led_by(2, 1))
        partition.append_as_follower(batch(leader_epoch=1), NOW_MS)
        house.manager.lead(T0, led_by(1, 2, isr=(1,)), 1)
        assert partition.high_watermark == 0
        await until(lambda: partition.high_watermark == 1, 5.0, "the commit of the tail")
        assert partition.log.synced_offset == 1

    run(work)


def test_a_new_leader_alone_in_its_isr_commits_what_is_durable() -> None:
    """Nobody's ack and no append will come to move its high watermark."""

    async def work(house: House) -> None:
        partition = await house.have()
        house.manager.follow(T0, led_by(2, 1))
        partition.append_as_follower(batch(leader_epoch=1), NOW_MS)
        flush(partition)
        house.manager.lead(T0, led_by(1, 2, isr=(1,)), 1)
        assert partition.high_watermark == 1

    run(work)


def test_a_leader_that_gives_way_to_another_is_left() -> None:
    """I1: its stream may live on for long, and bring what the new leader never had."""

    async def work(house: House) -> None:
        partition = await house.have()
        house.manager.follow(T0, led_by(2, 1))
        number = (await house.hears(2)).subscribe[0].subscription
        house.manager.follow(T0, led_by(3, 2))
        assert (await house.hears(3)).subscribe[0].leader_epoch == 2
        assert (await house.hears(2)).unsubscribe == [number]
        stale = PartitionData(number, 0, 0, batch(leader_epoch=1))
        await house.streams[2].send(encode(LeaderFrame([stale])))
        await asyncio.sleep(0.1)
        assert partition.log.log_end_offset == 0

    run(work)


def test_who_leads_follows_nobody() -> None:
    async def work(house: House) -> None:
        partition = await house.have()
        house.manager.follow(T0, led_by(2, 1))
        number = (await house.hears(2)).subscribe[0].subscription
        alone(house)
        assert (await house.hears(2)).unsubscribe == [number]
        stale = PartitionData(number, 0, 0, batch(leader_epoch=1))
        await house.streams[2].send(encode(LeaderFrame([stale])))
        await asyncio.sleep(0.1)
        assert partition.log.log_end_offset == 0

    run(work)


def test_a_follower_acknowledges_what_is_synced_and_nothing_before() -> None:
    """S5: the leader counts this offset for the high watermark."""

    async def work(house: House) -> None:
        log = (await house.have()).log
        house.directory.disk.sync_seconds = (0.05, 0.05)  # type: ignore[attr-defined]
        house.manager.follow(T0, led_by(2, 1))
        number = (await house.hears(2)).subscribe[0].subscription
        for offset in (0, 1):
            data = batch(base_offset=offset, leader_epoch=1)
            await house.streams[2].send(encode(LeaderFrame([PartitionData(number, 0, 0, data)])))
            await until(lambda end=offset + 1: log.log_end_offset == end, 1.0, "the record")
        assert log.synced_offset == 0, "the second one came while the first was on its way to disk"
        heard: list[tuple[int, int]] = []
        while not heard or heard[-1][1] < 2:
            for ack in (await house.hears(2)).acks:
                assert ack.flushed_offset <= log.synced_offset
                heard.append((ack.end_offset, ack.flushed_offset))
        assert heard == [(2, 1), (2, 2)]

    run(work)


def test_a_follower_says_what_it_holds_durably_when_it_subscribes() -> None:
    """S5."""

    async def work(house: House) -> None:
        partition = await house.have()
        house.manager.follow(T0, led_by(2, 1))
        await house.hears(2)
        partition.append_as_follower(batch(leader_epoch=1), NOW_MS)
        house.manager.follow(T0, led_by(3, 2))
        subscribed = (await house.hears(3)).subscribe[0]
        assert (subscribed.offset, subscribed.flushed_offset) == (1, 0)

    run(work)


def test_a_follower_that_cannot_cut_its_log_goes_offline() -> None:
    """S1: what it holds is not what the leader has, and nobody may be told otherwise."""

    async def work(house: House) -> None:
        partition = await house.have()
        house.manager.follow(T0, led_by(2, 1))
        number = (await house.hears(2)).subscribe[0].subscription
        partition.append_as_follower(batch(leader_epoch=1), NOW_MS)
        house.directory.disk.fail_writes = errno.EIO  # type: ignore[attr-defined]
        cut = PartitionData(number, 0, 0, diverged_at=(0, 0))
        await house.streams[2].send(encode(LeaderFrame([cut])))
        await until(lambda: house.logs_lost == 1, 1.0, "the word that a log is lost")
        assert partition.offline is not None

    run(work)


def test_the_high_watermark_waits_until_the_logs_agree() -> None:
    """KAFKA-14704, I6: after one cut there may be another one to come, below the leader's high watermark (KIP-279)."""

    async def work(house: House) -> None:
        partition = await house.have()
        house.manager.follow(T0, led_by(3, 4))
        for offset, epoch in enumerate((1, 2, 4)):
            partition.append_as_follower(batch(base_offset=offset, leader_epoch=epoch), NOW_MS)
        house.manager.follow(T0, led_by(2, 5))
        number = (await house.hears(2)).subscribe[0].subscription
        cut = PartitionData(number, 3, 0, diverged_at=(3, 3))
        await house.streams[2].send(encode(LeaderFrame([cut])))
        again = (await house.hears(2)).subscribe[0]
        assert (again.offset, again.last_epoch) == (2, 2)
        assert partition.high_watermark == 0

    run(work)


def test_with_flush_policy_os_an_append_counts_at_once() -> None:
    async def work(house: House) -> None:
        await house.have(LogConfig(flush="os"))
        partition = alone(house)
        append(partition)
        house.manager.request_flush(partition)
        assert partition.high_watermark == 1

    run(work)


def test_a_failed_sync_takes_the_replica_offline_until_a_restart() -> None:
    """S1: others must lead, and this log must not be taken up again by the next change of roles."""

    async def work(house: House) -> None:
        await house.have()
        partition = alone(house)
        house.directory.disk.failing = "t-"  # type: ignore[attr-defined]
        append(partition)
        house.manager.request_flush(partition)
        await until(lambda: house.logs_lost > 0, 5.0, "the word that a log is lost")
        assert partition.offline is not None
        assert house.logs_lost == 1
        house.manager.lead(T0, led_by(1, 2, isr=(1,)), 1)
        assert not isinstance(partition.role, LeaderState)
        house.manager.follow(T0, led_by(2, 3))
        await asyncio.sleep(0.1)
        assert house.streams == {}

    run(work)


def test_a_removed_replica_leaves_nothing_that_a_namesake_could_find() -> None:
    """I8, KAFKA-12257."""

    async def work(house: House) -> None:
        append(await house.have() and alone(house))
        await house.manager.remove(T0, reason="the topic was deleted")
        assert house.directory.get(str(TOPIC_ID), 0) is None
        namesake = TopicIdPartition(UUID(int=8), 0)
        await house.manager.prepare([(namesake, "t", LogConfig())])
        assert house.manager.partitions[namesake].log.log_end_offset == 0

    run(work)


@pytest.mark.parametrize("assigned", [True, False])
def test_strays_go_and_nothing_else(assigned: bool) -> None:
    """I8, and S6: what is assigned here is never deleted."""
    on = disk()

    async def first(house: House) -> None:
        await house.have()
        await house.directory.close()

    async def second(house: House) -> None:
        await house.manager.remove_strays(lambda identity: assigned and identity == T0)
        assert (house.directory.get(str(TOPIC_ID), 0) is not None) is assigned

    run(first, on)
    run(second, on)


def test_a_changed_min_isr_counts_at_once() -> None:
    """I4: raised, it stops the high watermark; lowered, it lets it go on without another append."""

    async def work(house: House) -> None:
        await house.have()
        partition = alone(house)
        house.manager.configure(T0, LogConfig(), 2)
        append(partition)
        flush(partition)
        assert partition.high_watermark == 0
        waiting = partition.committed(
            partition.append_as_leader(batch(), acks_all=False, now_wall_ms=NOW_MS, now_ms=0)
        )
        flush(partition)
        assert waiting is not None
        house.manager.configure(T0, LogConfig(), 1)
        assert partition.high_watermark == 2
        assert waiting.done()

    run(work)


def test_a_smaller_isr_answers_those_who_waited_for_the_larger() -> None:
    async def work(house: House) -> None:
        await house.have()
        house.manager.lead(T0, led_by(1, 1), 1)
        partition = house.manager.partitions[T0]
        waiting = partition.committed(
            partition.append_as_leader(batch(), acks_all=True, now_wall_ms=NOW_MS, now_ms=0)
        )
        flush(partition)
        assert waiting is not None
        assert not waiting.done()
        house.manager.update(T0, led_by(1, 1, isr=(1,), partition_epoch=1), 1)
        assert waiting.done()

    run(work)


def test_silent_followers_are_proposed_for_removal_in_time() -> None:
    async def work(house: House) -> None:
        await house.have()
        house.manager.set_lag_time_max(LAG_MS)
        house.manager.lead(T0, led_by(1, 1), 1)
        append(house.manager.partitions[T0])
        began_s = asyncio.get_running_loop().time()
        await until(lambda: house.proposed != [], 2 * LAG_MS / 1000, "a proposal")
        assert dict(house.proposed[0].members) == {1: -1}
        assert asyncio.get_running_loop().time() - began_s >= LAG_MS / 1000

    run(work)


def test_leaders_hear_of_a_new_registration() -> None:
    """KIP-903: else they would propose this broker with an epoch that the controller refuses."""

    async def work(house: House) -> None:
        await house.have()
        house.manager.follow(T0, led_by(2, 1))
        await house.hears(2)
        house.broker_epoch = 11
        house.manager.registered_again()
        frame = await house.hears(2)
        assert frame.broker_epoch == 11
        assert len(frame.subscribe) == 1

    run(work)

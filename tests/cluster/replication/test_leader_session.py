"""The leader's side of a replication stream, with a follower that the test plays (KIP-320)."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from cluster.peers.network import PeerGoneError
from cluster.replication import frames
from cluster.replication.frames import (
    Ack,
    FollowerFrame,
    Subscribe,
    decode_leader_frame,
    encode,
)
from cluster.replication.leader_session import LeaderSession
from cluster.replication.partition import Partition
from cluster.replication.partition_state import LeaderState
from storage.errors import ErrorCode
from tests.cluster.replication.replicas import TOPIC_ID, Pipe, append, lead, pipes, replica
from tests.simulation.cluster import until
from tests.simulation.loop import simulate


def subscription(number: int, *, epoch: int = 1, index: int = 0, offset: int = 0) -> Subscribe:
    return Subscribe(number, TOPIC_ID, index, epoch, offset, -1, offset)


def test_whoever_catches_up_is_told_of() -> None:
    """Joining the ISR begins here."""

    async def run() -> None:
        leader = replica(1)
        lead(leader, 1)
        told: list[Partition] = []
        there, here = pipes()
        session = LeaderSession(there, lambda _: leader, told.append, _nothing, lambda: 0)
        serving = asyncio.get_running_loop().create_task(session.run())
        await here.send(encode(FollowerFrame([subscription(1)], broker_epoch=20)))
        await until(lambda: told == [leader], 1.0, "the word")
        serving.cancel()
        await asyncio.wait([serving])

    simulate(run())


def test_a_follower_that_does_not_acknowledge_is_sent_no_more_than_the_window() -> None:
    """A5: bounded by bytes, whatever the log holds."""

    async def run() -> None:
        leader = replica(1)
        lead(leader, 1)
        for _ in range(40):
            append(leader, b"x" * 200_000)
        there, here = pipes()
        session = LeaderSession(there, lambda _: leader, lambda _: None, _nothing, lambda: 0)
        serving = asyncio.get_running_loop().create_task(session.run())
        await here.send(encode(FollowerFrame(broker_epoch=20)))
        await here.send(encode(FollowerFrame([subscription(1)])))
        await asyncio.sleep(1.0)
        sent = there.bytes
        most = frames.WINDOW_BYTES + frames.FRAME_BYTES
        assert frames.WINDOW_BYTES <= sent <= most
        await here.send(encode(FollowerFrame(appended_bytes=1_000_000)))
        await asyncio.sleep(1.0)
        assert sent < there.bytes <= most + 1_000_000
        serving.cancel()
        await asyncio.wait([serving])

    simulate(run())


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (subscription(1, offset=5), ErrorCode.OFFSET_OUT_OF_RANGE),
        (subscription(1, epoch=0), ErrorCode.FENCED_LEADER_EPOCH),
        (subscription(1, epoch=2), ErrorCode.UNKNOWN_LEADER_EPOCH),
        (subscription(1, index=9), ErrorCode.UNKNOWN_TOPIC_ID),
    ],
)
def test_a_subscription_must_fit_to_the_leaders_epoch_and_log(
    request_: Subscribe, code: ErrorCode
) -> None:
    """KIP-320. A log that was emptied further on than the leader's ends has no epoch to compare."""

    async def run() -> None:
        leader = replica(1)
        lead(leader, 1)
        there, here = pipes()
        known = {leader.identity: leader}
        session = LeaderSession(there, known.get, lambda _: None, _nothing, lambda: 0)
        serving = asyncio.get_running_loop().create_task(session.run())
        await here.send(encode(FollowerFrame([request_], broker_epoch=20)))
        news = decode_leader_frame(await here.receive())
        assert [each.error for each in news] == [code]
        serving.cancel()
        await asyncio.wait([serving])

    simulate(run())


async def _subscribed(work: "Callable[[LeaderState, Partition, Pipe], object]") -> None:
    """A leader of epoch 1 with one record, which node 2 has not, subscribed and greeted; then `work`."""
    leader = replica(1)
    state = lead(leader, 1, min_isr=1)
    append(leader, b"a")
    there, here = pipes()
    session = LeaderSession(there, lambda _: leader, lambda _: None, _nothing, lambda: 0)
    serving = asyncio.get_running_loop().create_task(session.run())
    await here.send(encode(FollowerFrame([subscription(1)], broker_epoch=20)))
    await here.receive()
    result = work(state, leader, here)
    if asyncio.iscoroutine(result):
        await result
    serving.cancel()
    await asyncio.wait([serving])


def test_only_what_a_follower_has_synced_counts() -> None:
    """S5: neither what it has appended nor what it held, unsynced, when it subscribed."""

    async def work(state: LeaderState, leader: Partition, here: Pipe) -> None:
        await here.send(encode(FollowerFrame(acks=[Ack(1, 1, 0)])))
        await asyncio.sleep(0.01)
        assert leader.high_watermark == 0
        again = Subscribe(2, TOPIC_ID, 0, 1, 1, 1, 0)
        await here.send(encode(FollowerFrame(subscribe=[again])))
        await asyncio.sleep(0.01)
        assert (leader.high_watermark, state.followers[2].end_offset) == (0, 0)
        await here.send(encode(FollowerFrame(acks=[Ack(2, 1, 1)])))
        await asyncio.sleep(0.01)
        assert leader.high_watermark == 1

    simulate(_subscribed(work))


def test_acks_of_the_last_epoch_do_not_count_in_this_one() -> None:
    """KIP-320: since then the follower may have cut its log; it must subscribe in the new epoch first."""

    async def work(_: LeaderState, leader: Partition, here: Pipe) -> None:
        state = lead(leader, 2, min_isr=1)
        await here.send(encode(FollowerFrame(acks=[Ack(1, 1, 1)])))
        await asyncio.sleep(0.01)
        assert (leader.high_watermark, state.followers[2].end_offset) == (0, -1)

    simulate(_subscribed(work))


def test_a_new_epoch_ends_the_subscriptions_of_the_last() -> None:
    """KIP-320: whether the logs agree has not been asked in it."""

    async def work(_: LeaderState, leader: Partition, here: Pipe) -> None:
        lead(leader, 2, min_isr=1)
        append(leader, b"b")
        news = decode_leader_frame(await here.receive())
        assert [each.error for each in news] == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
        assert not any(len(each.batches) for each in news)

    simulate(_subscribed(work))


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"\x92\x01\x02", bytes(1000)])
def test_garbage_ends_the_leaders_session_and_nothing_else(garbage: bytes) -> None:
    async def run() -> None:
        there, here = pipes()
        session = LeaderSession(there, lambda _: None, lambda _: None, _nothing, lambda: 0)
        await here.send(garbage)
        with pytest.raises(msgspec.MsgspecError):
            await session.run()

    simulate(run())


def test_a_leader_that_is_none_any_more_says_so() -> None:
    async def run() -> None:
        leader = replica(1)
        lead(leader, 1)
        there, here = pipes()
        session = LeaderSession(there, lambda _: leader, lambda _: None, _nothing, lambda: 0)
        serving = asyncio.get_running_loop().create_task(session.run())
        await here.send(encode(FollowerFrame([subscription(1)], broker_epoch=20)))
        decode_leader_frame(await here.receive())
        leader.become_follower(2, 2)
        news = decode_leader_frame(await here.receive())
        assert [each.error for each in news] == [ErrorCode.NOT_LEADER_OR_FOLLOWER]
        there.into.put_nowait(b"end")
        with pytest.raises(PeerGoneError):
            await serving

    simulate(run())


def _nothing(_: Partition) -> None:
    return

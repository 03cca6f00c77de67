"""A connection: order, pipelining, and what bad bytes cost."""

import asyncio
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

import pytest

from cluster.endpoints import Endpoint
from cluster.errors import UnknownTopicOrPartitionError
from cluster.handlers.fetch import FetchHandler
from cluster.handlers.produce import ProduceHandler
from cluster.listeners.kafka.dispatcher import Dispatcher
from cluster.listeners.kafka.features import features
from cluster.listeners.kafka.fetch import KafkaFetch
from cluster.listeners.kafka.fetch_sessions import FetchSessions
from cluster.listeners.kafka.produce import KafkaProduce
from cluster.listeners.kafka.quotas import ClientQuotas
from cluster.listeners.kafka.racks import Racks
from cluster.listeners.kafka.request import Api, Client, Connection, api
from cluster.listeners.kafka.server import KafkaDoor, KafkaLimits
from cluster.replication.partition import Partition
from kraft.metadata.client_quotas import CLIENT_ID, PRODUCER_BYTE_RATE, entity
from kraft.metadata.image import EMPTY_IMAGE
from kraft.metadata.records import QuotaEntity
from wire.codec import decode, encode
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)

LIMIT_S = 20.0
LENGTH = struct.Struct(">i")


def nothing_here(topic: str, index: int) -> Partition:
    raise UnknownTopicOrPartitionError(f"there is no {topic}-{index}")


def framed(key: int, version: int, correlation_id: int, body: bytes, *, flexible: bool) -> bytes:
    head = (
        struct.pack(">hhih", key, version, correlation_id, 2) + b"me" + (b"\0" if flexible else b"")
    )
    return LENGTH.pack(len(head) + len(body)) + head + body


def produce(correlation_id: int, acks: int = -1) -> bytes:
    request = ProduceRequest(
        acks=acks,
        timeout_ms=100,
        topic_data=(
            TopicProduceData(
                name="t", partition_data=(PartitionProduceData(index=0, records=bytes(61)),)
            ),
        ),
    )
    return framed(0, 8, correlation_id, bytes(encode(request, 8, False)), flexible=False)


def heartbeat(correlation_id: int, group: str = "g") -> bytes:
    body = bytes(encode(HeartbeatRequest(group_id=group), 3, False))
    return framed(12, 3, correlation_id, body, flexible=False)


def fetch(correlation_id: int, partitions: int) -> bytes:
    wanted = tuple(FetchPartition(partition=number) for number in range(partitions))
    request = FetchRequest(topics=(FetchTopic(topic="t", partitions=wanted),))
    return framed(1, 4, correlation_id, bytes(encode(request, 4, False)), flexible=False)


async def with_door(
    use: Callable[[KafkaDoor], Awaitable[None]],
    limits: KafkaLimits | None = None,
    answer: Callable[[Client, HeartbeatRequest], Awaitable[HeartbeatResponse]] | None = None,
    limits_of_clients: Mapping[QuotaEntity, Mapping[str, float]] | None = None,
    others: Iterable[tuple[int, Api]] = (),
    broke: Callable[[Connection], None] = lambda _: None,
) -> None:
    async def at_once(_client: Client, _request: HeartbeatRequest) -> HeartbeatResponse:
        return HeartbeatResponse()

    handler = ProduceHandler(nothing_here, lambda _: None, lambda: 0, lambda: 0)
    quotas = ClientQuotas(lambda: limits_of_clients or {}, time.monotonic)
    door = KafkaDoor(Endpoint("KAFKA", "127.0.0.1", 0), limits or KafkaLimits())
    fetch = KafkaFetch(
        FetchHandler(nothing_here),
        FetchSessions(random.Random(1)),
        lambda: EMPTY_IMAGE,
        Racks(1, lambda: EMPTY_IMAGE, {}),
        quotas,
        door.unsent,
    )
    dispatcher = Dispatcher(
        KafkaProduce(handler, lambda: EMPTY_IMAGE, quotas),
        fetch,
        dict([api(HeartbeatRequest, answer or at_once), *others]),
        lambda: features(EMPTY_IMAGE),
        broke,
    )
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(door.run(dispatcher))
        try:
            await door.opened.wait()
            await use(door)
        finally:
            door.close()
            await asyncio.wait([serving])


@asynccontextmanager
async def connected(
    door: KafkaDoor,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answers(reader: asyncio.StreamReader, count: int) -> list[tuple[int, bytes]]:
    found = []
    for _ in range(count):
        (size,) = LENGTH.unpack(await reader.readexactly(4))
        data = await reader.readexactly(size)
        found.append((LENGTH.unpack_from(data)[0], data[4:]))
    return found


def test_thousands_of_requests_in_one_portion_are_answered_in_their_order() -> None:
    """Each is answered at once: a recursion for each would end the process."""

    async def use(door: KafkaDoor) -> None:
        async with connected(door) as (reader, writer):
            count = 5000
            writer.write(b"".join(produce(number) for number in range(count)))
            found = await answers(reader, count)
        assert [number for number, _ in found] == list(range(count))
        first = decode(ProduceResponse, 8, False, memoryview(found[0][1]))
        assert first.responses[0].partition_responses[0].error_code == 87

    asyncio.run(with_door(use))


def test_who_produces_more_than_its_quota_is_answered_and_then_not_heard_for_a_while() -> None:
    """KIP-219. What is used in ten seconds may be used at once."""
    rate = 1000.0
    free = int(10 * rate) // (len(produce(0)) - LENGTH.size)

    async def use(door: KafkaDoor) -> None:
        async with connected(door) as (reader, writer):
            began_s = time.monotonic()
            requests = [produce(number) for number in range(free + 2)]
            writer.write(b"".join(requests) + heartbeat(99))
            told_ms = [
                decode(ProduceResponse, 8, False, memoryview(body)).throttle_time_ms
                for _, body in await answers(reader, free + 2)
            ]
            assert set(told_ms[:free]) == {0}
            assert min(told_ms[free:]) > 0
            assert [number for number, _ in await answers(reader, 1)] == [99]
            assert time.monotonic() - began_s > told_ms[-1] / 1000

    quotas = {entity({CLIENT_ID: "me"}): {PRODUCER_BYTE_RATE: rate}}
    asyncio.run(with_door(use, limits_of_clients=quotas))


def test_a_client_that_waits_holds_up_no_other_and_is_not_taken_for_idle() -> None:
    async def use(door: KafkaDoor) -> None:
        async with connected(door) as (reader, writer), connected(door) as (other, speaks):
            writer.write(produce(1) + heartbeat(2))
            (_, body), *_ = await answers(reader, 1)
            response = decode(ProduceResponse, 8, False, memoryview(body))
            assert response.throttle_time_ms > 60_000
            speaks.write(heartbeat(3))
            assert [number for number, _ in await answers(other, 1)] == [3]
            # Whoever is idle is sent away after 50 ms here; then this client is still there.
            assert await other.read() == b""
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await reader.readexactly(1)
            assert not reader.at_eof()

    quotas = {entity({CLIENT_ID: "me"}): {PRODUCER_BYTE_RATE: 1.0}}
    asyncio.run(with_door(use, KafkaLimits(idle_ms=50), limits_of_clients=quotas))


def test_a_slow_request_holds_back_its_connection_and_no_other() -> None:
    async def run() -> None:
        released = asyncio.Event()

        async def slow(_client: Client, request: HeartbeatRequest) -> HeartbeatResponse:
            if request.group_id == "slow":
                await released.wait()
            return HeartbeatResponse()

        async def use(door: KafkaDoor) -> None:
            async with connected(door) as (reader, writer), connected(door) as (other, speaks):
                writer.write(heartbeat(1, "slow") + produce(2) + heartbeat(3))
                speaks.write(heartbeat(9))
                assert [number for number, _ in await answers(other, 1)] == [9]
                released.set()
                assert [number for number, _ in await answers(reader, 3)] == [1, 2, 3]

        await with_door(use, answer=slow)

    asyncio.run(run())


def test_who_leaves_while_it_waits_to_join_need_not_wait_for_that() -> None:
    """librdkafka sends so when it is closed. What else comes behind a request that waits does wait."""

    async def run() -> None:
        waits, left = asyncio.Event(), asyncio.Event()
        begun: list[str] = []

        async def join(_client: Client, _request: JoinGroupRequest) -> JoinGroupResponse:
            begun.append("join")
            waits.set()
            await left.wait()
            return JoinGroupResponse(protocol_name="")

        async def leave(_client: Client, _request: LeaveGroupRequest) -> LeaveGroupResponse:
            begun.append("leave")
            left.set()
            return LeaveGroupResponse()

        async def beat(_client: Client, _request: HeartbeatRequest) -> HeartbeatResponse:
            begun.append("heartbeat")
            return HeartbeatResponse()

        async def use(door: KafkaDoor) -> None:
            async with connected(door) as (reader, writer):
                joining = framed(
                    11, 4, 1, bytes(encode(JoinGroupRequest(), 4, False)), flexible=False
                )
                leaving = framed(
                    13, 2, 2, bytes(encode(LeaveGroupRequest(), 2, False)), flexible=False
                )
                writer.write(joining + leaving + heartbeat(3))
                assert [number for number, _ in await answers(reader, 3)] == [1, 2, 3]
                begun.clear()
                left.clear()
                waits.clear()
                writer.write(joining + heartbeat(2) + leaving)
                await waits.wait()
                left.set()
                await answers(reader, 3)
            assert begun == ["join", "heartbeat", "leave"]

        others = [api(JoinGroupRequest, join), api(LeaveGroupRequest, leave)]
        await with_door(use, answer=beat, others=others)

    asyncio.run(run())


def test_a_connection_that_broke_is_told_of_unless_the_door_closes() -> None:
    async def run() -> None:
        told: list[Connection] = []
        broken = asyncio.Event()

        def broke(connection: Connection) -> None:
            assert connection.gone
            told.append(connection)
            broken.set()

        async def use(door: KafkaDoor) -> None:
            async with connected(door) as (stays, speaks):
                async with connected(door) as (reader, writer):
                    writer.write(heartbeat(1))
                    await answers(reader, 1)
                await broken.wait()
                speaks.write(heartbeat(1))
                await answers(stays, 1)
                door.close()
                assert await stays.read() == b""
            assert len(told) == 1

        await with_door(use, broke=broke)

    asyncio.run(run())


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\0",
        framed(999, 0, 1, b"", flexible=False),
        framed(12, 99, 1, b"", flexible=False),
        framed(12, 3, 1, b"\xff", flexible=False),
        framed(0, 2, 1, b"", flexible=False),
        framed(12, 3, 1, bytes(8 << 20), flexible=False),
        fetch(1, partitions=100_001),
    ],
)
def test_bytes_that_are_no_request_end_the_connection_and_nothing_else(garbage: bytes) -> None:
    async def use(door: KafkaDoor) -> None:
        async with connected(door) as (other, speaks):
            async with connected(door) as (reader, writer):
                writer.write(garbage)
                assert await reader.read() == b""
            speaks.write(heartbeat(4))
            assert [number for number, _ in await answers(other, 1)] == [4]

    asyncio.run(with_door(use))


def test_an_api_versions_request_of_a_version_to_come_is_answered_in_version_0() -> None:
    async def use(door: KafkaDoor) -> None:
        async with connected(door) as (reader, writer):
            writer.write(framed(18, 77, 5, b"whatever that will be", flexible=False))
            ((number, body),) = await answers(reader, 1)
            assert number == 5
            found = decode(ApiVersionsResponse, 0, False, memoryview(body))
            assert found.error_code == 35
            assert [(each.api_key, each.max_version) for each in found.api_keys] == [(18, 4)]
            asked = bytes(encode(ApiVersionsRequest(client_software_name="x"), 3, True))
            writer.write(framed(18, 3, 6, asked, flexible=True))
            ((number, body),) = await answers(reader, 1)
        assert number == 6
        found = decode(ApiVersionsResponse, 3, True, memoryview(body))
        produced = next(each for each in found.api_keys if each.api_key == 0)
        # From 0, although 3 is the first that is spoken (KAFKA-18659).
        assert (produced.min_version, produced.max_version) == (0, 11)

    asyncio.run(with_door(use))


def test_more_connections_than_allowed_are_sent_away() -> None:
    async def use(door: KafkaDoor) -> None:
        async with connected(door) as (kept, speaks):
            async with connected(door) as (leaving, writer):
                for each in (speaks, writer):
                    each.write(heartbeat(1))
                await answers(kept, 1)
                await answers(leaving, 1)
                async with connected(door) as (refused, _):
                    assert await refused.read() == b""
            # The place of the one that has left is free once the door has heard of it.
            while True:
                async with connected(door) as (reader, writer):
                    writer.write(heartbeat(2))
                    with suppress(asyncio.IncompleteReadError, ConnectionError):
                        assert [number for number, _ in await answers(reader, 1)] == [2]
                        return

    asyncio.run(with_door(use, KafkaLimits(max_connections=2)))


def test_acks_0_is_not_answered_and_an_error_of_it_ends_the_connection() -> None:
    async def use(door: KafkaDoor) -> None:
        async with connected(door) as (reader, writer):
            writer.write(produce(1, acks=0))
            assert await reader.read() == b""

    asyncio.run(with_door(use))


def test_an_idle_connection_is_closed_and_a_waiting_one_is_not() -> None:
    async def run() -> None:
        released = asyncio.Event()

        async def slow(_client: Client, _request: HeartbeatRequest) -> HeartbeatResponse:
            await released.wait()
            return HeartbeatResponse()

        async def use(door: KafkaDoor) -> None:
            async with connected(door) as (waiting, writer), connected(door) as (idle, _):
                writer.write(heartbeat(1))
                assert await idle.read() == b""
                released.set()
                assert [number for number, _ in await answers(waiting, 1)] == [1]

        await with_door(use, KafkaLimits(idle_ms=200), slow)

    asyncio.run(run())


def test_a_door_that_closes_waits_for_no_answer() -> None:
    """A request may wait for a minute for a controller; a node that stops does not wait with it."""

    async def run() -> None:
        begun = asyncio.Event()

        async def for_ever(_client: Client, _request: HeartbeatRequest) -> HeartbeatResponse:
            begun.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        async def use(door: KafkaDoor) -> None:
            async with connected(door) as (reader, writer):
                writer.write(heartbeat(1))
                await begun.wait()
                door.close()
                assert await reader.read() == b""

        await with_door(use, answer=for_ever)

    asyncio.run(run())


def hello(correlation_id: int, name: str, version: str) -> bytes:
    request = ApiVersionsRequest(client_software_name=name, client_software_version=version)
    return framed(18, 3, correlation_id, bytes(encode(request, 3, True)), flexible=True)


def test_what_a_client_does_not_read_counts_until_it_does_or_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def use(door: KafkaDoor) -> None:
        moved = asyncio.Event()
        update = door.unsent.update

        def watched(connection: Hashable, held_bytes: int) -> None:
            update(connection, held_bytes)
            moved.set()

        async def room(*, all_of_it: bool) -> None:
            while (door.unsent.room_bytes == 1 << 20) != all_of_it:
                await moved.wait()
                moved.clear()

        monkeypatch.setattr(door.unsent, "update", watched)
        # Connections have it from their listener.
        door._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for reads in (True, False):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.connect(("127.0.0.1", door.port))
                client.sendall(fetch(1, partitions=20_000))
                await room(all_of_it=False)
                if reads:
                    reader, writer = await asyncio.open_connection(sock=client.dup())
                    await answers(reader, 1)
                    await room(all_of_it=True)
                    writer.close()
            await room(all_of_it=True)

    asyncio.run(with_door(use, KafkaLimits(max_unsent_bytes=1 << 20)))


def test_a_librdkafka_that_was_given_much_waits_for_more_and_others_do_not() -> None:
    async def use(door: KafkaDoor) -> None:
        async with connected(door) as (paced, writer), connected(door) as (other, other_writer):
            writer.write(hello(1, "confluent-kafka-python", "2.16.1-librdkafka-2.16.0"))
            other_writer.write(hello(1, "apache-kafka-java", "4.3.1"))
            await answers(other, 1)
            writer.write(fetch(2, partitions=20) + fetch(3, partitions=1))
            *_, (_, body) = await answers(paced, 2)
            began_s = asyncio.get_running_loop().time()
            second = asyncio.create_task(answers(paced, 1))
            other_writer.write(fetch(2, partitions=20) + fetch(3, partitions=20))
            await answers(other, 2)
            assert not second.done()
            await second
            assert asyncio.get_running_loop().time() - began_s > len(body) / 1000 / 2

    asyncio.run(with_door(use, KafkaLimits(fetch_byte_rate=1000)))

"""A compacted topic on real nodes: the last value of every key stays on every replica, tombstones go in the end."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ottla import Admin, BrokerError, Consumer, ConsumerRecord, OffsetSpec, Producer, TopicPartition
from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port
from storage.errors import ErrorCode
from tests.integration.load import full_isr, leader

pytestmark = pytest.mark.integration

LIMIT_S = 30.0
KEYS = 20
ROUNDS = 30
Picture = dict[bytes, bytes | None]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes that look after their logs all the time."""
    made = LocalCluster.init(
        tmp_path_factory.mktemp("cluster"),
        base_port=free_base_port(3, random.Random()),
        settings={"log.retention.check.interval.ms": "50"},
    )
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.down()


async def _make(admin: Admin, topic: str, replicas: list[int], **more: str) -> None:
    configs = {
        "cleanup.policy": "compact",
        "segment.bytes": "4000",
        "min.cleanable.dirty.ratio": "0.1",
        "min.insync.replicas": "1",
    }
    more = {key.replace("_", "."): value for key, value in more.items()}
    await admin.create_topic(topic, assignments=[replicas], configs=configs | more)


async def _fill(bootstrap: str, topic: str) -> Picture:
    """Every key over and over; in the last round every second one is deleted. Returns what must be left."""
    wanted: Picture = {}
    async with Producer(bootstrap, linger_ms=1) as producer:
        for number in range(ROUNDS):
            for key in range(KEYS):
                deleted = number == ROUNDS - 1 and key % 2
                value = None if deleted else b"%d of %d" % (number, key) + b"." * 40
                await producer.send(topic, value, key=b"key-%d" % key)
                wanted[b"key-%d" % key] = value
            await producer.flush()
        # These close the last segment that matters; the active one is never compacted.
        for number in range(60):
            await producer.send(topic, b"%d" % number + b"." * 100, key=b"filler")
            wanted[b"filler"] = b"%d" % number + b"." * 100
            await producer.flush()
    return wanted


async def _read(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    """Everything up to the end as of now; an end that cannot be reached fails the test."""
    where = TopicPartition(topic, 0)
    found: list[ConsumerRecord] = []
    async with asyncio.timeout(LIMIT_S), Consumer(bootstrap) as consumer:
        end = (await consumer.offsets({where: OffsetSpec.LATEST}))[where].offset
        consumer.assign([where])
        while (consumer.position(where) or 0) < end:
            found += await consumer.poll(0.5)
    return found


async def _compacted(bootstrap: str, topic: str, at_most: int) -> list[ConsumerRecord]:
    async with asyncio.timeout(LIMIT_S):
        while True:
            found = await _read(bootstrap, topic)
            if len(found) <= at_most:
                return found
            await asyncio.sleep(0.1)


async def _lead(admin: Admin, topic: str, node: int, replicas: list[int]) -> None:
    await admin.reassign(topic, 0, [node, *(each for each in replicas if each != node)])
    async with asyncio.timeout(LIMIT_S):
        while True:
            if not await admin.reassignments():
                break
            await asyncio.sleep(0.05)
    await full_isr(admin, topic)
    await admin.elect_leaders([(topic, 0)])
    assert await leader(admin, topic) == node


def _picture(records: list[ConsumerRecord]) -> Mapping[bytes | None, bytes | None]:
    assert [each.offset for each in records] == sorted({each.offset for each in records})
    return {each.key: each.value for each in records}


def test_every_replica_keeps_the_last_value_of_every_key(cluster: LocalCluster) -> None:
    """Also one that is made from a log with gaps, and all of them after a crash."""

    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            await _make(admin, "kept", [1, 2])
            wanted = await _fill(cluster.bootstrap, "kept")
            everything = ROUNDS * KEYS + 60
            for node in (1, 2, 3):
                await _lead(admin, "kept", node, [1, 2, 3])
                found = await _compacted(cluster.bootstrap, "kept", everything // 4)
                assert _picture(found) == wanted
            for node in (1, 2, 3):
                await asyncio.to_thread(cluster.kill, node)
            await cluster.up()
            await full_isr(admin, "kept")
            assert _picture(await _read(cluster.bootstrap, "kept")) == wanted

    asyncio.run(run())


def test_tombstones_go_when_readers_had_time_to_see_them(cluster: LocalCluster) -> None:
    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            await _make(admin, "deleted", [1, 2, 3], delete_retention_ms="300")
            wanted = await _fill(cluster.bootstrap, "deleted")
            alive = {key: value for key, value in wanted.items() if value is not None}
            async with asyncio.timeout(LIMIT_S), Producer(cluster.bootstrap) as producer:
                number = 0
                while _picture(await _read(cluster.bootstrap, "deleted")) != alive:
                    # A log is compacted again only when there is something new in it.
                    alive[b"filler"] = b"%d" % number + b"." * 500
                    await producer.send_and_wait("deleted", alive[b"filler"], key=b"filler")
                    number += 1

    asyncio.run(run())


def test_a_record_without_key_is_refused_by_name(cluster: LocalCluster) -> None:
    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin, Producer(cluster.bootstrap) as producer:
            await _make(admin, "keyed", [1, 2, 3])
            with pytest.raises(BrokerError, match="only records with a key") as caught:
                await producer.send_and_wait("keyed", b"no key")
            assert caught.value.code is ErrorCode.INVALID_RECORD
            assert not caught.value.retriable
            await producer.send_and_wait("keyed", b"value", key=b"key")

    asyncio.run(run())


def test_a_topic_can_become_compacted(cluster: LocalCluster, tmp_path: Path) -> None:
    """What has no key then is superseded by anything."""

    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            await _make(admin, "turned", [1, 2, 3], cleanup_policy="delete")
            async with Producer(cluster.bootstrap) as producer:
                await producer.send_and_wait("turned", b"no key")
            await admin.alter_topic_configs("turned", set_={"cleanup.policy": "compact"})
            wanted = await _fill(cluster.bootstrap, "turned")
            found = await _compacted(cluster.bootstrap, "turned", ROUNDS * KEYS // 4)
            assert _picture(found) == wanted

    asyncio.run(run())

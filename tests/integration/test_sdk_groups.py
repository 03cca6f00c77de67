"""Consumer groups of the SDK, and groups with members of both doors, against real processes."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator

import confluent_kafka
import pytest

from ottla import Admin, BrokerError, Consumer, ErrorCode, OffsetAndMetadata, TopicPartition
from ottla.client.errors import NoOffsetError, NotMemberError
from ottla.local.cluster import LocalCluster
from tests.integration.groups_lab import (
    KafkaMember,
    KafkaPythonMember,
    Member,
    filled,
    places,
    quick_cluster,
    send,
    twice,
    until,
)

pytestmark = pytest.mark.integration
EAGER = ("range",)
COOPERATIVE = ("cooperative-sticky",)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes whose groups rebalance without delay."""
    yield from quick_cluster(tmp_path_factory.mktemp("cluster"))


@pytest.mark.parametrize(
    "strategy", [EAGER, ("roundrobin",), ("sticky",), COOPERATIVE], ids=lambda each: each[0]
)
def test_two_members_share_and_one_takes_over(
    cluster: LocalCluster, strategy: tuple[str, ...]
) -> None:
    async def run() -> None:
        topic = group = f"share-{strategy[0]}"
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=4, records=40)
        first = Member(cluster.bootstrap, group, [topic], assignment_strategy=strategy)
        second = Member(cluster.bootstrap, group, [topic], assignment_strategy=strategy)
        async with first.running():
            await until(lambda: len(first.read) == 40, "the first member reads all")
            async with second.running():
                await until(lambda: len(second.partitions) == 2, "the second gets its share")
                await until(lambda: len(first.partitions) == 2, "the first has given it up")
                assert not first.partitions & second.partitions
                await send(cluster, topic, range(40), 4)
                await until(lambda: len(first.read + second.read) >= 80, "both read on")
            await until(lambda: len(first.partitions) == 4, "the first takes over")
            await send(cluster, topic, range(8), 4)
            await until(lambda: len(first.read + second.read) >= 88, "the first reads on alone")
        assert twice(places(first.read + second.read)) == []
        if strategy == COOPERATIVE:
            assert ("revoked", [0, 1, 2, 3]) not in first.told[:-1], "only what moves is revoked"

    asyncio.run(run())


CRASHING = """
import asyncio, sys
from ottla import Consumer
async def main():
    async with Consumer(sys.argv[1], group_id=sys.argv[2], session_timeout_ms=1000, heartbeat_interval_ms=200,
                        auto_commit_interval_ms=100) as consumer:
        await consumer.subscribe([sys.argv[3]])
        while True:
            await consumer.poll(0.2)
            print(len(consumer.assignment), flush=True)
asyncio.run(main())
"""


def test_a_killed_member_is_replaced_within_the_session_timeout(cluster: LocalCluster) -> None:
    async def run() -> None:
        topic = group = "crash"
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=2, records=20)
        victim = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-c", CRASHING, cluster.bootstrap, group, topic],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert victim.stdout is not None
        try:
            line = ""
            while line != "2\n":
                line = await asyncio.to_thread(victim.stdout.readline)
                assert victim.poll() is None
            member = Member(cluster.bootstrap, group, [topic])
            async with member.running():
                await until(lambda: len(member.partitions) == 1, "both have one")
                victim.kill()
                loop = asyncio.get_running_loop()
                killed_s = loop.time()
                await until(lambda: len(member.partitions) == 2, "the other is replaced")
                assert loop.time() - killed_s < 1.0 + 2.0
        finally:
            victim.kill()
            victim.wait()
            victim.stdout.close()

    asyncio.run(run())


def test_members_of_both_doors_share_a_group_and_read_every_record_once(
    cluster: LocalCluster,
) -> None:
    async def run() -> None:
        topic = group = "mixed"
        async with Admin(cluster.bootstrap) as admin:
            await admin.create_topic(topic, partitions=6, replication_factor=3)
        ours = Member(cluster.bootstrap, group, [topic], assignment_strategy=EAGER)
        theirs = KafkaMember(
            cluster, group, topic, **{"partition.assignment.strategy": "range,roundrobin"}
        )
        async with ours.running(), theirs.running():
            await until(lambda: len(ours.partitions) == 3, "ours has half of them")
            await until(lambda: len(theirs.partitions) == 3, "theirs has the other half")
            assert not ours.partitions & theirs.partitions
            await send(cluster, topic, range(60), 6)
            over_kafka = confluent_kafka.Producer(
                {"bootstrap.servers": cluster.nodes[0].kafka, "enable.idempotence": True}
            )
            for number in range(60):
                over_kafka.produce(topic, b"k%d" % number, partition=number % 6)
            assert await asyncio.to_thread(over_kafka.flush, 20) == 0
            await until(lambda: len(ours.read) + len(theirs.read) >= 120, "all is read")
        read = places(ours.read) + theirs.read
        assert twice(read) == []
        assert len(read) == 120
        assert {each.value[:1] for each in ours.read if each.value} >= {b"k", b"0"}

    asyncio.run(run())


def test_cooperative_members_of_both_doors_share_a_group(cluster: LocalCluster) -> None:
    async def run() -> None:
        topic = group = "mixed-cooperative"
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=4, records=40)
        ours = Member(cluster.bootstrap, group, [topic], assignment_strategy=COOPERATIVE)
        theirs = KafkaMember(
            cluster, group, topic, **{"partition.assignment.strategy": "cooperative-sticky"}
        )
        async with theirs.running():
            await until(lambda: len(theirs.read) == 40, "theirs reads all")
            async with ours.running():
                await until(lambda: len(ours.partitions) == 2, "ours gets two of them")
                await until(lambda: len(theirs.partitions) == 2, "theirs has let go of them")
                await send(cluster, topic, range(40), 4)
                await until(lambda: len(ours.read) + len(theirs.read) >= 80, "both read on")
            await until(lambda: len(theirs.partitions) == 4, "theirs takes over")
        assert twice(places(ours.read) + theirs.read) == []

    asyncio.run(run())


def test_kafka_python_and_librdkafka_and_the_sdk_share_a_group(cluster: LocalCluster) -> None:
    async def run() -> None:
        topic = group = "three-kinds"
        async with Admin(cluster.bootstrap) as admin:
            await admin.create_topic(topic, partitions=6, replication_factor=3)
        ours = Member(cluster.bootstrap, group, [topic], assignment_strategy=EAGER)
        theirs = KafkaMember(cluster, group, topic, **{"partition.assignment.strategy": "range"})
        python = KafkaPythonMember(cluster, group, topic)
        async with ours.running(), theirs.running(), python.running():
            members = (ours, theirs, python)
            await until(
                lambda: all(len(each.partitions) == 2 for each in members), "each has two of six"
            )
            assert ours.partitions | theirs.partitions | python.partitions == set(range(6))
            await send(cluster, topic, range(60), 6)
            await until(
                lambda: len(ours.read) + len(theirs.read) + len(python.read) >= 60, "all is read"
            )
        read = places(ours.read) + theirs.read + python.read
        assert twice(read) == []
        assert len(read) == 60

    asyncio.run(run())


def test_positions_of_one_door_are_those_of_the_other(cluster: LocalCluster) -> None:
    async def run() -> None:
        topic = group = "positions"
        where = TopicPartition(topic, 0)
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=1, records=10)
        async with Consumer(cluster.bootstrap, group_id=group, enable_auto_commit=False) as ours:
            assert await ours.committed([where]) == {where: None}
            await ours.commit({where: OffsetAndMetadata(4, "a note")})
        kafka = confluent_kafka.Consumer(
            {"bootstrap.servers": cluster.nodes[0].kafka, "group.id": group}
        )
        found = await asyncio.to_thread(
            kafka.committed, [confluent_kafka.TopicPartition(topic, 0)], 10
        )
        assert (found[0].offset, found[0].metadata) == (4, "a note")
        await asyncio.to_thread(
            lambda: kafka.commit(
                offsets=[confluent_kafka.TopicPartition(topic, 0, 7)], asynchronous=False
            )
        )
        kafka.close()
        async with Consumer(cluster.bootstrap, group_id=group) as ours:
            ours.assign([where])
            records = await ours.poll(10)
            assert records[0].offset == 7
            found_now = (await ours.committed([where]))[where]
            assert found_now is not None
            assert found_now.offset == 7
            assert found_now.commit_timestamp_ms > 0

    asyncio.run(run())


def test_a_static_member_comes_back_to_its_partitions_and_fences_its_double(
    cluster: LocalCluster,
) -> None:
    async def run() -> None:
        topic = group = "static"
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=4, records=4)
        other = Member(cluster.bootstrap, group, [topic])
        async with other.running():
            first = Member(cluster.bootstrap, group, [topic], group_instance_id="one")
            async with first.running():
                await until(lambda: len(first.partitions) == 2, "both have two")
                had = first.partitions
            told = len(other.told)
            again = Member(cluster.bootstrap, group, [topic], group_instance_id="one")
            async with again.running():
                await until(lambda: again.partitions == had, "it has what it had")
                assert other.told[told:] == [], "nobody else has noticed"
                double = Member(cluster.bootstrap, group, [topic], group_instance_id="one")
                async with double.running():
                    await until(lambda: double.partitions == had, "the double has them")
                    await until(lambda: bool(again.refused), "the one before is fenced")
                    assert again.refused == [ErrorCode.FENCED_INSTANCE_ID]

    asyncio.run(run())


def test_who_does_not_poll_loses_its_partitions_and_comes_back(cluster: LocalCluster) -> None:
    async def run() -> None:
        topic = group = "slow"
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=2, records=2)
        slow = Member(cluster.bootstrap, group, [topic], max_poll_interval_ms=500)
        other = Member(cluster.bootstrap, group, [topic])
        async with slow.consumer as consumer:
            await consumer.subscribe([topic], listener=slow)
            while len(slow.partitions) < 2:
                await consumer.poll(0.2)
            async with other.running():
                await until(lambda: len(other.partitions) == 2, "the other has got them")
                with pytest.raises(NotMemberError, match="no member of group slow"):
                    await consumer.commit()
                assert "no poll for" in str(consumer.last_error)
                polled = 0
                while len(slow.partitions) != 1:
                    await consumer.poll(0.2)
                    polled += 1
                    assert polled < 200
                assert slow.told[1] == ("revoked", [0, 1])

    asyncio.run(run())


def test_a_pattern_takes_in_new_topics_and_new_partitions(cluster: LocalCluster) -> None:
    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            member = Member(cluster.bootstrap, "pattern", re.compile(r"wild-\w+"))
            async with member.running():
                await filled(cluster, admin, "wild-a", partitions=1, records=1)
                await filled(cluster, admin, "not-wild-a", partitions=1, records=1)
                await until(lambda: len(member.read) == 1, "a topic that is new")
                await filled(cluster, admin, "wild-b", partitions=1, records=1)
                await until(lambda: len(member.read) == 2, "another one")
                await admin.create_partitions("wild-b", 3)
                await until(lambda: len(member.consumer.assignment) == 4, "new partitions")
                assert member.consumer.subscription == ["wild-a", "wild-b"]

    asyncio.run(run())


def test_pause_seek_lag_and_the_loop_count_what_was_dealt_with(cluster: LocalCluster) -> None:
    async def run() -> None:
        topic = group = "loop"
        where = TopicPartition(topic, 0)
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=1, records=10)
        async with Consumer(
            cluster.bootstrap, group_id=group, enable_auto_commit=False
        ) as consumer:
            await consumer.subscribe([topic])
            async for record in consumer:
                if record.offset == 5:
                    assert consumer.position(where) == 6
                    assert consumer.lag(where) == 4
                    await consumer.commit()
                    break
            consumer.pause(where)
            assert consumer.paused == [where]
            assert await consumer.poll(0.3) == []
            consumer.resume(where)
            consumer.seek(where, 2)
            assert (await consumer.poll(10))[0].offset == 2
            consumer.seek(where, "committed")
            assert (await consumer.poll(10))[0].offset == 6
            await consumer.unsubscribe()
            assert consumer.assignment == []

        async def fail() -> None:
            async with Consumer(cluster.bootstrap, group_id=group) as consumer:
                await consumer.subscribe(topic)
                async for record in consumer:
                    assert record.offset == 6
                    raise RuntimeError("the program fails")

        with pytest.raises(RuntimeError, match="the program fails"):
            await fail()
        async with Consumer(cluster.bootstrap, group_id=group) as consumer:
            found = (await consumer.committed([where]))[where]
            assert found is not None
            assert found.offset == 6, "what the program failed at is not committed"

    asyncio.run(run())


def test_a_group_without_a_position_says_so_when_asked_to(cluster: LocalCluster) -> None:
    async def run() -> None:
        topic = "no-position"
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=1, records=1)
        async with Consumer(
            cluster.bootstrap, group_id=topic, auto_offset_reset="error"
        ) as consumer:
            await consumer.subscribe([topic])
            with pytest.raises(NoOffsetError, match="no position in no-position-0"):
                await consumer.poll(20)

    asyncio.run(run())


def test_members_that_cannot_agree_are_refused_with_kafkas_code(cluster: LocalCluster) -> None:
    async def run() -> None:
        topic = group = "disagree"
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=1, records=1)
        first = Member(cluster.bootstrap, group, [topic], assignment_strategy=EAGER)
        async with first.running():
            await until(lambda: len(first.read) == 1, "the first reads")
            async with Consumer(
                cluster.bootstrap, group_id=group, assignment_strategy=["sticky"]
            ) as second:
                await second.subscribe([topic])
                with pytest.raises(BrokerError) as refused:
                    await second.poll(20)
                assert refused.value.code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        async with Consumer(cluster.bootstrap, group_id=group, session_timeout_ms=1) as hasty:
            await hasty.subscribe([topic])
            with pytest.raises(BrokerError) as refused:
                await hasty.poll(20)
            assert refused.value.code == ErrorCode.INVALID_SESSION_TIMEOUT

    asyncio.run(run())


def test_the_blocking_consumer_joins_groups(cluster: LocalCluster) -> None:
    from ottla import sync

    topic = group = "blocking"
    where = TopicPartition(topic, 0)

    async def fill() -> None:
        async with Admin(cluster.bootstrap) as admin:
            await filled(cluster, admin, topic, partitions=1, records=10)

    class Listener:
        def on_assigned(self, partitions: list[TopicPartition]) -> None:
            consumer.seek(partitions[0], 3)

    asyncio.run(fill())
    with sync.Consumer(cluster.bootstrap, group_id=group) as consumer:
        consumer.subscribe([topic], listener=Listener())
        offsets = []
        for record in consumer:
            offsets.append(record.offset)
            if len(offsets) == 4:
                break
        assert offsets == [3, 4, 5, 6]
        consumer.commit()
        committed = consumer.committed([where])[where]
        assert committed is not None
        assert committed.offset == 7
        assert consumer.lag(where) == 3
        assert json.dumps(consumer.subscription) == '["blocking"]'

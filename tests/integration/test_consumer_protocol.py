"""librdkafka with `group.protocol=consumer` (KIP-848) against three nodes, one of which dies."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from ottla.local.cluster import LocalCluster
from tests.integration.conftest import running

pytestmark = pytest.mark.integration

LIMIT_S = 40.0
PARTITIONS = 6
RECORDS = 300
FAST = {
    "group.consumer.min.heartbeat.interval.ms": "300",
    "group.consumer.heartbeat.interval.ms": "300",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
}


@pytest.fixture
def fast_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes whose groups beat fast."""
    yield from running(tmp_path / "cluster", FAST)


class Members:
    """Consumers of one group, polled in turn. read: what they were given, once each."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.alive: list[Consumer] = []
        self.read: set[bytes] = set()

    def join(self, *topics: str) -> Consumer:
        member = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "g",
                "group.protocol": "consumer",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        member.subscribe(list(topics))
        self.alive.append(member)
        return member

    def poll_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < end, (
                f"after {LIMIT_S} s: {self.shares()}, {len(self.read)} read"
            )
            for member in self.alive:
                message = member.poll(0.02)
                if message is not None and message.error() is None:
                    value = message.value()
                    assert value is not None
                    self.read.add(value)

    def shares(self) -> list[int]:
        return sorted(len(member.assignment()) for member in self.alive)

    def leave(self, member: Consumer) -> None:
        self.alive.remove(member)
        member.close()

    def close(self) -> None:
        for member in self.alive:
            member.close()


def produce(bootstrap: str, values: Sequence[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for index, value in enumerate(values):
        producer.produce("t", value, partition=index % PARTITIONS)
    assert producer.flush(LIMIT_S) == 0


def test_a_group_goes_on_when_its_coordinator_is_killed(fast_cluster: LocalCluster) -> None:
    bootstrap = ",".join(str(node.kafka) for node in fast_cluster.nodes)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic("t", PARTITIONS, 3)])["t"].result(LIMIT_S)
    first = [b"first-%d" % each for each in range(RECORDS)]
    produce(bootstrap, first)

    members = Members(bootstrap)
    try:
        for _ in range(3):
            members.join("t")
        members.poll_until(lambda: members.shares() == [2, 2, 2])
        members.poll_until(lambda: members.read == set(first))
        for member in members.alive:
            assert member.commit(asynchronous=False)

        described = admin.describe_consumer_groups(["g"])["g"].result(LIMIT_S)
        assert (described.state.name, described.type.name) == ("STABLE", "CONSUMER")
        owned = [
            (each.topic, each.partition)
            for member in described.members
            for each in member.assignment.topic_partitions
        ]
        assert sorted(owned) == [("t", number) for number in range(PARTITIONS)]

        fast_cluster.kill(described.coordinator.id)
        second = [b"second-%d" % each for each in range(RECORDS)]
        produce(bootstrap, second)
        members.poll_until(lambda: members.read == {*first, *second})
        members.poll_until(lambda: members.shares() == [2, 2, 2])
        for member in members.alive:
            assert member.commit(asynchronous=False)

        members.leave(members.alive[0])
        members.poll_until(lambda: members.shares() == [3, 3])
        # A client that has not seen the node die: librdkafka's admin client may wait a minute for a dead controller.
        fresh = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        fresh.create_partitions([NewPartitions("t", PARTITIONS + 2)])["t"].result(LIMIT_S)
        members.poll_until(lambda: members.shares() == [4, 4])
        where = [TopicPartition("t", number) for number in range(PARTITIONS)]
        found = members.alive[0].committed(where, timeout=LIMIT_S)
        assert [each.offset for each in found] == [2 * RECORDS // PARTITIONS] * PARTITIONS
    finally:
        members.close()

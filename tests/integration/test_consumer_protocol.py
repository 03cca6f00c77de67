"""librdkafka with `group.protocol=consumer` (KIP-848) against three nodes, one of which dies."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from ottla.local.cluster import LocalCluster
from tests.integration.conftest import running
from tests.integration.polled_members import FAST, LIMIT_S, PARTITIONS, Members, produce

pytestmark = pytest.mark.integration

RECORDS = 300


@pytest.fixture
def fast_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes whose groups beat fast."""
    yield from running(tmp_path / "cluster", FAST)


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

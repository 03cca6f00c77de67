"""librdkafka's members change from the classic protocol to KIP-848 one by one and back, while records are read."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupType
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ottla.local.cluster import LocalCluster
from tests.integration.conftest import running
from tests.integration.polled_members import FAST, LIMIT_S, PARTITIONS, Members, produce

pytestmark = pytest.mark.integration

MEMBERS = 3
RECORDS = 120
NEW: dict[str, Any] = {"group.protocol": "consumer", "enable.auto.commit": True}


def classic(strategy: str) -> dict[str, Any]:
    return {
        "group.protocol": "classic",
        "partition.assignment.strategy": strategy,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 300,
        "enable.auto.commit": True,
    }


@pytest.fixture
def fast_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes whose groups beat fast."""
    yield from running(tmp_path / "cluster", FAST | {"group.initial.rebalance.delay.ms": "0"})


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_a_group_is_upgraded_and_downgraded_member_by_member(
    fast_cluster: LocalCluster, strategy: str
) -> None:
    bootstrap = ",".join(str(node.kafka) for node in fast_cluster.nodes)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic("t", PARTITIONS, 3)])["t"].result(LIMIT_S)
    sent: set[bytes] = set()
    numbers = itertools.count()
    members = Members(bootstrap)

    def kind() -> ConsumerGroupType:
        (found,) = admin.list_consumer_groups().result(LIMIT_S).valid
        assert isinstance(found.type, ConsumerGroupType)
        return found.type

    def more() -> None:
        values = [b"%d" % next(numbers) for _ in range(RECORDS)]
        produce(bootstrap, values)
        sent.update(values)

    def settled() -> None:
        """Everybody has its share, and reads all that came meanwhile."""
        more()
        members.poll_until(lambda: members.shares() == [PARTITIONS // MEMBERS] * MEMBERS)
        members.poll_until(lambda: members.read == sent)

    def replace(old: Consumer, settings: dict[str, Any]) -> None:
        more()
        members.leave(old)
        members.join("t", **settings)
        settled()

    try:
        for _ in range(MEMBERS):
            members.join("t", **classic(strategy))
        settled()
        assert kind() is ConsumerGroupType.CLASSIC
        for old in tuple(members.alive):
            replace(old, NEW)
            assert kind() is ConsumerGroupType.CONSUMER
        for old in tuple(members.alive)[:-1]:
            replace(old, classic(strategy))
            assert kind() is ConsumerGroupType.CONSUMER
        replace(members.alive[0], classic(strategy))
        assert kind() is ConsumerGroupType.CLASSIC
    finally:
        members.close()

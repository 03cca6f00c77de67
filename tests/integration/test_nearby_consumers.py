"""librdkafka with a `client.rack` reads from the follower there, and goes on when that follower dies (KIP-392)."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port

pytestmark = pytest.mark.integration

LIMIT_S = 40.0
SELECTOR = {"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"}


@pytest.fixture
def racks(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes, each in a rack of its own."""
    made = LocalCluster.init(
        tmp_path / "cluster", base_port=free_base_port(3, random.Random()), settings=SELECTOR
    )
    for node in made.nodes:
        with node.config.open("a", encoding="utf-8") as file:
            file.write(f'"broker.rack" = "rack-{node.node_id}"\n')
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.down()


class Nearby:
    """A consumer of `t`. read: the values it was given, in order; reads_from: the node, as its statistics say."""

    def __init__(self, bootstrap: str, rack: str) -> None:
        self.read: list[bytes] = []
        self.reads_from = -1
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "nearby",
                "client.rack": rack,
                "auto.offset.reset": "error",
                "enable.auto.commit": False,
                "statistics.interval.ms": 100,
                "stats_cb": self._note,
                "topic.metadata.refresh.interval.ms": 1000,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition("t", 0, 0)])

    def _note(self, text: str) -> None:
        partitions = json.loads(text)["topics"].get("t", {}).get("partitions", {})
        if "0" in partitions:
            self.reads_from = partitions["0"]["broker"]

    def poll_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < end, f"{len(self.read)} read from node {self.reads_from}"
            message = self._consumer.poll(0.05)
            if message is not None:
                assert message.error() is None, message.error()
                value = message.value()
                assert value is not None
                self.read.append(value)

    def close(self) -> None:
        self._consumer.close()


def produce(bootstrap: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for value in values:
        producer.produce("t", value, partition=0)
    assert producer.flush(LIMIT_S) == 0


def test_a_consumer_reads_in_its_rack_and_survives_the_death_of_its_replica(
    racks: LocalCluster,
) -> None:
    bootstrap = ",".join(str(node.kafka) for node in racks.nodes)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic("t", 1, 3)])["t"].result(LIMIT_S)
    values = [b"%d" % each for each in range(200)]
    produce(bootstrap, values)
    leader = admin.list_topics("t", LIMIT_S).topics["t"].partitions[0].leader
    home = next(node.node_id for node in racks.nodes if node.node_id != leader)
    nearby = Nearby(bootstrap, f"rack-{home}")
    try:
        nearby.poll_until(lambda: len(nearby.read) == 200 and nearby.reads_from == home)
        more = [b"more-%d" % each for each in range(200)]
        produce(bootstrap, more)
        nearby.poll_until(lambda: len(nearby.read) == 400)
        assert nearby.reads_from == home
        racks.kill(home)
        last = [b"last-%d" % each for each in range(200)]
        produce(bootstrap, last)
        nearby.poll_until(lambda: len(nearby.read) >= 600)
        assert nearby.read == values + more + last
    finally:
        nearby.close()

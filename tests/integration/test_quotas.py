"""librdkafka is told to wait, and waits, when it uses more than its quota (KIP-219); others do not notice."""

import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ottla.local.cluster import LocalCluster
from tests.compat.operator_scenarios import quota
from tests.compat.target import Target
from tests.integration.conftest import running

pytestmark = pytest.mark.integration

LIMIT_S = 40.0
RATE = 50_000
COUNT, SIZE = 60, 10_000
# Ten seconds' worth is free.
WAIT_S = (COUNT * SIZE - 10 * RATE) / RATE


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of its own: whoever is called `slow` has a quota, and there is a topic."""
    for cluster in running(tmp_path_factory.mktemp("quotas")):
        bootstrap = ",".join(str(node.kafka) for node in cluster.nodes)
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        admin.create_topics([NewTopic("t", 1, 3)])["t"].result(LIMIT_S)
        target = Target(bootstrap, "quotas")
        rates = (("producer_byte_rate", RATE), ("consumer_byte_rate", RATE))
        assert quota(target, {"client-id": "slow"}, *rates) == ["NONE"]
        target.close()
        yield cluster


class Timed:
    """How long something took, and how often the client was told to wait."""

    def __init__(self, cluster: LocalCluster, name: str) -> None:
        self.took_s = 0.0
        self.told = 0
        self._settings = {
            "bootstrap.servers": ",".join(str(node.kafka) for node in cluster.nodes),
            "client.id": name,
            "log_level": 0,
            "throttle_cb": self._note,
        }

    def _note(self, _event: object) -> None:
        self.told += 1

    def produce(self) -> None:
        producer = Producer({**self._settings, "linger.ms": 0, "batch.size": SIZE})
        began_s = time.monotonic()
        for _ in range(COUNT):
            producer.produce("t", bytes(SIZE), partition=0)
        assert producer.flush(LIMIT_S) == 0
        self.took_s = time.monotonic() - began_s

    def consume(self) -> None:
        consumer = Consumer(
            {
                **self._settings,
                "group.id": "g",
                "enable.auto.commit": False,
                "max.partition.fetch.bytes": 5 * SIZE,
            }
        )
        consumer.assign([TopicPartition("t", 0, 0)])
        began_s = time.monotonic()
        read = 0
        while read < COUNT:
            assert time.monotonic() - began_s < LIMIT_S, f"{read} read"
            message = consumer.poll(0.1)
            if message is not None:
                assert message.error() is None, message.error()
                read += 1
        self.took_s = time.monotonic() - began_s
        # What is told with the last answers comes with a poll, too.
        while not self.told and time.monotonic() - began_s < WAIT_S + 1:
            consumer.poll(0.1)
        consumer.close()


def test_a_producer_keeps_to_its_quota(limited: LocalCluster) -> None:
    slow, fast = Timed(limited, "slow"), Timed(limited, "fast")
    slow.produce()
    fast.produce()
    assert slow.told > 0
    assert slow.took_s > WAIT_S * 0.9
    assert fast.told == 0


def test_a_consumer_keeps_to_its_quota(limited: LocalCluster) -> None:
    fast, slow = Timed(limited, "fast"), Timed(limited, "slow")
    fast.produce()
    fast.consume()
    slow.consume()
    assert slow.told > 0
    assert slow.took_s > WAIT_S * 0.5
    assert fast.told == 0

"""The coordinator of a group is killed again and again under real clients that read and commit (G1, G2, G3)."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ottla.local.cluster import LocalCluster
from tests.compat.target import Target
from tests.integration.group_load import (
    Account,
    ConfluentMember,
    Member,
    PythonMember,
    until,
)

pytestmark = pytest.mark.integration

GROUP, TOPIC = "readers", "read"
PARTITIONS = 6
RATE_PAUSE_S = 0.003
NOT_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


def kafka_addresses(cluster: LocalCluster) -> str:
    return ",".join(node.kafka for node in cluster.nodes)


@contextmanager
def produced(addresses: str, topic: str) -> Iterator[None]:
    """Records come all the time; at the end all that was sent is there."""
    producer = Producer(
        {"bootstrap.servers": addresses, "enable.idempotence": True, "log_level": 0}
    )
    ending = threading.Event()

    def send() -> None:
        number = 0
        while not ending.wait(RATE_PAUSE_S):
            producer.produce(topic, b"%d" % number, partition=number % PARTITIONS)
            producer.poll(0)
            number += 1

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(10)
        assert producer.flush(60) == 0


def kill_coordinators(cluster: LocalCluster, times: int) -> None:
    addresses = kafka_addresses(cluster)
    admin = AdminClient({"bootstrap.servers": addresses, "log_level": 0})
    settings = {"min.insync.replicas": "2"}
    made = admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3, config=settings)])
    made[TOPIC].result(30)
    account = Account()
    members: list[Member] = [
        ConfluentMember(addresses, GROUP, TOPIC, account, "confluent-1"),
        ConfluentMember(addresses, GROUP, TOPIC, account, "confluent-2"),
        PythonMember(addresses, GROUP, TOPIC, account, "python-1"),
    ]
    with produced(addresses, TOPIC):
        for each in members[:2]:
            each.start()
        for number in range(times):
            if number == 1:
                # Partitions change hands, too.
                members[2].start()
            more_commits(account, members)
            victim = coordinator(cluster)
            cluster.kill(victim)
            known = account.known()
            account.fetched(known, fetch(addresses))
            more_commits(account, members)
            cluster.start(victim)
            asyncio.run(cluster.wait_serving([victim]))
            account.check()
    ends = end_offsets(addresses)

    def all_read() -> bool:
        return all(account.known().get(each, 0) >= end for each, end in ends.items())

    until(all_read, "commits up to the end")
    assert account.committers == {each.name for each in members}
    for each in members:
        each.stop()
    account.fetched(account.known(), fetch(addresses))
    account.check()
    account.check_nothing_skipped(ends)


def coordinator(cluster: LocalCluster) -> int:
    """Who coordinates the group, once somebody does."""
    target = Target(kafka_addresses(cluster), "groups")
    try:
        host, port = target.coordinator(GROUP)
    finally:
        target.close()
    return next(each.node_id for each in cluster.nodes if each.kafka == f"{host}:{port}")


def more_commits(account: Account, members: list[Member]) -> None:
    target = account.commits + 10
    until(
        lambda: account.commits >= target or any(each.error for each in members),
        "commits of the group",
    )
    for each in members:
        if each.error is not None:
            raise each.error


def fetch(addresses: str) -> dict[int, int]:
    """What the coordinator says, whoever it is by now."""
    consumer = Consumer({"bootstrap.servers": addresses, "group.id": GROUP, "log_level": 0})
    found: dict[int, int] = {}

    def answered() -> bool:
        wanted = [TopicPartition(TOPIC, each) for each in range(PARTITIONS)]
        try:
            answer = consumer.committed(wanted, timeout=30)
        except KafkaException as refused:
            # librdkafka asks again by itself where nobody answers, not where a node is the coordinator not yet.
            if refused.args[0].code() not in NOT_YET:
                raise
            return False
        found.update((each.partition, max(each.offset, 0)) for each in answer)
        return True

    try:
        until(answered, "committed positions")
    finally:
        consumer.close()
    return found


def end_offsets(addresses: str) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": addresses, "group.id": "ends", "log_level": 0})
    try:
        return {
            each: consumer.get_watermark_offsets(TopicPartition(TOPIC, each), timeout=30)[1]
            for each in range(PARTITIONS)
        }
    finally:
        consumer.close()


def test_nothing_committed_is_lost_when_coordinators_are_killed(own_cluster: LocalCluster) -> None:
    kill_coordinators(own_cluster, 3)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_committed_is_lost_when_fifty_coordinators_are_killed(
    own_cluster: LocalCluster,
) -> None:
    kill_coordinators(own_cluster, 50)

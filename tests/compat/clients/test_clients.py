"""Real Kafka clients do everything that they can at three nodes, and go on when a leader is killed."""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port
from tests.compat.clients.programs import BUILDERS, EVERYTHING, FAILOVER, built, python, run
from tests.compat.target import Target

pytestmark = pytest.mark.integration

SETTINGS = {"group.initial.rebalance.delay.ms": "0"}
LIMIT_S = 20.0
IN_HERE = ["confluent", "kafka_python", "aio", "faststream_"]
FRAMEWORKS = {
    "faststream_": [
        "publish and subscribe",
        "batches",
        "group: shares and rebalances",
        "commit: goes on after the last ack",
    ],
    "quix": [
        "a pipeline from topic to topic",
        "state: kept in a changelog, and recovered from it",
    ],
}


class Cluster:
    """Three nodes; `kill_leader` kills one, `heal` brings it back."""

    def __init__(self, nodes: LocalCluster) -> None:
        self.nodes = nodes
        self.bootstrap = ",".join(node.kafka for node in nodes.nodes)
        self.killed: list[int] = []

    def kill_leader(self, topic: str) -> None:
        target = Target(self.bootstrap, "clients")
        try:
            leads = target.metadata(topic).topics[0].partitions[0].leader_id
        finally:
            target.close()
        self.kill(leads)

    def kill(self, node_id: int) -> None:
        self.nodes.kill(node_id)
        self.killed.append(node_id)

    def heal(self) -> None:
        """Wait until all replicas are in sync."""
        while self.killed:
            self.nodes.start(self.killed.pop())
        asyncio.run(self.nodes.wait_serving([node.node_id for node in self.nodes.nodes]))
        target = Target(self.bootstrap, "clients")
        try:
            target.until(lambda: _in_sync(target))
        finally:
            target.close()


def _in_sync(target: Target) -> bool:
    return all(
        len(each.isr_nodes) == len(each.replica_nodes)
        for topic in target.all_topics()
        for each in topic.partitions
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("clients") / "cluster"
    made = LocalCluster.init(
        folder, base_port=free_base_port(3, random.Random()), settings=SETTINGS
    )
    try:
        asyncio.run(made.up())
        yield Cluster(made)
    finally:
        made.down()


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a program that has to be built."""
    name = str(request.param)
    return [name, *built(name, tmp_path_factory.mktemp("built") / name)]


@pytest.mark.parametrize("name", IN_HERE)
def test_a_client_finds_what_it_expects(name: str, cluster: Cluster, tmp_path: Path) -> None:
    _look(name, python(name), cluster, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_HERE)
def test_a_client_goes_on_when_its_leader_is_killed(
    name: str, cluster: Cluster, tmp_path: Path
) -> None:
    _fail_over(python(name), cluster, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("made", BUILDERS, indirect=True)
def test_a_client_in_another_house(made: list[str], cluster: Cluster, tmp_path: Path) -> None:
    name, *command = made
    _look(name, command, cluster, tmp_path)
    _fail_over(command, cluster, tmp_path)


def test_librdkafkas_admin_client_finds_the_next_controller(cluster: Cluster) -> None:
    """It asks who that is only when it connects or refreshes, at Apache Kafka, too; so it is told to refresh. What it
    sends before it has seen the old connection break is lost, and its admin requests are not sent twice.
    """
    errors: list[object] = []
    settings: dict[str, Any] = {
        "bootstrap.servers": cluster.bootstrap,
        "topic.metadata.refresh.interval.ms": 500,
        "log_level": 0,
        "error_cb": errors.append,
    }
    admin = AdminClient(settings)
    # Now it is connected to every node, and no new connection will tell it.
    admin.list_consumer_groups().result(LIMIT_S)
    controller = admin.list_topics(timeout=LIMIT_S).controller_id
    try:
        cluster.kill(controller)
        limit_s = time.monotonic() + LIMIT_S
        while not errors:
            admin.poll(0.05)
            assert time.monotonic() < limit_s, "it has not noticed"
        admin.create_topics([NewTopic("after", 1, 2)])["after"].result(LIMIT_S)
        assert admin.list_topics(timeout=LIMIT_S).controller_id != controller
    finally:
        cluster.heal()


def _look(name: str, command: list[str], cluster: Cluster, folder: Path) -> None:
    outcome = run([*command, cluster.bootstrap], cluster.kill_leader, folder / "errors")
    assert outcome.failed == [], outcome.errors
    assert outcome.passed == FRAMEWORKS.get(name, EVERYTHING)


def _fail_over(command: list[str], cluster: Cluster, folder: Path) -> None:
    try:
        words = [*command, cluster.bootstrap, "failover"]
        outcome = run(words, cluster.kill_leader, folder / "errors")
        assert cluster.killed, "nobody asked for a leader to be killed"
    finally:
        cluster.heal()
    assert outcome.failed == [], outcome.errors
    assert outcome.passed == FAILOVER

"""Single nodes: what they refuse, how they end, how they join."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from ottla import Admin, BrokerError, NoBrokerError, Producer
from ottla.local import processes
from ottla.local.cluster import LocalCluster
from ottla.local.layout import LocalNode
from ottla.local.ports import free_base_port
from storage.errors import ErrorCode
from tests.compat.target import ClosedError, Target
from tests.integration.load import full_isr

pytestmark = pytest.mark.integration

END_S = 30


def _server(*words: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """`ottla server` that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "ottla", "server", *words],
        capture_output=True,
        text=True,
        timeout=END_S,
        env={**os.environ, **(env or {})},
        check=False,
    )


def _settings(folder: Path, port: int, node_id: int = 1) -> list[str]:
    words = [
        f"node.id={node_id}",
        f"controller.quorum.voters={node_id}@127.0.0.1:{port + 1}",
        f"listeners=GRPC://127.0.0.1:{port},PEER://127.0.0.1:{port + 1}",
        f"log.dir={folder}",
    ]
    return [part for word in words for part in ("--set", word)]


@pytest.fixture
def port() -> int:
    return free_base_port(3, random.Random()) + 1


@pytest.fixture
def single(tmp_path: Path) -> Iterator[LocalCluster]:
    cluster = LocalCluster.init(tmp_path, nodes=1, base_port=free_base_port(1, random.Random()))
    try:
        asyncio.run(cluster.up())
        yield cluster
    finally:
        cluster.down()


def test_an_unknown_key_is_named_with_its_nearest_neighbour(tmp_path: Path, port: int) -> None:
    done = _server(*_settings(tmp_path, port), "--set", "listners=x")
    assert done.returncode == 1
    assert "unknown key listners" in done.stderr
    assert "did you mean listeners" in done.stderr


def test_a_bad_value_is_named_with_its_key_and_origin(tmp_path: Path, port: int) -> None:
    done = _server(*_settings(tmp_path, port), env={"OTTLA_BROKER_SESSION_TIMEOUT_MS": "soon"})
    assert done.returncode == 1
    for word in ("broker.session.timeout.ms", "soon", "the environment"):
        assert word in done.stderr


def test_a_port_in_use_is_named_with_the_way_out(tmp_path: Path, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = _server(*_settings(tmp_path, port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "in use" in done.stderr


def test_a_folder_in_use_by_another_process_is_refused(single: LocalCluster, port: int) -> None:
    folder = Path(str(single.node(1).settings()["log.dir"]))
    done = _server(*_settings(folder, port))
    assert done.returncode == 1
    assert str(processes.pid(single.node(1))) in done.stderr


def test_another_nodes_folder_is_refused(single: LocalCluster, port: int) -> None:
    folder = Path(str(single.node(1).settings()["log.dir"]))
    single.down()
    done = _server(*_settings(folder, port, node_id=7))
    assert done.returncode == 1
    assert "belongs to node 1, this is node 7" in done.stderr


def test_another_clusters_folder_is_refused_and_left_as_it_was(
    single: LocalCluster, own_cluster: LocalCluster
) -> None:
    """A node of one cluster that is pointed at another cluster's voters ends, and changes nothing."""
    folder = Path(str(single.node(1).settings()["log.dir"]))
    single.down()
    node = own_cluster.node(1)
    own_cluster.kill(1)
    process = processes.start(node, ["--set", f"log.dir={folder}"])
    assert processes.wait_gone(node, END_S), (
        f"process {process} goes on with another cluster's folder"
    )
    assert "cluster" in processes.last_lines(node, 3), processes.last_lines(node, 40)
    own_cluster.start(1)
    asyncio.run(own_cluster.wait_serving([1]))
    asyncio.run(single.up())


def test_a_second_sigterm_ends_a_node_at_once(tmp_path: Path, port: int) -> None:
    """The first one waits for a quorum that is not there."""
    config = tmp_path / "node1.toml"
    lines = [
        word.replace("=", ' = "', 1) + '"' for word in _settings(tmp_path / "data", port)[1::2]
    ]
    config.write_text("\n".join(lines).replace("node.id", '"node.id"'), encoding="utf-8")
    node = LocalNode(1, tmp_path)
    processes.start(node)
    deadline = time.perf_counter() + END_S
    while "listening" not in processes.last_lines(node, 50) and time.perf_counter() < deadline:
        time.sleep(0.05)
    processes.send(node, signal.SIGTERM)
    if processes.pid(node) is not None:
        processes.send(node, signal.SIGTERM)
    assert processes.wait_gone(node, 5)


def test_garbage_at_every_door_is_survived(single: LocalCluster) -> None:
    peer = single.node(1).addresses()["PEER"]
    for address in (single.node(1).grpc, peer):
        host, _, number = address.partition(":")
        for garbage in (
            b"\0" * 100,
            b"\xff" * 5000,
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0",
        ):
            with socket.create_connection((host, int(number)), timeout=5) as connection:
                connection.sendall(garbage)
    asyncio.run(single.wait_serving([1]))


def test_a_client_at_the_peer_door_is_told_so(single: LocalCluster) -> None:
    with grpc.insecure_channel(single.node(1).addresses()["PEER"]) as channel:
        call: Any = channel.unary_unary("/ottla.peer.v1.PeerService/Controller")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"garbage", timeout=5)
    assert "peer listener" in str(refused.value)


def test_health_and_reflection_answer(single: LocalCluster) -> None:
    with grpc.insecure_channel(single.node(1).grpc) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in (
            "",
            "ottla.v1.LogService",
            "ottla.v1.AdminService",
            "ottla.v1.GroupService",
        ):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (listed,) = reflection.ServerReflectionInfo(iter([request]), timeout=5)
    names = {each.name for each in listed.list_services_response.service}
    assert {"ottla.v1.LogService", "ottla.v1.AdminService", "ottla.v1.GroupService"} <= names


def test_what_a_client_does_wrong_is_named(single: LocalCluster) -> None:
    async def run() -> None:
        async with (
            Admin(single.bootstrap) as admin,
            Producer(single.bootstrap, max_block_s=2) as producer,
        ):
            await admin.create_topic("t", configs={"max.message.bytes": "1000"})
            with pytest.raises(BrokerError, match="no topic 'nope'"):
                await producer.send("nope", b"x")
            with pytest.raises(BrokerError, match=r"max\.message\.bytes"):
                await producer.send_and_wait("t", b"x" * 2000)
            assert (await producer.send_and_wait("t", b"still works")).offset == 0
            with pytest.raises(BrokerError, match="replication factor 5"):
                await admin.create_topic("u", replication_factor=5)
            with pytest.raises(BrokerError, match="high watermark"):
                await admin.delete_records("t", 0, 99)

    asyncio.run(run())


def test_a_broker_without_a_vote_joins_gets_one_and_gives_it_back(
    own_cluster: LocalCluster,
) -> None:
    """A node that is not among the first voters follows the metadata log, and can be made a voter."""
    cluster = own_cluster
    base = free_base_port(1, random.Random())
    config = cluster.folder / "node4.toml"
    first = cluster.node(1).settings()
    config.write_text(
        "\n".join(
            (
                '"node.id" = 4',
                '"process.roles" = "broker"',
                f'"controller.quorum.voters" = "{first["controller.quorum.voters"]}"',
                f'"listeners" = "GRPC://127.0.0.1:{base + 1},PEER://127.0.0.1:{base + 2}"',
                f'"log.dir" = "{cluster.folder / "node4"}"',
            )
        ),
        encoding="utf-8",
    )
    grown = LocalCluster(cluster.folder)
    grown.start(4)

    async def run() -> None:
        await grown.wait_serving([4])
        async with Admin(grown.bootstrap) as admin:
            await admin.create_topic("wide", partitions=4, replication_factor=4)
            await admin.add_voter(4)
            quorum = await admin.describe_quorum()
            assert {each.node_id for each in quorum.replicas if each.voter} == {1, 2, 3, 4}
            await admin.remove_voter(4)
            quorum = await admin.describe_quorum()
            assert {each.node_id for each in quorum.replicas if each.voter} == {1, 2, 3}

    try:
        asyncio.run(run())
    finally:
        grown.kill(4)


def test_a_voter_removed_while_it_was_down_comes_back_with_its_old_folder(
    own_cluster: LocalCluster,
) -> None:
    """Nothing in its settings or its folder says that it has no vote any more: it asks, and catches up."""
    cluster = own_cluster

    async def voters(admin: Admin) -> set[int]:
        return {each.node_id for each in (await admin.describe_quorum()).replicas if each.voter}

    async def run() -> None:
        async with Admin(cluster.bootstrap) as admin:
            await admin.create_topic("kept", partitions=1, replication_factor=3)
            leads = (await admin.describe_cluster()).controller_id
            await asyncio.to_thread(cluster.kill, leads)
            await admin.remove_voter(leads)
            assert await voters(admin) == {1, 2, 3} - {leads}
            term = (await admin.describe_quorum()).term
            cluster.start(leads)
            await cluster.wait_serving([leads])
            await full_isr(admin, "kept")
            assert await voters(admin) == {1, 2, 3} - {leads}, "back without a vote"
            await admin.add_voter(leads)
            assert await voters(admin) == {1, 2, 3}
            assert (await admin.describe_quorum()).term == term, "the others were not disturbed"

    asyncio.run(run())


def test_without_a_majority_clients_are_told_what_is_missing(own_cluster: LocalCluster) -> None:
    async def run() -> None:
        async with Admin(own_cluster.bootstrap) as admin:
            await admin.create_topic("t")
        for node in (2, 3):
            await asyncio.to_thread(own_cluster.kill, node)
        with pytest.raises(NoBrokerError, match="there is no controller") as told:
            async with Producer(own_cluster.bootstrap, max_block_s=3) as producer:
                await producer.send("t", b"x")
        assert "voters are nodes 1, 2 and 3, 2 of them must be up" in str(told.value)
        assert "connection refused" in str(told.value)

    asyncio.run(run())


def test_a_node_that_starts_denies_no_topic(own_cluster: LocalCluster) -> None:
    """A Kafka client that is told that its topic is not there gives its records up."""

    async def made() -> None:
        async with Admin(own_cluster.bootstrap) as admin:
            await admin.create_topic("t", partitions=1, replication_factor=3)

    asyncio.run(made())
    node = own_cluster.nodes[0]
    end_s = time.monotonic() + 2 * END_S
    for _ in range(3):
        own_cluster.kill(node.node_id)
        own_cluster.start(node.node_id)
        answers = 0
        while answers < 20:
            assert time.monotonic() < end_s
            target = Target(str(node.kafka), "starts")
            try:
                (topic,) = target.metadata("t").topics
            except (OSError, ClosedError):
                continue
            finally:
                target.close()
            assert topic.error_code == ErrorCode.NONE
            answers += 1


def test_groups_are_listed_whole_or_not_at_all(own_cluster: LocalCluster) -> None:
    """Without a majority nobody takes over what a dead node coordinated."""

    async def listed() -> list[str]:
        async with Admin(own_cluster.bootstrap) as admin:
            return [each.group_id for each in await admin.groups()]

    assert asyncio.run(listed()) == []
    own_cluster.kill(1)
    assert asyncio.run(listed()) == []
    own_cluster.kill(2)
    with pytest.raises(NoBrokerError, match="the groups of node"):
        asyncio.run(listed())

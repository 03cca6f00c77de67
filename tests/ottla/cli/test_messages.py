"""What a person reads when something is wrong: words, never a traceback."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ottla.local.cluster import LocalCluster
from ottla.local.errors import LocalClusterError
from ottla.local.ports import free_base_port


def ottla(*words: str, stdin: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    """The program as a process of its own, where no cluster is."""
    return subprocess.run(
        [sys.executable, "-m", "ottla", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "80", "OTTLA_BOOTSTRAP": "127.0.0.1:1", **environment},
    )


@pytest.fixture
def free() -> str:
    """A base port for one node."""
    return str(free_base_port(1, random.Random()))


@pytest.mark.parametrize(
    ("bootstrap", "words"),
    [
        ("127.0.0.1:1,127.0.0.1:2", "127.0.0.1:1, 127.0.0.1:2: connection refused"),
        ("no.such.host.invalid:9090", "no.such.host.invalid:9090: unknown host"),
        ("nonsense", "'nonsense' is not like host:port"),
    ],
)
def test_a_wrong_address_is_named_in_one_line(bootstrap: str, words: str) -> None:
    done = ottla("topics", "list", OTTLA_BOOTSTRAP=bootstrap)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_door_of_something_else_is_told() -> None:
    """Something that listens, takes a connection and says what no gRPC server says."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(30)
        address = f"127.0.0.1:{other.getsockname()[1]}"
        words = [sys.executable, "-m", "ottla", "topics", "list", "--bootstrap", address]
        asking = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        try:
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            _, said = asking.communicate(timeout=60)
        finally:
            asking.kill()
    assert asking.returncode == 1
    assert said.startswith(f"ottla: no broker answers ({address}: ")
    assert "Traceback" not in said


def test_a_broken_file_of_a_local_cluster_is_named_by_every_command(
    tmp_path: Path, free: str
) -> None:
    assert (
        ottla("local", "init", "--dir", str(tmp_path), "--nodes", "1", "--base-port", free)
    ).returncode == 0
    (tmp_path / "node1.toml").write_text("broken [", encoding="utf-8")
    for words in (
        ("local", "status"),
        ("local", "up"),
        ("bench", "failover"),
    ):
        done = ottla(*words, "--dir", str(tmp_path))
        assert done.returncode == 1
        assert "node1.toml cannot be read" in done.stderr
        assert "Traceback" not in done.stderr


def test_settings_of_new_clusters_are_not_ignored_for_old_ones(tmp_path: Path, free: str) -> None:
    ottla("local", "init", "--dir", str(tmp_path), "--nodes", "1", "--base-port", free)
    done = ottla("local", "up", "--dir", str(tmp_path), "--nodes", "3")
    assert done.returncode == 1
    assert "--nodes, --base-port and --set are for new ones" in done.stderr
    assert not list(tmp_path.glob("*.pid"))


def test_a_port_in_use_is_told_before_anything_is_made(tmp_path: Path, free: str) -> None:
    folder = tmp_path / "cluster"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(free) + 101))
        taken.listen()
        done = ottla(
            *("local", "up", "--dir", str(folder), "--nodes", "1", "--base-port", free),
        )
    assert done.returncode == 1
    assert f"port {int(free) + 101} of node 1 is in use" in done.stderr
    assert not folder.exists()


def test_a_setting_that_no_node_takes_is_told_before_anything_is_made(
    tmp_path: Path, free: str
) -> None:
    folder = tmp_path / "cluster"
    made = ("local", "up", "--dir", str(folder), "--base-port", free)
    done = ottla(*made, "--set", "log.retention.mz=1")
    assert done.returncode == 1
    assert "unknown key log.retention.mz in --set; did you mean log.retention.ms?" in done.stderr
    done = ottla(*made, "--set", "log.retention.ms=soon")
    assert done.returncode == 1
    assert "log.retention.ms='soon'" in done.stderr
    assert not folder.exists()


def test_a_node_that_does_not_serve_is_named_with_its_last_words(tmp_path: Path) -> None:
    """One of three has no majority."""

    async def run() -> None:
        made = LocalCluster.init(tmp_path, base_port=free_base_port(3, random.Random()))
        try:
            made.start(1)
            await made.wait_serving([1], timeout_s=1.5)
        finally:
            made.down()

    with pytest.raises(
        LocalClusterError, match=r"node 1 does not serve after 1.5 s(.|\n)*node1.log"
    ):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("kafka-console-producer --topic t --producer-property acks=7", 1, "acks=7: one of"),
        ("kafka-console-producer --topic t --compression-codec zip", 1, "type=zip: one of"),
        ("kafka-console-consumer --topic t --offset soon", 1, "--offset soon: earliest"),
        (
            "kafka-console-consumer --topic t --consumer-property auto.offset.reset=x",
            1,
            "auto.offset.reset=x: one of earliest, latest, none",
        ),
        (
            "kafka-console-consumer --topic t --consumer-property enable.auto.commit=x",
            1,
            "enable.auto.commit=x: true or false",
        ),
        (
            "kafka-console-consumer --topic t --formatter org.apache.X",
            1,
            "--formatter org.apache.X: one of DefaultMessageFormatter, NoOp",
        ),
        (
            "kafka-console-consumer --topic t --property key.deserializer=org.apache.Long",
            1,
            "key.deserializer org.apache.Long: one of StringDeserializer",
        ),
        (
            "kafka-console-consumer --topic t --consumer.config no-such-file",
            1,
            "no-such-file cannot be read",
        ),
        ("kafka-console-producer --topic t --line-reader Mine", 1, "one of LineMessageReader"),
        ("kafka-topics --create --topic t --partitions 0", 1, "must be greater than 0"),
        ("kafka-topics --create --topic t --replication-factor 0", 1, "between 1 and 32767"),
        ("kafka-get-offsets --topic t --time soon", 1, "Malformed time argument soon. Please"),
        ("kafka-consumer-groups --list --state odd", 1, "Invalid state list 'odd'. Valid"),
        ("kafka-consumer-groups --group g --reset-offsets --to-latest", 1, "--all-topics"),
        ("topics create t --partitions 0", 2, "0: at least 1, or -1"),
        ("groups list --state odd", 2, "'odd' is none of Empty, "),
        ("groups list --type odd", 2, "'odd' is none of classic, consumer"),
        (
            "groups reset-offsets g --all-topics --to-datetime soon",
            2,
            "'soon' is not like 2026-11-23T12:00:00",
        ),
        ("health --address 127.0.0.1:1", 1, "127.0.0.1:1: connection refused; --address"),
    ],
)
def test_a_value_that_cannot_be_is_named_before_anything_is_asked(
    line: str, code: int, says: str
) -> None:
    words = line.split()
    if words[0].startswith("kafka-"):
        words[1:1] = ["--bootstrap-server", "127.0.0.1:1"]
    done = ottla(*words, COLUMNS="200")
    assert done.returncode == code
    assert says in done.stderr
    assert "bug of Ottla" not in done.stderr


def test_a_bug_is_called_one_and_shows_where_when_asked() -> None:
    program = (
        "import sys; from ottla.cli import health, main, common; "
        "common.run = lambda _: 1 / 0; sys.argv = ['ottla', 'health']; main.main()"
    )
    for debug, shown in (("", False), ("1", True)):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "OTTLA_DEBUG": debug},
        )
        assert done.returncode == 1
        assert "this is a bug of Ottla: ZeroDivisionError" in done.stderr
        assert ("Traceback" in done.stderr) is shown


def test_the_version_is_told() -> None:
    assert ottla("--version").stdout.startswith("ottla 0.")


def test_a_cluster_without_a_majority_is_described_as_what_it_is(tmp_path: Path) -> None:
    """The node that is left cannot know that the other is gone."""
    made = LocalCluster.init(
        tmp_path / "cluster", nodes=2, base_port=free_base_port(2, random.Random())
    )
    try:
        asyncio.run(made.up())
        made.kill(2)
        until_s = time.monotonic() + 40
        while "controller none" not in (done := describe(made)).stdout:
            assert time.monotonic() < until_s, done
    finally:
        made.down()
    assert "No controller: too few voters are up" in done.stderr
    assert "what node 1 heard last" in done.stderr


def describe(made: LocalCluster) -> "subprocess.CompletedProcess[str]":
    return ottla("cluster", "describe", OTTLA_BOOTSTRAP=made.nodes[0].grpc)

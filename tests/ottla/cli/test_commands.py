"""What operators type: moves, elections, settings; each change tells its facts as JSON."""

from typing import Any

import pytest
from typer.testing import CliRunner

from ottla.cli.main import app
from ottla.local.cluster import LocalCluster
from tests.ottla.cli.conftest import Ottla

pytestmark = pytest.mark.integration


def _partition(ottla: Ottla, topic: str, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = ottla(f"topics describe {topic} --json").facts[0]["partitions"][number]
    return found


def test_a_partition_moves_and_the_move_can_be_waited_for(ottla: Ottla) -> None:
    ottla("topics create moving --replica-assignment 1:2:3")
    moved = ottla("topics reassign moving --partition 0 --replicas 4,2,3 --wait --json")
    assert (moved.code, moved.facts) == (
        0,
        [{"topic": "moving", "partition": 0, "replicas": [4, 2, 3], "error": None}],
    )
    assert _partition(ottla, "moving")["replicas"] == [4, 2, 3]
    assert ottla("topics reassignments --json").facts == []


def test_a_move_that_cannot_end_is_listed_and_cancelled(
    ottla: Ottla, cluster: LocalCluster
) -> None:
    ottla("topics create stuck --replica-assignment 1:2:3")
    cluster.pause(4)
    try:
        ottla("topics reassign stuck --partition 0 --replicas 4,2,3")
        listed = ottla("topics reassignments --json").facts
        assert [(row["topic"], row["adding"], row["removing"]) for row in listed] == [
            ("stuck", [4], [1])
        ]
        assert listed[0]["caught_up"] == []
        assert "0 of 1" in ottla("topics reassignments").out
        assert "cancelled" in ottla("topics reassign stuck --partition 0 --cancel").out
    finally:
        cluster.resume(4)
    assert set(_partition(ottla, "stuck")["replicas"]) == {1, 2, 3}
    again = ottla("topics reassign stuck --partition 0 --cancel")
    assert again.code == 1
    assert "no reassignment to cancel" in again.err


def test_every_replica_moves_off_a_node(ottla: Ottla) -> None:
    ottla("topics create leaving --replica-assignment 1:2,2:1,3:4")
    moved = ottla("topics reassign leaving --move-off 1 --wait --json").facts
    assert {row["partition"] for row in moved} == {0, 1}
    assert all(1 not in row["replicas"] for row in moved)
    assert "nothing to move" in ottla("topics reassign leaving --move-off 1").out
    unknown = ottla("topics reassign --move-off 9")
    assert unknown.code == 1
    assert "there is no node 9" in unknown.err


@pytest.mark.parametrize(
    "line",
    [
        "topics reassign orders",
        "topics reassign orders --partition 0",
        "topics reassign orders --partition 0 --replicas 1,2 --cancel",
        "topics reassign orders --partition 0 --replicas one",
        "topics reassign --move-off 1 --cancel",
        "topics elect orders:first",
        "cluster configs --set retention",
    ],
)
def test_wrong_usage_ends_with_2_and_words(line: str) -> None:
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 2
    assert "Invalid value" in done.stderr


def test_unknown_brokers_and_partitions_are_refused_by_name(ottla: Ottla) -> None:
    ottla("topics create known --replica-assignment 1:2")
    for words, said in (
        ("known --partition 0 --replicas 1,9", "9"),
        ("known --partition 7 --replicas 1,2", "7"),
        ("nowhere --partition 0 --replicas 1,2", "nowhere"),
    ):
        done = ottla(f"topics reassign {words}")
        assert done.code == 1
        assert said in done.err


def test_preferred_leaders_are_elected_at_once(ottla: Ottla) -> None:
    ottla("cluster configs --set auto.leader.rebalance.enable=false")
    try:
        ottla("topics create preferred --replica-assignment 2:3")
        ottla("topics reassign preferred --partition 0 --replicas 3,2 --wait")
        assert _partition(ottla, "preferred")["leader"] == 2
        elected = ottla("topics elect preferred --json")
        assert (elected.code, [(row["leader"], row["result"]) for row in elected.facts]) == (
            0,
            [(3, "elected")],
        )
        again = ottla("topics elect preferred:0 --json")
        assert (again.code, again.facts[0]["result"]) == (0, "not needed")
        assert "no partition needs" in ottla("topics elect preferred").out
    finally:
        ottla("cluster configs --unset auto.leader.rebalance.enable")


def test_an_unclean_election_is_asked_about_first(ottla: Ottla, cluster: LocalCluster) -> None:
    """Node 4 holds everything and dies; node 3, which does not, may lead only when somebody says so."""
    ottla("topics create risky --replica-assignment 4:3 --config min.insync.replicas=1")
    cluster.stop(3)
    cluster.kill(4)
    ottla("local start 3")
    assert "risky" in ottla("topics describe --unavailable").out
    refused = ottla("topics elect risky --unclean")
    assert refused.code == 1
    assert "risky-0" in refused.err
    assert "--yes" in refused.err
    elected = ottla("topics elect risky:0 --unclean --yes --json")
    assert (elected.code, elected.facts[0]["leader"]) == (0, 3)
    ottla("local start 4")


def test_settings_of_all_brokers_and_of_one(ottla: Ottla) -> None:
    def source(line: str, key: str) -> tuple[str, str]:
        rows = ottla(f"cluster configs {line} --json").facts
        return next((row["value"], row["source"]) for row in rows if row["name"] == key)

    key = "log.retention.ms"
    changed = ottla(f"cluster configs --set {key}=5000000 --json").facts
    assert changed == {"broker": None, "set": {key: "5000000"}, "unset": []}
    assert source("--broker 2", key) == ("5000000", "cluster")
    ottla(f"cluster configs --broker 2 --set {key}=6000000")
    assert source("--broker 2", key) == ("6000000", "broker")
    assert source("--broker 1", key) == ("5000000", "cluster")
    ottla(f"cluster configs --broker 2 --unset {key}")
    assert f"unset {key} for all brokers" in ottla(f"cluster configs --unset {key}").out
    assert source("", key)[1] == "default"


@pytest.mark.parametrize("broker", [1, 2, 3, 4])
def test_a_broker_is_asked_itself_what_its_file_says(ottla: Ottla, broker: int) -> None:
    rows = ottla(f"cluster configs --broker {broker} --json").facts
    found = next(row for row in rows if row["name"] == "default.replication.factor")
    assert found == {"name": "default.replication.factor", "value": "3", "source": "static"}


def test_wrong_settings_are_refused_by_name(ottla: Ottla) -> None:
    for words, said in (
        ("--set log.retention.m=1", "did you mean 'log.retention.ms'"),
        ("--set log.retention.ms=soon", "soon"),
        ("--broker 9", "broker 9"),
        ("--broker 1 --set num.partitions=2", "whole cluster"),
    ):
        done = ottla(f"cluster configs {words}")
        assert done.code == 1, done
        assert said in done.err


def test_the_metadata_level_is_raised_and_never_lowered(ottla: Ottla) -> None:
    now = ottla("cluster describe --json").facts["metadata_level"]
    assert ottla(f"cluster raise-level {now} --json").facts == {"metadata_level": now}
    for level, said in ((now - 1, "cannot be lowered"), (99, "upgrade all nodes first")):
        done = ottla(f"cluster raise-level {level}")
        assert done.code == 1, done
        assert said in done.err


def test_every_change_tells_its_facts_as_json(ottla: Ottla, cluster: LocalCluster) -> None:
    created = ottla("topics create facts --partitions 1 --json").facts
    assert (created["topic"], created["created"], created["partitions"]) == ("facts", True, 1)
    altered = ottla("topics alter facts --partitions 2 --config retention.ms=5 --json").facts
    assert altered == {
        "topic": "facts",
        "partitions": 2,
        "set": {"retention.ms": "5"},
        "unset": [],
    }
    assert ottla("topics delete facts --json").facts == {"topic": "facts", "deleted": True}
    assert ottla("topics delete facts --if-exists --json").facts["deleted"] is False
    assert ottla("quorum transfer 2 --json").facts == {"leader_id": 2}
    paused = ottla("local pause 3 --json").facts
    assert (paused["node_id"], paused["state"]) == (3, "paused")
    assert ottla("local resume 3 --json").facts["pid"] == paused["pid"]
    up = ottla("local up --json").facts
    assert up["bootstrap"] == cluster.bootstrap
    assert [node["node_id"] for node in up["nodes"]] == [1, 2, 3, 4]


def test_help_tells_the_exit_codes() -> None:
    said = CliRunner().invoke(app, ["--help"]).stdout
    assert "Exit codes" in said


def test_a_paused_node_can_be_stopped(ottla: Ottla) -> None:
    ottla("local pause 3")
    assert ottla("local stop 3").code == 0
    assert ottla("local start 3").code == 0


def test_a_line_without_its_key_is_named_with_what_was_sent(ottla: Ottla) -> None:
    ottla("topics create lines --partitions 1")
    done = ottla("produce lines -k :", stdin="a:1\nb:2\nno key\nc:3\n")
    assert done.code == 1
    assert "line 3, 'no key', has no key separator ':'; the 2 before it are sent" in done.err
    assert ottla("consume lines --from-beginning -e").out == "1\n2\n"


def test_who_is_no_member_is_told_with_who_is(ottla: Ottla) -> None:
    done = ottla("quorum remove 9")
    assert done.code == 1
    assert "node 9 is no member of the metadata quorum, 1, 2, 3, 4 are" in done.err


def test_the_table_of_nodes_fits_a_terminal(
    ottla: Ottla, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = ottla("local status").out
    assert len(said.splitlines()) == 5
    assert cluster.nodes[0].kafka in said.splitlines()[1]

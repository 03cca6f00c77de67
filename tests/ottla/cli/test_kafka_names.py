"""Kafka's command names with Kafka's options, against a Kafka listener, with outputs of Kafka's form."""

import re
from pathlib import Path

import pytest

from ottla.cli.kafka.console_consumer import formatted
from ottla.client.records import ConsumerRecord
from ottla.local.cluster import LocalCluster
from tests.ottla.cli.conftest import Ottla

pytestmark = pytest.mark.integration


def test_a_topic_from_beginning_to_end(ottla: Ottla, kafka: str) -> None:
    made = ottla(
        f"kafka-topics {kafka} --create --topic fruit --partitions 2 --replication-factor 3 "
        "--config retention.ms=60000"
    )
    assert made.out == "Created topic fruit.\n"
    again = ottla(f"kafka-topics {kafka} --create --topic fruit")
    assert again.code == 1
    assert "TOPIC_ALREADY_EXISTS" in again.err
    assert ottla(f"kafka-topics {kafka} --create --topic fruit --if-not-exists").code == 0
    assert "fruit" in ottla(f"kafka-topics {kafka} --list").out.splitlines()
    described = ottla(f"kafka-topics {kafka} --describe --topic fruit").out.splitlines()
    assert re.fullmatch(
        r"Topic: fruit\tTopicId: [\w-]{22}\tPartitionCount: 2\tReplicationFactor: 3\t"
        r"Configs: (\S+,)?retention.ms=60000",
        described[0],
    )
    assert re.fullmatch(
        r"\tTopic: fruit\tPartition: 0\tLeader: \d\tReplicas: \d,\d,\d\tIsr: \d,\d,\d\tElr: \tLastKnownElr: ",
        described[1],
    )
    assert ottla(f"kafka-topics {kafka} --describe --unavailable-partitions").out == ""
    assert ottla(f"kafka-topics {kafka} --alter --topic fruit --partitions 3").code == 0
    assert "PartitionCount: 3" in ottla(f"kafka-topics {kafka} --describe --topic fruit").out
    assert ottla(f"kafka-topics {kafka} --delete --topic fruit").code == 0
    gone = ottla(f"kafka-topics {kafka} --describe --topic fruit")
    assert gone.code == 1
    assert "Topic 'fruit' does not exist as expected" in gone.err


def test_records_in_and_out_and_their_offsets(ottla: Ottla, kafka: str) -> None:
    ottla(f"kafka-topics {kafka} --create --topic lines --partitions 1")
    ottla(
        f"kafka-console-producer {kafka} --topic lines --property parse.key=true --property key.separator=:",
        stdin="a:one\nb:two\nc:three\n",
    )
    read = ottla(
        f"kafka-console-consumer {kafka} --topic lines --from-beginning --max-messages 2 "
        "--property print.key=true --property print.offset=true --property key.separator=|"
    )
    assert read.out == "Offset:0|a|one\nOffset:1|b|two\n"
    assert "Processed a total of 2 messages" in read.err
    late = ottla(
        f"kafka-console-consumer {kafka} --topic lines --partition 0 --offset 2 --timeout-ms 2000"
    )
    assert late.out == "three\n"
    assert ottla(f"kafka-get-offsets {kafka} --topic lines").out == "lines:0:3\n"
    assert (
        ottla(f"kafka-get-offsets {kafka} --topic-partitions lines:0 --time -2").out
        == "lines:0:0\n"
    )
    assert ottla(f"kafka-get-offsets {kafka} --topic lines --time 9000000000000").out == ""
    assert ottla(f"kafka-get-offsets {kafka} --topic nothing").code == 1
    absent = ottla(f"kafka-console-consumer {kafka} --topic lines --partition 7 --offset 0")
    assert absent.code == 1
    assert "lines has partitions 0 to 0; there is no partition 7" in absent.err


def test_a_topic_is_made_by_asking_for_it_as_the_setting_says(ottla: Ottla, kafka: str) -> None:
    sent = ottla(f"kafka-console-producer {kafka} --topic asked-for", stdin="1\n2\n")
    assert (sent.code, sent.err) == (0, "")
    read = f"kafka-console-consumer {kafka} --from-beginning --timeout-ms 2000"
    assert ottla(f"{read} --topic asked-for").out == "1\n2\n"
    by_pattern = "--include asked-f.* --from-beginning --max-messages 2 --timeout-ms 30000"
    assert ottla(f"kafka-console-consumer {kafka} {by_pattern}").out == "1\n2\n"
    assert ottla(f"{read} --topic read-first").out == ""
    never = ottla(f"{read} --topic never --consumer-property allow.auto.create.topics=false")
    assert "UNKNOWN_TOPIC_OR_PARTITION" in never.err
    topics = ottla(f"kafka-topics {kafka} --list").out.splitlines()
    assert "read-first" in topics
    assert "never" not in topics
    alter = f"kafka-configs {kafka} --entity-type brokers --entity-default --alter"
    ottla(f"{alter} --add-config auto.create.topics.enable=false")
    refused = ottla(f"kafka-console-producer {kafka} --topic refused", stdin="1\n")
    ottla(f"{alter} --delete-config auto.create.topics.enable")
    assert refused.code == 1
    assert "UNKNOWN_TOPIC_OR_PARTITION" in refused.err


def test_who_says_so_reads_with_a_group_and_commits_nothing(ottla: Ottla, kafka: str) -> None:
    ottla(f"kafka-topics {kafka} --create --topic peeked --partitions 1")
    ottla(f"kafka-console-producer {kafka} --topic peeked", stdin="1\n2\n")
    reading = (
        f"kafka-console-consumer {kafka} --topic peeked --group peekers --from-beginning --max-messages 2 "
        "--consumer-property"
    )
    assert ottla(f"{reading} enable.auto.commit=false").out == "1\n2\n"
    assert ottla(f"{reading} enable.auto.commit=true").out == "1\n2\n"
    described = ottla(f"kafka-consumer-groups {kafka} --describe --group peekers").out
    assert described.splitlines()[2].split()[:4] == ["peekers", "peeked", "0", "2"]


def test_settings_come_from_files_too(ottla: Ottla, kafka: str, tmp_path: Path) -> None:
    reads = tmp_path / "reads.properties"
    reads.write_text("# of the team\n\ngroup.id = filed\nauto.offset.reset=earliest\n")
    prints = tmp_path / "prints.properties"
    prints.write_text("print.offset=true\nprint.value=false\n")
    ottla(f"kafka-topics {kafka} --create --topic filed --partitions 1")
    ottla(f"kafka-console-producer {kafka} --topic filed", stdin="1\n2\n")
    reading = (
        f"kafka-console-consumer {kafka} --topic filed --max-messages 1 --consumer.config {reads}"
    )
    formatting = f"--formatter-config {prints} --property print.value=true"
    assert ottla(f"{reading} {formatting}").out == "Offset:0\t1\n"
    nothing = ottla(f"{reading} --formatter kafka.tools.NoOpMessageFormatter")
    assert nothing.out == ""
    assert "Processed a total of 1 messages" in nothing.err
    described = ottla(f"kafka-consumer-groups {kafka} --describe --group filed").out
    assert described.splitlines()[2].split()[:4] == ["filed", "filed", "0", "2"]


def test_a_group_is_read_with_described_moved_and_deleted(
    ottla: Ottla, kafka: str, tmp_path: Path
) -> None:
    ottla(f"kafka-topics {kafka} --create --topic grouped --partitions 1")
    ottla(f"kafka-console-producer {kafka} --topic grouped", stdin="1\n2\n3\n")
    read = ottla(
        f"kafka-console-consumer {kafka} --topic grouped --group old --from-beginning --max-messages 3"
    )
    assert read.out == "1\n2\n3\n"
    tool = f"kafka-consumer-groups {kafka}"
    assert "old" in ottla(f"{tool} --list").out.splitlines()
    listed = [line.split() for line in ottla(f"{tool} --list --state").out.splitlines()]
    assert listed[0] == ["GROUP", "STATE"]
    assert ["old", "Empty"] in listed
    described = ottla(f"{tool} --describe --group old")
    assert "Consumer group 'old' has no active members." in described.err
    assert described.out.splitlines()[2].split() == [
        "old",
        "grouped",
        "0",
        "3",
        "3",
        "0",
        "-",
        "-",
        "-",
    ]
    plan = ottla(f"{tool} --reset-offsets --group old --topic grouped --shift-by -2")
    assert "No action will be performed as the --execute option is missing" in plan.err
    assert plan.out.splitlines()[2].split() == ["old", "grouped", "0", "1"]
    saved = ottla(f"{tool} --reset-offsets --group old --all-topics --to-current --export")
    assert saved.out == "grouped,0,3\n"
    (tmp_path / "saved.csv").write_text("grouped,0,2\n")
    ottla(f"{tool} --reset-offsets --group old --from-file {tmp_path / 'saved.csv'} --execute")
    assert ottla(f"{tool} --describe --group old").out.splitlines()[2].split()[3] == "2"
    assert "Successful" in ottla(f"{tool} --delete-offsets --group old --topic grouped").out
    missing = ottla(f"{tool} --describe --group nobody")
    assert missing.code == 1
    assert "Consumer group 'nobody' does not exist." in missing.err


def test_settings_of_topics_and_brokers(ottla: Ottla, kafka: str) -> None:
    ottla(f"kafka-topics {kafka} --create --topic settled")
    tool = f"kafka-configs {kafka} --entity-type topics --entity-name settled"
    changed = ottla(
        f"{tool} --alter --add-config retention.ms=5000,cleanup.policy=[compact,delete]"
    )
    assert changed.out == "Completed updating config for topic settled.\n"
    shown = ottla(f"{tool} --describe").out
    assert shown.startswith("Dynamic configs for topic settled are:\n")
    assert (
        "  retention.ms=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000"
        in shown
    )
    assert "cleanup.policy=compact,delete" in shown
    ottla(f"{tool} --alter --delete-config retention.ms")
    assert "retention.ms" not in ottla(f"{tool} --describe").out
    everything = ottla(f"kafka-configs {kafka} --broker 1 --describe --all").out
    assert everything.startswith("All configs for broker 1 are:\n")
    assert "num.partitions=" in everything


def test_grpc_addresses_are_taken_too_and_wrong_ones_are_named(
    ottla: Ottla, cluster: LocalCluster
) -> None:
    assert ottla(f"kafka-topics --bootstrap-server {cluster.nodes[0].grpc} --list").code == 0
    nobody = ottla("kafka-topics --bootstrap-server 127.0.0.1:1 --list")
    assert nobody.code == 1
    assert "no broker answers (127.0.0.1:1:" in nobody.err
    wrong = ottla("kafka-topics --bootstrap-server 127.0.0.1:1 --list --create")
    assert wrong.code == 1
    assert "not allowed with" in wrong.err


def test_a_record_is_printed_as_kafkas_formatter_does() -> None:
    record = ConsumerRecord("t", 3, 7, 99, None, None, (("h", b"x"), ("n", None)))
    said = dict.fromkeys(
        ("print.timestamp", "print.partition", "print.offset", "print.headers", "print.key"), "true"
    )
    assert formatted(record, said) == (
        b"CreateTime:99\tPartition:3\tOffset:7\th:x,n:null\tnull\tnull\n"
    )

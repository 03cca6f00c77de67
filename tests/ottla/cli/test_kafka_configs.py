"""`kafka-configs` for groups, client metrics and quotas, against real nodes. The lines are Kafka 4.3's."""

import pytest

from tests.ottla.cli.conftest import Ottla

pytestmark = pytest.mark.integration

SESSION, HEARTBEAT = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"


@pytest.fixture
def tool(kafka: str) -> str:
    """The command with a Kafka listener."""
    return f"kafka-configs {kafka}"


def test_settings_of_a_group(ottla: Ottla, tool: str) -> None:
    missing = ottla(f"{tool} --group billing --describe")
    assert (missing.code, missing.out) == (
        0,
        "The group 'billing' doesn't exist and doesn't have dynamic config.\n",
    )
    alter = f"{tool} --entity-type groups --entity-name billing --alter"
    changed = ottla(f"{alter} --add-config {SESSION}=50000")
    assert changed.out == "Completed updating config for group billing.\n"
    session = (
        f"  {SESSION}=50000 sensitive=false synonyms={{DYNAMIC_GROUP_CONFIG:{SESSION}=50000, "
        f"DEFAULT_CONFIG:group.{SESSION}=45000}}\n"
    )
    shown = "Dynamic configs for group billing are:\n" + session
    assert ottla(f"{tool} --group billing --describe").out == shown
    assert ottla(f"{tool} --entity-type groups --describe").out == shown
    assert ottla(f"{tool} --group billing --describe --all").out == (
        "All configs for group billing are:\n"
        f"  {HEARTBEAT}=5000 sensitive=false synonyms={{DEFAULT_CONFIG:group.{HEARTBEAT}=5000}}\n"
        + session
    )
    refused = ottla(f"{alter} --add-config {SESSION}=5")
    assert (refused.code, refused.out) == (1, "")
    assert f"{SESSION}=5: group.consumer.min.session.timeout.ms is 45000" in refused.err
    ottla(f"{alter} --add-config {HEARTBEAT}=6000 --delete-config {SESSION}")
    now = ottla(f"{tool} --group billing --describe").out.splitlines()
    assert [line.split()[0] for line in now[1:]] == [f"{HEARTBEAT}=6000"]
    ottla(f"{alter} --delete-config {HEARTBEAT}")
    assert ottla(f"{tool} --entity-type groups --describe").out == ""


def test_a_group_that_is_there_is_shown_without_settings(
    ottla: Ottla, kafka: str, tool: str
) -> None:
    ottla(f"kafka-topics {kafka} --create --topic read --partitions 1")
    ottla(f"kafka-console-producer {kafka} --topic read", stdin="1\n")
    ottla(
        f"kafka-console-consumer {kafka} --topic read --group old --from-beginning --max-messages 1"
    )
    shown = "Dynamic configs for group old are:\n"
    assert ottla(f"{tool} --group old --describe").out == shown
    assert shown in ottla(f"{tool} --entity-type groups --describe").out


def test_subscriptions_to_client_metrics(ottla: Ottla, tool: str) -> None:
    assert ottla(f"{tool} --client-metrics slow --describe").out == (
        "The client-metric 'slow' doesn't exist and doesn't have dynamic config.\n"
    )
    changed = ottla(
        f"{tool} --client-metrics slow --alter --add-config metrics=[a.,b.],match=[client_id=x.*,client_source_port=1]"
    )
    assert changed.out == "Completed updating config for client-metric slow.\n"
    match, metrics = "match=client_id=x.*,client_source_port=1", "metrics=a.,b."
    own = "DYNAMIC_CLIENT_METRICS_CONFIG"
    assert ottla(f"{tool} --entity-type client-metrics --describe").out == (
        "Dynamic configs for client-metric slow are:\n"
        f"  {match} sensitive=false synonyms={{{own}:{match}}}\n"
        f"  {metrics} sensitive=false synonyms={{{own}:{metrics}}}\n"
    )
    everything = ottla(f"{tool} --client-metrics slow --describe --all").out
    assert "  interval.ms=300000 sensitive=false synonyms={}\n" in everything
    refused = ottla(f"{tool} --client-metrics slow --alter --add-config interval.ms=1")
    assert refused.code == 1
    assert "interval.ms=1: between 100 and 3600000" in refused.err
    ottla(f"{tool} --client-metrics slow --alter --delete-config match,metrics")
    assert ottla(f"{tool} --entity-type client-metrics --describe").out == ""


def test_quotas_of_clients(ottla: Ottla, tool: str) -> None:
    assert ottla(f"{tool} --client loader --describe").out == ""
    rates = "producer_byte_rate=1024,consumer_byte_rate=104857600"
    changed = ottla(f"{tool} --client loader --alter --add-config {rates}")
    assert changed.out == "Completed updating config for client loader.\n"
    changed = ottla(f"{tool} --client-defaults --alter --add-config producer_byte_rate=2048")
    assert changed.out == "Completed updating default config for clients in the cluster.\n"
    loader = "Quota configs for client-id 'loader' are consumer_byte_rate=1.048576E8, producer_byte_rate=1024.0\n"
    others = "Quota configs for the default client-id are producer_byte_rate=2048.0\n"
    assert ottla(f"{tool} --client loader --describe").out == loader
    assert ottla(f"{tool} --entity-type clients --entity-default --describe").out == others
    assert ottla(f"{tool} --entity-type clients --describe").out == loader + others
    named = f"{tool} --entity-type clients --entity-name loader --alter"
    assert ottla(f"{named} --delete-config consumer_byte_rate").code == 0
    again = ottla(f"{named} --delete-config consumer_byte_rate")
    assert (again.code, again.err) == (1, "ottla: Invalid config(s): consumer_byte_rate\n")
    ottla(f"{named} --delete-config producer_byte_rate")
    assert ottla(f"{tool} --entity-type clients --describe").out == others


def test_quotas_of_users_and_of_their_clients(ottla: Ottla, tool: str) -> None:
    for who, rate in (
        ("--user ann", 1),
        ("--user-defaults", 2),
        ("--user ann --client c", 3),
        ("--entity-type users --entity-name ann --entity-type clients --entity-default", 4),
        ("--user bob --client c", 5),
    ):
        done = ottla(f"{tool} {who} --alter --add-config producer_byte_rate={rate}")
        assert done.code == 0, done.err
    both = "--entity-type users --entity-type clients"
    ann_c = "Quota configs for user-principal 'ann', client-id 'c' are producer_byte_rate=3.0\n"
    ann_all = (
        "Quota configs for user-principal 'ann', the default client-id are producer_byte_rate=4.0\n"
    )
    bob_c = "Quota configs for user-principal 'bob', client-id 'c' are producer_byte_rate=5.0\n"
    assert ottla(f"{tool} --entity-type users --describe").out == (
        "Quota configs for the default user-principal are producer_byte_rate=2.0\n"
        "Quota configs for user-principal 'ann' are producer_byte_rate=1.0\n"
    )
    assert ottla(f"{tool} {both} --describe").out == ann_c + ann_all + bob_c
    assert ottla(f"{tool} {both} --entity-name ann --describe").out == ann_c + ann_all
    assert ottla(f"{tool} --user ann --client c --describe").out == ann_c
    assert ottla(f"{tool} --user nobody --describe").out == ""


@pytest.mark.parametrize(
    ("who", "rate", "words"),
    [
        ("--client c", "request_percentage=50", "request_percentage is not enforced here"),
        ("--client c", "nonsense=5", "unknown quota 'nonsense'"),
        (
            "--client c",
            "producer_byte_rate=x",
            "Cannot parse quota configuration value for producer_byte_rate: x",
        ),
        ("--client c", "producer_byte_rate=-5", "producer_byte_rate=-5.0: a whole number"),
        ("--client c", "producer_byte_rate=nan", "producer_byte_rate=nan: a whole number"),
        (
            "--ip 1.2.3.4",
            "connection_creation_rate=10",
            "quotas of addresses are not enforced here",
        ),
        (
            "--ip-defaults",
            "connection_creation_rate=10",
            "quotas of addresses are not enforced here",
        ),
    ],
)
def test_quotas_that_are_refused(ottla: Ottla, tool: str, who: str, rate: str, words: str) -> None:
    refused = ottla(f"{tool} {who} --alter --add-config {rate}")
    assert (refused.code, refused.out) == (1, "")
    assert words in refused.err


def test_brokers_and_topics_without_a_name_are_all_of_them(ottla: Ottla, tool: str) -> None:
    ottla(f"{tool} --broker 2 --alter --add-config log.retention.ms=7777")
    brokers = ottla(f"{tool} --entity-type brokers --describe").out.splitlines()
    assert [line for line in brokers if not line.startswith("  ")] == [
        *(f"Dynamic configs for broker {number} are:" for number in (1, 2, 3, 4)),
        "Default configs for brokers in the cluster are:",
    ]
    assert brokers[2].startswith(
        "  log.retention.ms=7777 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=7777, "
    )
    assert ottla(f"{tool} --broker 9 --describe").out == (
        "The broker '9' doesn't exist and doesn't have dynamic config.\n"
    )
    missing = ottla(f"{tool} --topic nothing --describe")
    assert (missing.code, missing.out) == (
        0,
        "The topic 'nothing' doesn't exist and doesn't have dynamic config.\n",
    )

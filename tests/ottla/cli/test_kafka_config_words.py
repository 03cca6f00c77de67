"""`kafka-configs`: which entities are meant by which options, and how they are shown. As Kafka 4.3 does."""

import pytest
from typer.testing import CliRunner

from ottla.cli.kafka.entities import Entities, add_options, entities
from ottla.cli.kafka.options import one_of, parser
from ottla.cli.kafka.quotas import java_double, line_of
from ottla.cli.main import app
from ottla.v1 import admin_pb2 as pb


def meant(*words: str, action: str = "--describe") -> Entities:
    made = parser("kafka-configs", "")
    one_of(made, "describe", "alter")
    add_options(made)
    return entities(made, made.parse_args(["--bootstrap-server", "x:1", action, *words]))


@pytest.mark.parametrize(
    ("line", "kinds", "names"),
    [
        ("--group g", ["groups"], ["g"]),
        ("--entity-type groups --entity-name g", ["groups"], ["g"]),
        ("--entity-type client-metrics", ["client-metrics"], []),
        ("--client-metrics m", ["client-metrics"], ["m"]),
        ("--client-defaults", ["clients"], [""]),
        ("--entity-type clients --entity-default", ["clients"], [""]),
        ("--ip 1.2.3.4", ["ips"], ["1.2.3.4"]),
        ("--user u --client c", ["clients", "users"], ["c", "u"]),
        ("--client-defaults --user u", ["users", "clients"], ["u", ""]),
        ("--user-defaults --client-defaults", ["clients", "users"], ["", ""]),
        ("--entity-type users --entity-type clients", ["users", "clients"], []),
        ("--entity-type users --entity-name u --entity-type clients", ["users", "clients"], ["u"]),
        (
            "--entity-type users --entity-default --entity-type clients --entity-name c",
            ["users", "clients"],
            ["", "c"],
        ),
        (
            "--entity-type users --entity-type clients --entity-name u --entity-default",
            ["users", "clients"],
            ["u", ""],
        ),
    ],
)
def test_who_is_meant(line: str, kinds: list[str], names: list[str]) -> None:
    assert meant(*line.split()) == Entities(tuple(kinds), tuple(names))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--describe", "At least one entity type must be specified"),
        ("--describe --entity-name x", "At least one entity type must be specified"),
        ("--describe --entity-type planets", "Invalid entity type planets"),
        ("--describe --client c --client-defaults", "Duplicate entity type(s) specified: clients"),
        ("--describe --group a --group b", "Found multiple arguments for option group"),
        ("--describe --topic t --client c", "Only 'users' and 'clients' entity types may"),
        ("--describe --ip 1 --user u", "Only 'users' and 'clients' entity types may"),
        ("--describe --group a --entity-name b", "should not be used in conjunction"),
        ("--describe --entity-type groups --entity-default", "--entity-default must not be"),
        ("--describe --client c --add-config a=b", "--describe can't be used with --add-config"),
        (
            "--describe --entity-type users --entity-name a --entity-default",
            "More entity names specified than entity types",
        ),
        ("--alter --entity-type groups --add-config a=b", "An entity name must be specified with"),
        ("--alter --entity-type clients --add-config a=b", "An entity-name or default entity must"),
        (
            "--alter --entity-type users --entity-type clients --entity-name a --add-config a=b",
            "An entity name must be specified for every entity type",
        ),
        ("--alter --client c", "At least one of --add-config or --delete-config must be specified"),
        ("--alter --client c --add-config a", "Invalid entity config 'a'"),
        ("--alter --client c --add-config a=b=c", "Invalid entity config 'a=b=c'"),
    ],
)
def test_what_goes_against_the_rules_ends_with_kafkas_words(line: str, words: str) -> None:
    done = CliRunner().invoke(app, ["kafka-configs", "--bootstrap-server", "x:1", *line.split()])
    assert done.exit_code == 1
    assert words in done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--group g", "Completed updating config for group g."),
        ("--client-metrics m", "Completed updating config for client-metric m."),
        ("--client-defaults", "Completed updating default config for clients in the cluster."),
        ("--broker-defaults", "Completed updating default config for brokers in the cluster."),
        ("--user u --client c", "Completed updating config for client c."),
        ("--user u --client-defaults", "Completed updating config for user u."),
    ],
)
def test_what_is_said_of_a_change(line: str, words: str) -> None:
    assert meant(*line.split(), action="--alter").completed == words


def test_an_entity_is_shown_in_kafkas_words() -> None:
    user = pb.ClientQuotaPart(kind="user", name="u")
    client = pb.ClientQuotaPart(kind="client-id")
    rates = {"producer_byte_rate": 1024.0, "consumer_byte_rate": 104857600.0}
    assert line_of(pb.ClientQuota(entity=[client, user], rates=rates)) == (
        "Quota configs for user-principal 'u', the default client-id are "
        "consumer_byte_rate=1.048576E8, producer_byte_rate=1024.0"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (12345678.0, "1.2345678E7"),
        (104857600.0, "1.048576E8"),
        (2.0**53, "9.007199254740992E15"),
    ],
)
def test_numbers_are_written_as_java_does(value: float, text: str) -> None:
    assert java_double(value) == text

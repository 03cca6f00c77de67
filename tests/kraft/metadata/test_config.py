"""Configuration keys: parsing, ranges in words, nearest keys, sources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraft.metadata.client_metrics import describe_client_metrics
from kraft.metadata.config_definitions import (
    BROKER_KEYS,
    SAFETY_KEYS,
    TOPIC_KEYS,
    TOPIC_SYNONYMS,
    BrokerConfig,
    TopicConfig,
)
from kraft.metadata.config_engine import Definition, as_text
from kraft.metadata.effective_config import (
    ConfigSource,
    Floors,
    broker_config,
    broker_resource,
    broker_value,
    check,
    describe_broker,
    describe_topic,
    floors,
    ignored_static,
    topic_config,
    topic_resource,
    topic_value,
)
from kraft.metadata.errors import InvalidConfigError
from kraft.metadata.group_config import HEARTBEAT, SESSION, describe_group
from kraft.metadata.image import MetadataImage
from kraft.metadata.records import CLUSTER

TOPIC = topic_resource("orders")


def test_kafkas_defaults() -> None:
    """kafka.apache.org/documentation/#topicconfigs, release 4.0."""
    assert {key: as_text(d.default) for key, d in TOPIC_KEYS.items() if key != "flush.policy"} == {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "delete.retention.ms": "86400000",
        "index.interval.bytes": "4096",
        "max.compaction.lag.ms": "9223372036854775807",
        "max.message.bytes": "1048588",
        "message.timestamp.after.max.ms": "3600000",
        "message.timestamp.before.max.ms": "9223372036854775807",
        "message.timestamp.type": "CreateTime",
        "min.cleanable.dirty.ratio": "0.5",
        "min.compaction.lag.ms": "0",
        "min.insync.replicas": "1",
        "retention.bytes": "-1",
        "retention.ms": "604800000",
        "segment.bytes": "1073741824",
        "segment.index.bytes": "10485760",
        "segment.ms": "604800000",
        "unclean.leader.election.enable": "false",
    }


def test_records_are_fsynced_by_default() -> None:
    assert TopicConfig().flush_policy == "sync"


def test_nothing_set_is_the_structs_own_defaults() -> None:
    assert topic_config(Floors()) == TopicConfig()
    assert broker_config(Floors()) == BrokerConfig()


@pytest.mark.parametrize("definition", [*TOPIC_KEYS.values(), *BROKER_KEYS.values()])
def test_every_key_is_documented_and_accepts_its_own_default(definition: Definition) -> None:
    assert definition.documentation.endswith(".")
    assert definition.parse(definition.default_text) == definition.default
    assert definition.allowed


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("min.insync.replicas", "0", "must be a whole number from 1 to 2147483647"),
        ("min.insync.replicas", "two", "must be a whole number from 1 to 2147483647"),
        ("retention.ms", "-2", "must be a whole number of at least -1"),
        ("retention.ms", "1.5", "must be a whole number of at least -1"),
        ("retention.ms", "9223372036854775808", "must be a whole number of at least -1"),
        ("retention.ms", "", "must be a whole number of at least -1"),
        ("min.cleanable.dirty.ratio", "1.1", "must be a number from 0 to 1"),
        ("min.cleanable.dirty.ratio", "nan", "must be a number from 0 to 1"),
        ("unclean.leader.election.enable", "yes", "must be true or false"),
        ("cleanup.policy", "keep", "must be one of delete, compact"),
        ("flush.policy", "never", "must be one of sync, os"),
    ],
)
def test_a_bad_value_is_told_what_is_allowed(key: str, value: str, message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message) as refused:
        check(TOPIC, key, value)
    assert f"{key}={value!r}" in str(refused.value)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("retention.m", "retention.ms"),
        ("retention_ms", "retention.ms"),
        ("min.insync.replica", "min.insync.replicas"),
        ("unclean.leader.election", "unclean.leader.election.enable"),
        ("log.retention.ms", "retention.ms"),
    ],
)
def test_an_unknown_key_is_told_the_nearest_one(key: str, nearest: str) -> None:
    with pytest.raises(InvalidConfigError, match=f"did you mean '{nearest}'"):
        check(TOPIC, key, "1")


def test_a_key_like_nothing_is_told_all_keys() -> None:
    with pytest.raises(InvalidConfigError, match=r"known are cleanup\.policy, .*unclean"):
        check(TOPIC, "qqq", "1")


@given(st.integers(-(2**70), 2**70))
def test_a_whole_number_is_taken_in_its_range_and_nowhere_else(value: int) -> None:
    allowed = -1 <= value < 2**63
    try:
        assert TOPIC_KEYS["retention.ms"].parse(str(value)) == value
    except InvalidConfigError:
        assert not allowed
    else:
        assert allowed


@given(st.text())
def test_no_text_is_anything_but_a_value_or_refused(text: str) -> None:
    for definition in TOPIC_KEYS.values():
        try:
            value = definition.parse(text)
        except InvalidConfigError:
            continue
        assert definition.parse(as_text(value)) == value


def test_the_nearest_floor_wins_and_is_named() -> None:
    key, synonym = "retention.ms", "log.retention.ms"
    all_floors = {
        "topic": {key: "1"},
        "broker": {synonym: "2"},
        "cluster": {synonym: "3"},
        "static": {synonym: "4"},
    }
    expected = [
        (1, ConfigSource.TOPIC),
        (2, ConfigSource.BROKER),
        (3, ConfigSource.CLUSTER),
        (4, ConfigSource.STATIC),
        (TOPIC_KEYS[key].default, ConfigSource.DEFAULT),
    ]
    names = ["topic", "broker", "cluster", "static", ""]
    for floor, (value, source) in zip(names, expected, strict=True):
        found = Floors(**all_floors)
        assert topic_value(found, key) == value
        assert found.topic_value(key)[1] is source
        assert topic_config(found).retention_ms == value
        all_floors.pop(floor, None)


def test_what_safety_rests_on_is_read_alike_everywhere() -> None:
    """KIP-966: leader and controller must agree on the min ISR, so one node's file or broker value has no say."""
    for key in SAFETY_KEYS:
        synonym = TOPIC_SYNONYMS[key]
        other = {"min.insync.replicas": "3", "flush.policy": "os"}.get(key, "true")
        found = Floors(broker={synonym: other}, static={synonym: other})
        assert found.topic_value(key) == (TOPIC_KEYS[key].default_text, ConfigSource.DEFAULT)
        assert Floors(cluster={synonym: other}).topic_value(key)[0] == other


def test_a_static_value_without_effect_can_be_warned_of() -> None:
    static = {"min.insync.replicas": "2", "log.retention.ms": "5"}
    assert ignored_static(MetadataImage(), static) == ["min.insync.replicas"]
    agreed = MetadataImage(configs={CLUSTER: {"min.insync.replicas": "2"}})
    assert ignored_static(agreed, static) == []


def test_cluster_wide_keys_cannot_be_set_on_one_broker() -> None:
    with pytest.raises(InvalidConfigError, match="holds for the whole cluster"):
        check(broker_resource(3), "min.insync.replicas", "2")
    check(CLUSTER, "min.insync.replicas", "2")
    check(broker_resource(3), "log.retention.ms", "2")


def test_the_floors_of_an_image() -> None:
    image = MetadataImage(
        configs={
            TOPIC: {"retention.ms": "1"},
            broker_resource(2): {"log.segment.bytes": "1000"},
            CLUSTER: {"num.partitions": "6"},
        }
    )
    found = floors(image, topic="orders", node_id=2, static={"log.roll.ms": "9"})
    config = topic_config(found)
    assert (config.retention_ms, config.segment_bytes, config.segment_ms) == (1, 1000, 9)
    assert broker_value(found, "num.partitions") == 6
    assert topic_config(floors(image, topic="orders", node_id=1)).segment_bytes == 1 << 30


def test_descriptions_show_every_key_with_value_source_and_documentation() -> None:
    found = Floors(topic={"retention.ms": "1"}, cluster={"log.segment.bytes": "1000"})
    topic = {value.key: value for value in describe_topic(found)}
    assert topic.keys() == TOPIC_KEYS.keys()
    assert (topic["retention.ms"].value, topic["retention.ms"].source) == ("1", 1)
    assert (topic["segment.bytes"].value, topic["segment.bytes"].source) == ("1000", 3)
    assert topic["segment.ms"].documentation
    assert {value.key for value in describe_broker(found)} == BROKER_KEYS.keys()


def test_synonyms_are_all_places_what_counts_first() -> None:
    found = Floors(
        topic={"retention.ms": "1"},
        broker={"log.retention.ms": "2"},
        cluster={"log.retention.ms": "3"},
        static={"log.retention.ms": "4"},
    )
    topic = {value.key: value.synonyms for value in describe_topic(found)}
    own, *inherited = topic["retention.ms"]
    assert own == ("retention.ms", "1", ConfigSource.TOPIC)
    assert [(each.value, each.source) for each in inherited] == [
        ("2", ConfigSource.BROKER),
        ("3", ConfigSource.CLUSTER),
        ("4", ConfigSource.STATIC),
        ("604800000", ConfigSource.DEFAULT),
    ]
    broker = {value.key: value.synonyms for value in describe_broker(found)}
    assert broker["log.retention.ms"] == tuple(inherited)


def test_a_group_is_shown_its_own_values_and_the_brokers() -> None:
    found = Floors(cluster={"group.consumer.heartbeat.interval.ms": "6000"})
    shown = {each.key: each for each in describe_group({SESSION: "50000"}, found)}
    session, heartbeat = shown[SESSION], shown[HEARTBEAT]
    assert (session.value, session.source) == ("50000", ConfigSource.GROUP)
    assert [each.key for each in session.synonyms] == [SESSION, "group.consumer.session.timeout.ms"]
    assert (heartbeat.value, heartbeat.source) == ("6000", ConfigSource.CLUSTER)


def test_a_subscription_is_shown_its_own_values_and_defaults_without_a_place() -> None:
    shown = {each.key: each for each in describe_client_metrics({"metrics": ""})}
    assert (shown["metrics"].value, shown["metrics"].source) == ("", ConfigSource.CLIENT_METRICS)
    assert shown["metrics"].synonyms == (("metrics", "", ConfigSource.CLIENT_METRICS),)
    assert (shown["interval.ms"].value, shown["interval.ms"].synonyms) == ("300000", ())


def test_cleanup_policies() -> None:
    both = topic_config(Floors(topic={"cleanup.policy": "compact,delete"}))
    assert (both.compacts, both.deletes) == (True, True)
    compact = topic_config(Floors(topic={"cleanup.policy": "compact"}))
    assert (compact.compacts, compact.deletes) == (True, False)


def test_values_that_are_unknown_to_kafka_too_are_said_to_be_so() -> None:
    with pytest.raises(InvalidConfigError, match="must be"):
        check(TOPIC, "compression.type", "brotli")

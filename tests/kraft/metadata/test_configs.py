"""Configuration values are set and unset, and what elections go by is acted upon."""

import pytest

from kraft.metadata import replies
from kraft.metadata.effective_config import broker_resource, topic_resource
from kraft.metadata.records import CLUSTER, ConfigResource
from kraft.metadata.requests import AlterConfigs, ConfigChange
from storage.errors import ErrorCode
from tests.kraft.metadata.lab import Lab

TOPIC = topic_resource("t")


def lab_with_topic() -> Lab:
    lab = Lab(3)
    lab.create("t", (1, 2, 3))
    return lab


def test_values_are_set_normalised_and_unset() -> None:
    lab = lab_with_topic()
    assert (
        lab.configure(TOPIC, {"retention.ms": " 7 ", "cleanup.policy": "compact"}).refusal is None
    )
    assert lab.image.config(TOPIC) == {"retention.ms": "7", "cleanup.policy": "compact"}
    lab.configure(TOPIC, unset=("retention.ms", "segment.ms"))
    assert lab.image.config(TOPIC) == {"cleanup.policy": "compact"}
    lab.configure(TOPIC, unset=("cleanup.policy",))
    assert TOPIC not in lab.image.configs


def test_a_value_that_is_set_already_makes_no_record() -> None:
    lab = lab_with_topic()
    lab.configure(TOPIC, {"retention.ms": "7"})
    entries = len(lab.log)
    lab.configure(TOPIC, {"retention.ms": "7"}, unset=("segment.ms",))
    assert len(lab.log) == entries


@pytest.mark.parametrize(
    ("resource", "values", "unset", "code", "words"),
    [
        (TOPIC, {"retention.msec": "1"}, (), ErrorCode.INVALID_CONFIG, "did you mean"),
        (TOPIC, {}, ("retention.msec",), ErrorCode.INVALID_CONFIG, "did you mean"),
        (TOPIC, {"retention.ms": "x"}, (), ErrorCode.INVALID_CONFIG, "whole number"),
        (TOPIC, {"retention.ms": "1"}, ("retention.ms",), ErrorCode.INVALID_CONFIG, "in one"),
        (topic_resource("u"), {}, (), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "'u'"),
        (
            broker_resource(1),
            {"num.partitions": "2"},
            (),
            ErrorCode.INVALID_CONFIG,
            "whole cluster",
        ),
        (ConfigResource(CLUSTER.type, "b1"), {}, (), ErrorCode.INVALID_REQUEST, "node id"),
        (CLUSTER, {"retention.ms": "1"}, (), ErrorCode.INVALID_CONFIG, "log.retention.ms"),
    ],
)
def test_a_bad_change_is_refused_whole(
    resource: ConfigResource,
    values: dict[str, str],
    unset: tuple[str, ...],
    code: ErrorCode,
    words: str,
) -> None:
    lab = lab_with_topic()
    entries = len(lab.log)
    refusal = lab.configure(resource, {**values}, unset).refusal
    assert refusal is not None
    assert (refusal.code, words in refusal.message) == (code, True), refusal
    assert len(lab.log) == entries


def test_one_bad_change_does_not_spoil_the_others_and_validate_only_changes_nothing() -> None:
    lab = lab_with_topic()
    changes = (
        ConfigChange(resource=TOPIC, set={"retention.ms": "1"}),
        ConfigChange(resource=topic_resource("u"), set={"retention.ms": "1"}),
    )
    for validate_only in (True, False):
        entries = len(lab.log)
        request = AlterConfigs(changes=changes, validate_only=validate_only)
        altered = lab.ask(request, replies.ConfigsAltered).changes
        assert [change.refusal is None for change in altered] == [True, False]
        assert len(lab.log) == entries + (not validate_only)


def test_a_smaller_min_isr_voids_the_elr_in_the_same_log_entry() -> None:
    """KIP-966: from now on the high watermark moves without those who left."""
    for resource in (TOPIC, CLUSTER):
        lab = lab_with_topic()
        lab.configure(resource, {"min.insync.replicas": "2"})
        lab.fence(2, 3)
        assert lab.partition("t").elr == (3,)
        entries = len(lab.log)
        lab.configure(resource, {"min.insync.replicas": "1"})
        assert (lab.partition("t").elr, len(lab.log)) == ((), entries + 1)


def test_a_topics_own_min_isr_is_not_touched_by_the_clusters() -> None:
    lab = lab_with_topic()
    lab.configure(TOPIC, {"min.insync.replicas": "2"})
    lab.fence(2, 3)
    lab.configure(CLUSTER, {"min.insync.replicas": "1"})
    assert lab.partition("t").elr == (3,)


def test_a_larger_min_isr_makes_nobody_eligible_who_left_before() -> None:
    lab = lab_with_topic()
    lab.fence(2, 3)
    lab.configure(TOPIC, {"min.insync.replicas": "3"})
    assert lab.partition("t").elr == ()


def test_a_smaller_min_isr_voids_the_elr_of_a_leaderless_partition_once_it_has_a_leader() -> None:
    lab = lab_with_topic()
    lab.configure(TOPIC, {"min.insync.replicas": "2"})
    lab.fence(1, 2, 3)
    lab.configure(TOPIC, {"min.insync.replicas": "1"})
    assert lab.partition("t").elr == (2, 3), "the high watermark stands still without a leader"
    lab.heartbeat(3)
    assert (lab.partition("t").isr, lab.partition("t").elr) == ((3,), ())

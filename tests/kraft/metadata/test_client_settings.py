"""Settings of groups (KIP-848) and subscriptions to client metrics (KIP-714)."""

import pytest

from kraft.metadata import cluster_state
from kraft.metadata.effective_config import floors
from kraft.metadata.group_config import HEARTBEAT, SESSION, group_value
from kraft.metadata.records import CLUSTER, ConfigResource, ResourceType
from storage.errors import ErrorCode
from tests.kraft.metadata.lab import Lab

GROUP = ConfigResource(ResourceType.GROUP, "g")
METRICS = ConfigResource(ResourceType.CLIENT_METRICS, "m")


def test_a_group_has_its_own_times_within_the_brokers_limits() -> None:
    lab = Lab(1)
    assert lab.configure(GROUP, {SESSION: " 50000 ", HEARTBEAT: "6000"}).refusal is None
    values = lab.image.config(GROUP)
    assert values == {SESSION: "50000", HEARTBEAT: "6000"}
    assert group_value(values, floors(lab.image), SESSION) == 50_000
    assert group_value({}, floors(lab.image), SESSION) == 45_000
    # The brokers' limits may change later, and hold all the same.
    lab.configure(CLUSTER, {"group.consumer.max.session.timeout.ms": "47000"})
    assert group_value(values, floors(lab.image), SESSION) == 47_000
    lab.configure(GROUP, unset=(SESSION, HEARTBEAT))
    assert GROUP not in lab.image.configs


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({SESSION: "44999"}, ErrorCode.INVALID_CONFIG, "min.session.timeout.ms is 45000"),
        ({SESSION: "60001"}, ErrorCode.INVALID_CONFIG, "max.session.timeout.ms is 60000"),
        ({HEARTBEAT: "15001"}, ErrorCode.INVALID_CONFIG, "max.heartbeat.interval.ms is 15000"),
        ({HEARTBEAT: "x"}, ErrorCode.INVALID_CONFIG, "whole number"),
        ({"consumer.session.timeout": "1"}, ErrorCode.INVALID_CONFIG, "did you mean"),
    ],
)
def test_what_a_group_may_not_have(values: dict[str, str], code: ErrorCode, words: str) -> None:
    lab = Lab(1)
    refusal = lab.configure(GROUP, values).refusal
    assert refusal is not None
    assert refusal.code == code
    assert words in refusal.message
    assert GROUP not in lab.image.configs


def test_a_session_is_longer_than_a_heartbeat() -> None:
    lab = Lab(1, static={"group.consumer.min.session.timeout.ms": "5000"})
    lab.configure(GROUP, {HEARTBEAT: "6000"})
    refusal = lab.configure(GROUP, {SESSION: "6000"}).refusal
    assert refusal is not None
    assert "must be more than" in refusal.message
    assert lab.configure(GROUP, {SESSION: "6001"}).refusal is None


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"interval.ms": "99"}, ErrorCode.INVALID_REQUEST),
        ({"interval.ms": "3600001"}, ErrorCode.INVALID_REQUEST),
        ({"interval.ms": "x"}, ErrorCode.INVALID_CONFIG),
        ({"nonsense": "1"}, ErrorCode.INVALID_REQUEST),
        ({"match": "client_id"}, ErrorCode.INVALID_CONFIG),
        ({"match": "nonsense=1"}, ErrorCode.INVALID_CONFIG),
        ({"match": "client_id=["}, ErrorCode.INVALID_CONFIG),
    ],
)
def test_what_a_subscription_may_not_be(values: dict[str, str], code: ErrorCode) -> None:
    refusal = Lab(1).configure(METRICS, values).refusal
    assert refusal is not None
    assert refusal.code == code


def test_a_subscription_is_kept() -> None:
    lab = Lab(1)
    values = {"interval.ms": "100", "metrics": "a.,b.", "match": "client_id=x.*"}
    assert lab.configure(METRICS, values).refusal is None
    assert lab.image.config(METRICS) == values


@pytest.mark.parametrize("kind", [ResourceType.GROUP, ResourceType.CLIENT_METRICS])
def test_settings_of_nobody_are_refused(kind: ResourceType) -> None:
    refusal = Lab(1).configure(ConfigResource(kind, ""), {}).refusal
    assert refusal is not None
    assert refusal.code == ErrorCode.INVALID_REQUEST


def test_a_log_that_older_releases_read_does_not_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would not know what belongs to a group: records.py."""
    monkeypatch.setattr(cluster_state, "LATEST_METADATA_LEVEL", 1)
    lab = Lab(1)
    for resource in (GROUP, METRICS):
        refusal = lab.configure(resource, {}).refusal
        assert refusal is not None
        assert refusal.code == ErrorCode.UNSUPPORTED_VERSION
        assert "metadata level 2" in refusal.message

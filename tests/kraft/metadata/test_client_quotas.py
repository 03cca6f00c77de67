"""Client quotas in the metadata log (KIP-546)."""

import pytest

from kraft.metadata import cluster_state, replies
from kraft.metadata.client_quotas import CLIENT_ID, CONSUMER_BYTE_RATE, IP, USER, entity
from kraft.metadata.client_quotas import PRODUCER_BYTE_RATE as RATE
from kraft.metadata.delta import MetadataDelta
from kraft.metadata.errors import Refusal, UnsupportedVersionError
from kraft.metadata.image import EMPTY_IMAGE, snapshot_records
from kraft.metadata.requests import AlterClientQuotas, QuotaAlteration
from storage.errors import ErrorCode
from tests.kraft.metadata.lab import Lab


def alter(
    lab: Lab,
    parts: dict[str, str | None],
    *ops: tuple[str, float | None],
    validate_only: bool = False,
) -> Refusal | None:
    wanted = QuotaAlteration(entity=entity(parts), ops=ops)
    request = AlterClientQuotas(alterations=(wanted,), validate_only=validate_only)
    return lab.ask(request, replies.ClientQuotasAltered).entries[0].refusal


def test_quotas_are_set_changed_and_unset() -> None:
    lab = Lab(1)
    assert alter(lab, {CLIENT_ID: "c"}, (RATE, 1000.0), (CONSUMER_BYTE_RATE, 5.0)) is None
    assert alter(lab, {USER: "u", CLIENT_ID: None}, (RATE, 7.0)) is None
    assert lab.image.quotas == {
        entity({CLIENT_ID: "c"}): {RATE: 1000.0, CONSUMER_BYTE_RATE: 5.0},
        entity({CLIENT_ID: None, USER: "u"}): {RATE: 7.0},
    }
    alter(lab, {CLIENT_ID: "c"}, (RATE, 2000.0), (CONSUMER_BYTE_RATE, None))
    assert lab.image.quotas[entity({CLIENT_ID: "c"})] == {RATE: 2000.0}
    alter(lab, {CLIENT_ID: "c"}, (RATE, None))
    assert entity({CLIENT_ID: "c"}) not in lab.image.quotas


def test_a_snapshot_has_them() -> None:
    lab = Lab(1)
    alter(lab, {USER: None, CLIENT_ID: "c"}, (RATE, 1000.0))
    delta = MetadataDelta(EMPTY_IMAGE)
    delta.replay_all(snapshot_records(lab.image))
    assert delta.apply(lab.image.offset, 1).quotas == lab.image.quotas


def test_what_is_set_already_makes_no_record() -> None:
    lab = Lab(1)
    alter(lab, {CLIENT_ID: "c"}, (RATE, 1000.0))
    entries = len(lab.log)
    alter(lab, {CLIENT_ID: "c"}, (RATE, 1000.0), (CONSUMER_BYTE_RATE, None))
    assert alter(lab, {CLIENT_ID: "d"}, (RATE, 1.0), validate_only=True) is None
    assert len(lab.log) == entries


@pytest.mark.parametrize(
    ("parts", "ops", "words"),
    [
        ({CLIENT_ID: "c"}, [(RATE, 0.0)], "at least 1"),
        ({CLIENT_ID: "c"}, [(RATE, -1.0)], "at least 1"),
        ({CLIENT_ID: "c"}, [(RATE, 1.5)], "whole number"),
        ({CLIENT_ID: "c"}, [(RATE, float("inf"))], "whole number"),
        ({CLIENT_ID: "c"}, [("request_percentage", 50.0)], "not enforced"),
        ({CLIENT_ID: "c"}, [("nonsense", 1.0)], "unknown quota"),
        ({CLIENT_ID: "c"}, [(RATE, 1.0), (RATE, 2.0)], "twice"),
        ({CLIENT_ID: ""}, [(RATE, 1.0)], "empty name"),
        ({"nonsense": "c"}, [(RATE, 1.0)], "nobody"),
        ({}, [(RATE, 1.0)], "nobody"),
        ({IP: "10.1.2.3"}, [("connection_creation_rate", 1.0)], "max.connections.per.ip"),
        ({IP: "10.1.2.3", USER: "u"}, [(RATE, 1.0)], "nobody"),
    ],
)
def test_what_is_refused(
    parts: dict[str, str | None], ops: list[tuple[str, float | None]], words: str
) -> None:
    lab = Lab(1)
    refusal = alter(lab, parts, *ops)
    assert refusal is not None
    assert refusal.code == ErrorCode.INVALID_REQUEST
    assert words in refusal.message
    assert not lab.image.quotas


def test_a_log_that_older_releases_read_does_not_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_state, "LATEST_METADATA_LEVEL", 1)
    with pytest.raises(UnsupportedVersionError, match="metadata level 2"):
        alter(Lab(1), {CLIENT_ID: "c"}, (RATE, 1.0))

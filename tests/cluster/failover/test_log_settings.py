"""Every setting of a topic reaches its logs, and every value that is accepted is one that a log can have."""

from typing import Any

import msgspec
import pytest

from cluster.failover.log_settings import log_config
from kraft.metadata.config_definitions import BROKER_KEYS, TOPIC_KEYS, TOPIC_SYNONYMS
from kraft.metadata.config_engine import as_text
from kraft.metadata.effective_config import Floors
from storage.log_config import LogConfig

# Decided by the controller and the leader's state, not by the log.
NOT_OF_THE_LOG = {"min.insync.replicas", "unclean.leader.election.enable"}
OTHER: dict[str, str] = {
    "cleanup.policy": "delete,compact",
    "compression.type": "zstd",
    "flush.policy": "os",
    "message.timestamp.type": "LogAppendTime",
    "min.cleanable.dirty.ratio": "0.25",
}
LOG_KEYS = sorted(TOPIC_KEYS.keys() - NOT_OF_THE_LOG)


@pytest.mark.parametrize("key", LOG_KEYS)
@pytest.mark.parametrize("at", ["topic", "cluster"])
def test_no_setting_is_without_effect(key: str, at: str) -> None:
    name = key if at == "topic" else TOPIC_SYNONYMS[key]
    text = OTHER.get(key) or str(int(as_text(TOPIC_KEYS[key].default)) // 2 + 100)
    floors: dict[str, Any] = {at: {name: text}, "static": {name: text}}
    changed = _changes(log_config(Floors(**floors)))
    assert len(changed) == 1
    assert str(next(iter(changed.values()))) in (text, "compact,delete")


def test_producers_are_forgotten_when_the_broker_says() -> None:
    found = log_config(Floors(cluster={"producer.id.expiration.ms": "77"}))
    assert _changes(found) == {"producer_id_expiration_ms": 77}


def test_the_defaults_of_topics_are_those_of_logs() -> None:
    assert _changes(log_config(Floors())) == {}


@pytest.mark.parametrize("key", LOG_KEYS)
def test_the_smallest_and_the_largest_value_can_be_had(key: str) -> None:
    definition = TOPIC_KEYS[key]
    for limit in (definition.minimum, definition.maximum):
        if limit is not None:
            definition.parse(as_text(limit))
            log_config(Floors(topic={key: as_text(limit)}))
    assert BROKER_KEYS[TOPIC_SYNONYMS[key]].minimum == definition.minimum


def _changes(found: LogConfig) -> dict[str, Any]:
    plain = msgspec.structs.asdict(LogConfig())
    return {
        name: value for name, value in msgspec.structs.asdict(found).items() if value != plain[name]
    }

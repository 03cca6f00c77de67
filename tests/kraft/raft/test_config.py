"""Settings that cannot work are refused, by name and value."""

import pytest

from kraft.raft.config import RaftConfig, RaftConfigError


def test_the_defaults_work() -> None:
    assert RaftConfig(node_id=0).election_timeout_ms == 1000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"node_id": -1}, "node_id = -1"),
        ({"heartbeat_interval_ms": 501}, "heartbeat_interval_ms = 501"),
        ({"heartbeat_interval_ms": 0}, "heartbeat_interval_ms = 0"),
        ({"death_hint_jitter_min_ms": 60}, "death_hint_jitter_min_ms = 60"),
        ({"max_inflight_appends": 0}, "max_inflight_appends = 0"),
        ({"snapshot_chunk_bytes": 0}, "snapshot_chunk_bytes = 0"),
        ({"trailing_entries": -1}, "trailing_entries"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(RaftConfigError, match=message):
        RaftConfig(**{"node_id": 1, **settings})

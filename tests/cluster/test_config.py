"""A node's configuration: layers, and errors that name key, value and origin."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.config import ENVIRONMENT_PREFIX, known_keys, load
from cluster.errors import ConfigurationError
from kraft.metadata.config_definitions import BROKER_KEYS

LEAST = ["node.id=1", "controller.quorum.voters=1@localhost:9190"]


def write(folder: Path, text: str) -> Path:
    file = folder / "node.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_are_enough_but_for_who_and_with_whom() -> None:
    config = load(None, {}, LEAST)
    assert (config.node_id, config.log_dir) == (1, "ottla-data")
    with pytest.raises(
        ConfigurationError, match=r"node\.id and controller\.quorum\.voters must be set"
    ):
        load(None, {}, [])


def test_each_layer_goes_over_the_one_before(tmp_path: Path) -> None:
    file = write(tmp_path, 'log.dir = "file"\nbroker.rack = "file"\nlog.level = "debug"\n')
    environment = {"OTTLA_BROKER_RACK": "environment", "OTTLA_LOG_LEVEL": "warning"}
    config = load(file, environment, [*LEAST, "log.level=error"])
    assert (config.log_dir, config.broker_rack, config.log_level) == (
        "file",
        "environment",
        "error",
    )


def test_a_toml_table_is_a_prefix(tmp_path: Path) -> None:
    file = write(tmp_path, "[broker.heartbeat.interval]\nms = 123\n")
    assert load(file, {}, LEAST).broker_heartbeat_interval_ms == 123


def test_an_unknown_key_is_told_with_its_origin_and_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"broker\.rak in --set; did you mean broker\.rack"
    ):
        load(None, {}, [*LEAST, "broker.rak=a"])
    file = write(tmp_path, "nonsense = 1\n")
    with pytest.raises(ConfigurationError, match=rf"nonsense in .*{file.name}"):
        load(file, {}, LEAST)


@pytest.mark.parametrize(
    "assignment",
    [
        "node.id=-1",
        "node.id=one",
        "broker.session.timeout.ms=7",
        "log.level=loud",
        "process.roles=cook",
    ],
)
def test_a_bad_value_is_told_with_key_value_and_origin(assignment: str) -> None:
    key, _, value = assignment.partition("=")
    with pytest.raises(ConfigurationError) as raised:
        load(None, {}, [*LEAST, assignment])
    for part in (key, value, "--set"):
        assert part in str(raised.value)


def test_a_bad_value_of_the_environment_names_the_environment() -> None:
    with pytest.raises(ConfigurationError, match=r"log\.level = 'loud' \(from the environment\)"):
        load(None, {"OTTLA_LOG_LEVEL": "loud"}, LEAST)


def test_an_assignment_needs_an_equals_sign() -> None:
    with pytest.raises(ConfigurationError, match="expected key=value"):
        load(None, {}, [*LEAST, "log.level"])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load(tmp_path / "missing.toml", {}, LEAST)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(write(tmp_path, "= ="), {}, LEAST)


def test_variables_that_are_no_keys_are_left_to_the_clients() -> None:
    load(None, {"OTTLA_BOOTSTRAP": "localhost:9090"}, LEAST)


def test_broker_keys_become_the_static_configuration() -> None:
    config = load(None, {}, [*LEAST, "min.insync.replicas=2"])
    assert config.static == {"min.insync.replicas": "2"}


OWN = [key for key in known_keys() if key.endswith(".ms") and key not in BROKER_KEYS]


@given(values=st.dictionaries(st.sampled_from(OWN), st.integers(50, 10**9)), seed=st.integers())
def test_it_does_not_matter_where_a_value_stands(values: dict[str, int], seed: int) -> None:
    """The same configuration, whether it comes by environment or by --set, or by both in any split."""
    rng = random.Random(seed)
    by_set = [f"{key}={value}" for key, value in values.items()]
    split = {key: rng.random() < 0.5 for key in values}
    environment = {
        ENVIRONMENT_PREFIX + key.upper().replace(".", "_"): str(value)
        for key, value in values.items()
        if split[key]
    }
    rest = [f"{key}={value}" for key, value in values.items() if not split[key]]
    config = load(None, {}, [*LEAST, *by_set])
    assert load(None, environment, [*LEAST, *rest]) == config
    for key, value in values.items():
        assert getattr(config, key.replace(".", "_")) == value

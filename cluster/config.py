"""What one node is told at start: `NodeConfig`, and how it is gathered.

defaults < TOML file < OTTLA_* environment < --set key=value. Keys are Kafka's own where Kafka has the
setting; broker keys (kraft.metadata.config_definitions) may be given in the same places and become the node's static
configuration.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from cluster.errors import ConfigurationError
from kraft.metadata.config_definitions import BROKER_KEYS

ENVIRONMENT_PREFIX = "OTTLA_"

Port = Annotated[int, Meta(ge=0, le=65535)]


class NodeConfig(Struct, frozen=True, kw_only=True, rename=lambda name: name.replace("_", ".")):
    """One node. Durations are in milliseconds, sizes in bytes, as Kafka's names say."""

    node_id: Annotated[
        int, Meta(ge=0, description="The node's number, its own in the cluster and for ever.")
    ]
    controller_quorum_voters: Annotated[
        str,
        Meta(
            description="The first voters of the metadata quorum as `id@host:port,...`, where host:port is each "
            "node's PEER listener. The same on every node. Later changes are made with `ottla quorum`."
        ),
    ]
    process_roles: Annotated[
        str,
        Meta(
            pattern=r"^(broker|broker,controller|controller,broker)$",
            description="`broker,controller`: votes in the metadata quorum and serves partitions. `broker`: follows "
            "the metadata log without a vote.",
        ),
    ] = "broker,controller"
    listeners: Annotated[
        str,
        Meta(
            description="Where the node listens, as `NAME://host:port,...`. A name that begins with GRPC or KAFKA is a "
            "client door of that protocol, PEER is for the other nodes. Port 0 takes any free port."
        ),
    ] = "GRPC://127.0.0.1:9090,KAFKA://127.0.0.1:9092,PEER://127.0.0.1:9190"
    advertised_listeners: Annotated[
        str,
        Meta(
            description="What clients and peers are told, as `NAME://host:port,...`. A listener that is not named "
            "here advertises what it listens on. A client is told the addresses of the listener it came in by."
        ),
    ] = ""
    log_dir: Annotated[
        str, Meta(description="The data folder. It belongs to one node of one cluster.")
    ] = "ottla-data"
    broker_rack: Annotated[
        str, Meta(description="Replicas of a partition are spread over racks. Empty: none.")
    ] = ""
    broker_heartbeat_interval_ms: Annotated[
        int,
        Meta(ge=10, description="How often a broker renews its lease with the active controller."),
    ] = 550
    broker_session_timeout_ms: Annotated[
        int,
        Meta(
            ge=50,
            description="A broker that is silent for so long is fenced and its leaderships move. A broker whose "
            "process is gone is noticed by its broken connection, far sooner.",
        ),
    ] = 1300
    controller_quorum_election_timeout_ms: Annotated[
        int,
        Meta(
            ge=50,
            description="A voter that has not heard from the quorum's leader for this long (up to twice as long, by "
            "chance) asks for an election.",
        ),
    ] = 600
    controller_quorum_heartbeat_interval_ms: Annotated[
        int,
        Meta(
            ge=10,
            description="How often the quorum's leader is heard of when there is nothing to say.",
        ),
    ] = 300
    metadata_log_max_record_bytes_between_snapshots: Annotated[
        int,
        Meta(
            ge=1024,
            description="A snapshot of the metadata is written after so many bytes of its log.",
        ),
    ] = 4 << 20
    log_retention_check_interval_ms: Annotated[
        int,
        Meta(
            ge=10,
            description="How often logs are looked at for what may be deleted or compacted. Kafka has 300000 here and "
            "15000 for compaction.",
        ),
    ] = 30_000
    controlled_shutdown_timeout_ms: Annotated[
        int,
        Meta(ge=0, description="How long a stopping broker waits for its leaderships to move."),
    ] = 10_000
    socket_request_max_bytes: Annotated[
        int,
        Meta(ge=1024, le=2**31 - 1, description="The longest request of a Kafka client."),
    ] = 100 << 20
    queued_max_request_bytes: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="How much memory requests of Kafka clients may take while they are being received, over all "
            "connections. What comes beyond is left in the sockets.",
        ),
    ] = 256 << 20
    queued_max_response_bytes: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="How much memory answers to Kafka clients may take that the clients have not read yet, over "
            "all connections. Beyond it a fetch gets one batch.",
        ),
    ] = 256 << 20
    max_connections: Annotated[
        int,
        Meta(ge=1, description="Connections of Kafka clients that one listener takes."),
    ] = 2**31 - 1
    max_connections_per_ip: Annotated[
        int,
        Meta(ge=1, description="The same from one address."),
    ] = 2**31 - 1
    connections_max_idle_ms: Annotated[
        int,
        Meta(ge=10, description="A Kafka client's connection is closed when it is silent so long."),
    ] = 600_000
    fetch_connection_byte_rate: Annotated[
        int,
        Meta(
            ge=1 << 20,
            description="Bytes a second that one connection of a librdkafka consumer is given: it stops for a second "
            "when it gets more than its program takes. Raise it together with its queued.max.messages.kbytes.",
        ),
    ] = 120_000_000
    log_level: Annotated[
        str,
        Meta(
            pattern="^(debug|info|warning|error)$",
            description="The least severe log line that is written.",
        ),
    ] = "info"
    log_format: Annotated[
        str,
        Meta(pattern="^(text|json)$", description="Lines for people or for machines."),
    ] = "text"
    static: dict[str, str] = {}


def load(
    file: Path | None, environment: Mapping[str, str], assignments: Iterable[str]
) -> NodeConfig:
    """Gather the configuration of a node. Raises ConfigurationError naming the key, the value and where it stood."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, found in (
        (str(file), _from_file(file) if file is not None else {}),
        ("the environment", _from_environment(environment)),
        ("--set", _from_assignments(assignments)),
    ):
        for key, value in found.items():
            _check_known(key, origin)
            values[key] = value
            origins[key] = origin
    return _convert(values, origins)


def known_keys() -> list[str]:
    """Every key that a node understands."""
    own = [field.encode_name for field in msgspec.structs.fields(NodeConfig)]
    return sorted((set(own) - {"static"}) | set(BROKER_KEYS))


def _convert(values: Mapping[str, Any], origins: Mapping[str, str]) -> NodeConfig:
    static = {key: str(values[key]) for key in values if key in BROKER_KEYS}
    own = {key: value for key, value in values.items() if key not in static}
    missing = [key for key in ("node.id", "controller.quorum.voters") if key not in own]
    if missing:
        raise ConfigurationError(
            f"{' and '.join(missing)} must be set: in the file, as "
            f"{', '.join(_environment_name(key) for key in missing)} or with --set"
        )
    try:
        config = msgspec.convert({**own, "static": static}, NodeConfig, strict=False)
    except msgspec.ValidationError as error:
        key = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else ""
        where = f" (from {origins[key]})" if key in origins else ""
        raise ConfigurationError(f"{key} = {own.get(key)!r}{where}: {error}") from None
    for key, value in static.items():
        BROKER_KEYS[key].parse(value)
    return config


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return dict(_flatten("", tomllib.loads(file.read_text(encoding="utf-8"))))
    except FileNotFoundError:
        raise ConfigurationError(f"{file} does not exist; `ottla local init` writes one") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None


def _flatten(prefix: str, table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", value


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """OTTLA_NODE_ID is node.id. What is not a key of a node (OTTLA_BOOTSTRAP) is the clients' and left alone."""
    keys = set(known_keys())
    found = {}
    for name, value in environment.items():
        if name.startswith(ENVIRONMENT_PREFIX):
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("_", ".")
            if key in keys:
                found[key] = value
    return found


def _environment_name(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "_")


def _from_assignments(assignments: Iterable[str]) -> dict[str, str]:
    found = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigurationError(f"--set {assignment}: expected key=value")
        found[key.strip()] = value.strip()
    return found


def _check_known(key: str, origin: str) -> None:
    keys = known_keys()
    if key in keys:
        return
    near = difflib.get_close_matches(key, keys, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigurationError(f"unknown key {key} in {origin}{hint}")

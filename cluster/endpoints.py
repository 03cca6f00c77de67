"""Listeners: what a node listens on and what it tells others."""

from typing import NamedTuple

from cluster.config import NodeConfig
from cluster.errors import ConfigurationError

PEER = "PEER"


class Endpoint(NamedTuple):
    """A named address."""

    name: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """host:port"""
        return f"{self.host}:{self.port}"

    @property
    def is_grpc(self) -> bool:
        """Whether it is a gRPC door for clients."""
        return self.name.startswith("GRPC")

    @property
    def is_kafka(self) -> bool:
        """Whether it is a door for clients of the Kafka protocol."""
        return self.name.startswith("KAFKA")


def parse_endpoints(key: str, text: str) -> dict[str, Endpoint]:
    """`NAME://host:port,...`. Raises ConfigurationError naming the part that is wrong."""
    endpoints: dict[str, Endpoint] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, separator, address = part.partition("://")
        host, _, port = address.rpartition(":")
        if not separator or not port.isdigit() or int(port) > 65535:
            raise ConfigurationError(f"{key}: {part!r} is not NAME://host:port")
        if name != PEER and not name.startswith(("GRPC", "KAFKA")):
            raise ConfigurationError(
                f"{key}: {name} is not a listener; names are PEER, GRPC, GRPC_<anything>, KAFKA, KAFKA_<anything>"
            )
        if name in endpoints:
            raise ConfigurationError(f"{key}: {name} stands twice")
        endpoints[name] = Endpoint(name, host or "0.0.0.0", int(port))
    return endpoints


def listeners(config: NodeConfig) -> dict[str, Endpoint]:
    """What to bind. Raises ConfigurationError."""
    found = parse_endpoints("listeners", config.listeners)
    if PEER not in found:
        raise ConfigurationError(
            f"listeners: {config.listeners!r} has no PEER://host:port for the other nodes"
        )
    return found


def advertised(
    config: NodeConfig, bound_ports: dict[str, int], host_name: str
) -> dict[str, Endpoint]:
    """What others are told: `advertised.listeners`, else the listener itself with its real port.

    A listener on all addresses advertises the machine's name.
    """
    told = parse_endpoints("advertised.listeners", config.advertised_listeners)
    found = {}
    for name, endpoint in listeners(config).items():
        host = host_name if endpoint.host in {"0.0.0.0", "[::]"} else endpoint.host
        port = bound_ports.get(name, endpoint.port)
        found[name] = told.get(name) or Endpoint(name, host, port)
    strangers = set(told) - set(found)
    if strangers:
        raise ConfigurationError(
            f"advertised.listeners: {', '.join(sorted(strangers))} is not in listeners"
        )
    return found


def parse_voters(text: str) -> dict[int, str]:
    """`id@host:port,...` -> {id: host:port}. Raises ConfigurationError."""
    voters: dict[int, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        node_id, at, address = part.partition("@")
        host, _, port = address.rpartition(":")
        if not at or not node_id.isdigit() or not host or not port.isdigit():
            raise ConfigurationError(f"controller.quorum.voters: {part!r} is not id@host:port")
        if int(node_id) in voters:
            raise ConfigurationError(f"controller.quorum.voters: node {node_id} stands twice")
        voters[int(node_id)] = address
    if not voters:
        raise ConfigurationError(
            "controller.quorum.voters is empty: name at least one id@host:port"
        )
    return voters

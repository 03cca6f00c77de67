"""Finding ports that nobody uses."""

import random
import socket

from ottla.local.errors import LocalClusterError
from ottla.local.layout import HOST, KAFKA_OFFSET, PEER_OFFSET

TRIES = 200
# Below the range from which the system takes ports for outgoing connections.
LOWEST, HIGHEST = 10_000, 32_000


def free_base_port(nodes: int, rng: random.Random) -> int:
    """A base port whose nodes would find all their ports free at this moment. Raises LocalClusterError."""
    for _ in range(TRIES):
        base = rng.randrange(LOWEST, HIGHEST, 10)
        wanted = [
            base + offset + node
            for offset in (0, PEER_OFFSET, KAFKA_OFFSET)
            for node in range(1, nodes + 1)
        ]
        if all(_is_free(port) for port in wanted):
            return base
    raise LocalClusterError(
        f"no free ports for {nodes} nodes between {LOWEST} and {HIGHEST}; pass --base-port"
    )


def check_ports(base_port: int, nodes: int) -> None:
    """Whether a new cluster could listen. Raises LocalClusterError naming the port that is in use."""
    for node in range(1, nodes + 1):
        for port in (base_port + node, base_port + PEER_OFFSET + node):
            if port <= 65535 and not _is_free(port):
                raise LocalClusterError(
                    f"port {port} of node {node} is in use: choose another --base-port than {base_port}, or stop "
                    f"what holds it (ss -ltnp)"
                )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As gRPC does: a port whose last connections linger can be had.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

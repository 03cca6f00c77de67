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


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True

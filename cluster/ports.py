"""Binding listeners with an error that names the address and the way out."""

import grpc.aio

from storage.errors import ErrorCode, OttlaError


class ListenerError(OttlaError):
    """A listener's address cannot be bound."""

    code = ErrorCode.INVALID_REQUEST


def bind_grpc(server: grpc.aio.Server, address: str, what: str) -> int:
    """Bind a gRPC server to `host:port` (port 0: any). Returns the port. Raises ListenerError."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise ListenerError(
            f"{what} cannot listen on {address}: the port is in use or the address is not this machine's; "
            f"choose another in `listeners`, or stop what holds it (ss -ltnp)"
        )
    return port

"""The gRPC doors: one server a listener, each with log, admin, group, health and reflection services."""

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cluster.endpoints import Endpoint
from cluster.listeners.grpc_admin import GrpcAdmin
from cluster.listeners.grpc_groups import GrpcGroups
from cluster.listeners.grpc_log import GrpcLog
from cluster.ports import bind_grpc
from ottla.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    groups_pb2,
    groups_pb2_grpc,
    log_pb2,
    log_pb2_grpc,
)

# A request carries at most this much: a batch, the slack around it, several partitions.
MAX_MESSAGE_BYTES = 32 << 20

OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    # Without it a stream has 64 KiB on its way at most, and a batch several round trips.
    ("grpc.http2.lookahead_bytes", 4 << 20),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_connection_age_grace_ms", 1000),
]

SERVICES = (
    log_pb2.DESCRIPTOR.services_by_name["LogService"].full_name,
    admin_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name,
    groups_pb2.DESCRIPTOR.services_by_name["GroupService"].full_name,
)


class GrpcDoor:
    """One listener. Health says SERVING from `serving` to `stopping`."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Bind; nobody is served before `start`. Raises ListenerError."""
        self.endpoint = endpoint
        self._server = grpc.aio.server(options=OPTIONS)
        self.port = bind_grpc(self._server, endpoint.address, f"the listener {endpoint.name}")
        self._health = health.aio.HealthServicer()

    async def start(self, log: GrpcLog, admin: GrpcAdmin, groups: GrpcGroups) -> None:
        """Open the door."""
        log_pb2_grpc.add_LogServiceServicer_to_server(log, self._server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(admin, self._server)
        groups_pb2_grpc.add_GroupServiceServicer_to_server(groups, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        await self._say(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()

    async def serving(self) -> None:
        """This broker is in the cluster and unfenced."""
        await self._say(health_pb2.HealthCheckResponse.SERVING)

    async def stopping(self) -> None:
        """This broker is about to leave: who can choose should go elsewhere."""
        await self._health.enter_graceful_shutdown()

    async def close(self) -> None:
        """End all calls."""
        await self._server.stop(grace=None)

    async def _say(self, status: int) -> None:
        for name in ("", *SERVICES):
            await self._health.set(name, status)

"""The Kafka listener: accepts, counts, sends away."""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, NamedTuple

import structlog

from cluster.config import NodeConfig
from cluster.endpoints import Endpoint
from cluster.listeners.kafka.budget import ReceiveBudget
from cluster.listeners.kafka.connection import KafkaConnection
from cluster.listeners.kafka.dispatcher import Dispatcher
from cluster.listeners.kafka.fetch_pace import FetchPace
from cluster.listeners.kafka.send_budget import SendBudget
from cluster.ports import ListenerError
from wire.frames import SCRATCH_BYTES

log = structlog.get_logger("kafka")

BACKLOG = 1024
IDLE_CHECK_S = 30.0


class KafkaLimits(NamedTuple):
    """What one listener takes; defaults as in NodeConfig. Sizes in bytes."""

    max_request_bytes: int = 100 << 20
    max_queued_bytes: int = 256 << 20
    max_unsent_bytes: int = 256 << 20
    max_connections: int = 2**31 - 1
    max_connections_per_ip: int = 2**31 - 1
    idle_ms: int = 600_000
    fetch_byte_rate: int = 120_000_000

    @classmethod
    def of(cls, config: NodeConfig) -> "KafkaLimits":
        """As a node was told."""
        return cls(
            config.socket_request_max_bytes,
            config.queued_max_request_bytes,
            config.queued_max_response_bytes,
            config.max_connections,
            config.max_connections_per_ip,
            config.connections_max_idle_ms,
            config.fetch_connection_byte_rate,
        )


class KafkaDoor:
    """One listener. Bound at once, open from `run` on: until then connections are refused."""

    def __init__(self, endpoint: Endpoint, limits: KafkaLimits) -> None:
        """Raises ListenerError."""
        self.endpoint = endpoint
        self.max_request_bytes = limits.max_request_bytes
        self.scratch = bytearray(SCRATCH_BYTES)
        self.dispatcher: Dispatcher
        self._limits = limits
        self._socket = _bind(endpoint)
        self.port: int = self._socket.getsockname()[1]
        self._connections: dict[KafkaConnection, None] = {}
        self._by_host: dict[str, int] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.budget = ReceiveBudget(limits.max_queued_bytes)
        self.unsent = SendBudget(limits.max_unsent_bytes)
        self.pace = FetchPace(limits.fetch_byte_rate)
        self._closed = asyncio.Event()
        self.opened = asyncio.Event()
        """Set once connections are taken."""

    def now_s(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    async def run(self, dispatcher: Dispatcher) -> None:
        """Serve until `close` or cancelled. What is being worked on then ends with it: nobody is left to answer.

        Raises ListenerError when somebody else has begun to listen here meanwhile.
        """
        self.dispatcher = dispatcher
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            serving = [tasks.create_task(self._close_idle()), tasks.create_task(self._requests())]
            try:
                server = await loop.create_server(
                    lambda: KafkaConnection(self), sock=self._socket, backlog=BACKLOG
                )
            except OSError as error:
                raise _taken(self.endpoint, error) from None
            self.opened.set()
            log.info("listening", name=self.endpoint.name, address=self.endpoint.address)
            try:
                await self._closed.wait()
            finally:
                server.close()
                for connection in tuple(self._connections):
                    connection.close()
                for task in serving:
                    task.cancel()

    async def _requests(self) -> None:
        """Where requests are worked on; a task of its own, so that they can be ended before the door is."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._tasks = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Work for one request."""
        if self._tasks is None:
            work.close()
            return
        self._tasks.create_task(work)

    def admit(self, connection: KafkaConnection) -> str | None:
        """Count a new connection. Returns why it cannot stay, or None."""
        self._connections[connection] = None
        count = self._by_host[connection.host] = self._by_host.get(connection.host, 0) + 1
        limits = self._limits
        if len(self._connections) > limits.max_connections:
            return f"max.connections is {limits.max_connections}"
        if count > limits.max_connections_per_ip:
            return f"max.connections.per.ip is {limits.max_connections_per_ip}"
        return None

    def left(self, connection: KafkaConnection) -> None:
        """A connection is gone."""
        self.budget.update(connection, 0)
        self.unsent.update(connection, 0)
        if self._connections.pop(connection, self) is self:
            return
        if not self._closed.is_set():
            self.dispatcher.broke(connection)
        left = self._by_host[connection.host] = self._by_host[connection.host] - 1
        if not left:
            del self._by_host[connection.host]

    def close(self) -> None:
        """End all connections."""
        self._closed.set()

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(min(IDLE_CHECK_S, self._limits.idle_ms / 2000))
            before_s = self.now_s() - self._limits.idle_ms / 1000
            for connection in tuple(self._connections):
                if connection.active_s < before_s and not connection.working:
                    log.debug("closing an idle connection", peer=connection.host)
                    connection.close()


def _bind(endpoint: Endpoint) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind(address)
    except OSError as error:
        raise _taken(endpoint, error) from None
    return listening


def _taken(endpoint: Endpoint, error: OSError) -> ListenerError:
    return ListenerError(
        f"the listener {endpoint.name} cannot listen on {endpoint.address}: {error.strerror}; "
        f"choose another in `listeners`, or stop what holds it (ss -ltnp)"
    )

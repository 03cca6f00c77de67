"""A whole local cluster: up, down, who does what. Used by the command line, the demo and the tests."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ottla.local import processes
from ottla.local.errors import LocalClusterError
from ottla.local.layout import LocalNode, find_nodes, write_configs
from ottla.local.ports import check_ports
from ottla.local.processes import State
from ottla.v1 import admin_pb2, admin_pb2_grpc

POLL_S = 0.05
UP_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
ASK_TIMEOUT_S = 1.0


class NodeStatus(NamedTuple):
    """What `ottla local status` tells. role: leader or follower of the metadata quorum, unknown when it is not told."""

    node_id: int
    pid: int | None
    state: str
    role: str
    grpc: str
    kafka: str
    config: str


class LocalCluster:
    """The cluster in a folder."""

    def __init__(self, folder: Path) -> None:
        """Raises LocalClusterError when there is none."""
        self.folder = folder.absolute()
        self.nodes = find_nodes(self.folder)

    @classmethod
    def init(
        cls,
        folder: Path,
        *,
        nodes: int = 3,
        base_port: int = 19090,
        settings: Mapping[str, str] | None = None,
    ) -> Self:
        """Write the files of a new cluster. Raises LocalClusterError, also when one of its ports is in use."""
        check_ports(base_port, nodes)
        write_configs(folder, nodes, base_port, settings or {})
        return cls(folder)

    @property
    def bootstrap(self) -> str:
        """host:port,... of the gRPC doors."""
        return ",".join(node.grpc for node in self.nodes)

    def node(self, node_id: int) -> LocalNode:
        """A node by its id. Raises LocalClusterError."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        known = ", ".join(str(node.node_id) for node in self.nodes)
        raise LocalClusterError(f"there is no node {node_id} in {self.folder}; there are {known}")

    async def up(self, *, wait: bool = True, timeout_s: float = UP_TIMEOUT_S) -> None:
        """Start every node that is not running and wait until all serve. Raises LocalClusterError.

        Nothing is started when a file cannot be read.
        """
        for node in self.nodes:
            node.settings()
        for node in self.nodes:
            if processes.state(node) is State.STOPPED:
                processes.start(node)
        if wait:
            await self.wait_serving([node.node_id for node in self.nodes], timeout_s)

    def start(self, node_id: int) -> int:
        """Start a node; returns its process id."""
        return processes.start(self.node(node_id))

    def kill(self, node_id: int) -> int:
        """SIGKILL: the process is gone at once and has no say in it."""
        node = self.node(node_id)
        number = processes.send(node, signal.SIGKILL)
        processes.wait_gone(node, STOP_TIMEOUT_S)
        return number

    def pause(self, node_id: int) -> int:
        """SIGSTOP: the process is there and silent."""
        return processes.send(self.node(node_id), signal.SIGSTOP)

    def resume(self, node_id: int) -> int:
        """SIGCONT."""
        return processes.send(self.node(node_id), signal.SIGCONT)

    def stop(self, node_id: int) -> int:
        """SIGTERM: leaderships move first; waits until the process has ended. A paused node is resumed first.

        Raises LocalClusterError.
        """
        node = self.node(node_id)
        if processes.state(node) is State.PAUSED:
            processes.send(node, signal.SIGCONT)
        number = processes.send(node, signal.SIGTERM)
        self._await_end(node)
        return number

    def down(self) -> list[int]:
        """Stop every node; returns the ids of those that ran. A paused one is resumed first."""
        running = [node for node in self.nodes if processes.state(node) is not State.STOPPED]
        for node in running:
            if processes.state(node) is State.PAUSED:
                processes.send(node, signal.SIGCONT)
            processes.send(node, signal.SIGTERM)
        for node in running:
            self._await_end(node)
        return [node.node_id for node in running]

    async def status(self) -> list[NodeStatus]:
        """Every node's process and role."""
        return list(await asyncio.gather(*(self._status(node) for node in self.nodes)))

    async def wait_serving(self, node_ids: Sequence[int], timeout_s: float = UP_TIMEOUT_S) -> None:
        """Wait until these nodes are in the cluster and serve clients. Raises LocalClusterError with what they say."""
        waiting = {node_id: self.node(node_id) for node_id in node_ids}

        async def wait(node: LocalNode) -> None:
            await self._wait_serving(node)
            del waiting[node.node_id]

        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(wait(node) for node in tuple(waiting.values())))
        except TimeoutError:
            said = "\n".join(
                f"the end of {node.log}:\n{processes.last_lines(node, 2)}"
                for node in waiting.values()
            )
            raise LocalClusterError(
                f"node {', '.join(map(str, waiting))} does not serve after {timeout_s:g} s; {said}"
            ) from None

    async def _wait_serving(self, node: LocalNode) -> None:
        while not await _serves(node):
            if processes.state(node) is State.STOPPED:
                raise LocalClusterError(
                    f"node {node.node_id} ended while starting; the end of {node.log}:\n{processes.last_lines(node)}"
                )
            await asyncio.sleep(POLL_S)

    def _await_end(self, node: LocalNode) -> None:
        if not processes.wait_gone(node, STOP_TIMEOUT_S):
            raise LocalClusterError(
                f"node {node.node_id} has not stopped after {STOP_TIMEOUT_S:g} s; `ottla local kill {node.node_id}` "
                f"ends it by force; see {node.log}"
            )

    async def _status(self, node: LocalNode) -> NodeStatus:
        state = processes.state(node)
        role = await _role(node) if state is State.RUNNING else "unknown"
        return NodeStatus(
            node.node_id,
            processes.pid(node),
            state.value,
            role,
            node.grpc,
            node.kafka,
            str(node.config),
        )


async def _serves(node: LocalNode) -> bool:
    async with grpc.aio.insecure_channel(node.grpc) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(
                health_pb2.HealthCheckRequest(service=""), timeout=ASK_TIMEOUT_S
            )
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _role(node: LocalNode) -> str:
    async with grpc.aio.insecure_channel(node.grpc) as channel:
        try:
            cluster = await admin_pb2_grpc.AdminServiceStub(channel).DescribeCluster(
                admin_pb2.DescribeClusterRequest(), timeout=ASK_TIMEOUT_S
            )
        except grpc.aio.AioRpcError:
            return "unknown"
    if cluster.controller_id < 0:
        return "unknown"
    return "leader" if cluster.controller_id == node.node_id else "follower"

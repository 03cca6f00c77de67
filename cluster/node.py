"""A node of the real world: the composition root, where seams meet disk, network and clock."""

import asyncio
import random
import resource
import socket
import time
from pathlib import Path
from typing import NamedTuple

import structlog

from cluster.broker import Broker, Environment
from cluster.config import NodeConfig
from cluster.endpoints import PEER, Endpoint, advertised, listeners
from cluster.errors import NotLeaderError
from cluster.handlers.client_quotas import ClientQuotasHandler
from cluster.lingering import tell_what_lingers
from cluster.listeners import grpc_metadata
from cluster.listeners.grpc_admin import GrpcAdmin
from cluster.listeners.grpc_fetch import GrpcFetch
from cluster.listeners.grpc_groups import GrpcGroups
from cluster.listeners.grpc_log import GrpcLog
from cluster.listeners.grpc_produce import GrpcProduce
from cluster.listeners.grpc_server import GrpcDoor
from cluster.listeners.kafka.apis import Services, dispatcher
from cluster.listeners.kafka.quotas import ClientQuotas
from cluster.listeners.kafka.server import KafkaDoor, KafkaLimits
from cluster.peers.grpc_network import GrpcPeerNetwork
from ottla.v1 import common_pb2
from storage.errors import DataDirectoryError, OttlaError
from storage.real_disk import RealDisk

log = structlog.get_logger("node")

# A stop that takes so much longer than the leaderships may take to move is told with its reasons.
LINGER_S = 5.0


class Doors(NamedTuple):
    """Where clients come in."""

    grpc: list[GrpcDoor]
    kafka: list[KafkaDoor]


class Node:
    """One node in the foreground: `run` until `stop`."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._broker: Broker | None = None
        self._stop_asked = asyncio.Event()
        self.serving = asyncio.Event()
        """Set once the broker is unfenced and its doors are open."""

    async def run(self) -> None:
        """Open the data folder, join the cluster, serve. Raises OttlaError when the node cannot live."""
        config = self._config
        _raise_file_limit()
        disk = _open_disk(config)
        try:
            found = listeners(config).values()
            doors = Doors(
                [GrpcDoor(each) for each in found if each.is_grpc],
                [KafkaDoor(each, KafkaLimits.of(config)) for each in found if each.is_kafka],
            )
            ports = {door.endpoint.name: door.port for door in doors.grpc}
            ports |= {door.endpoint.name: door.port for door in doors.kafka}
            peer_listen = listeners(config)[PEER]
            told = advertised(config, ports, socket.gethostname())
            network = GrpcPeerNetwork(config.node_id, peer_listen.address, self._cluster_id)
            environment = Environment(disk, network, random.Random(), _wall_ms)
            broker = self._broker = await Broker.open(config, environment, told)
            try:
                await self._live(broker, doors, _kafka_services(broker, environment, told))
            finally:
                for door in doors.grpc:
                    await door.close()
        finally:
            disk.close()
        log.info("stopped", node=config.node_id)

    def stop(self) -> None:
        """Ask for a controlled shutdown."""
        self._stop_asked.set()
        patience_s = self._config.controlled_shutdown_timeout_ms / 1000 + LINGER_S
        asyncio.get_running_loop().call_later(patience_s, tell_what_lingers)

    async def _live(self, broker: Broker, doors: Doors, services: Services) -> None:
        async with asyncio.TaskGroup() as tasks:
            living = tasks.create_task(broker.run())
            for door in doors.grpc:
                await door.start(*_services(broker, door.endpoint))
                log.info("listening", name=door.endpoint.name, address=door.endpoint.address)
            beside = [
                tasks.create_task(self._announce(broker, doors)),
                tasks.create_task(self._stop_when_asked(broker, doors)),
                *(tasks.create_task(_open(broker, kafka, services)) for kafka in doors.kafka),
            ]
            await living
            for task in beside:
                task.cancel()

    async def _announce(self, broker: Broker, doors: Doors) -> None:
        await broker.lease.unfenced.wait()
        for kafka in doors.kafka:
            await kafka.opened.wait()
        for door in doors.grpc:
            await door.serving()
        self.serving.set()
        log.info("serving", node=broker.node_id, cluster_id=broker.image.cluster_id)

    async def _stop_when_asked(self, broker: Broker, doors: Doors) -> None:
        """Leaderships move first while the doors are still open, so that clients are told where to."""
        await self._stop_asked.wait()
        broker.stop()
        for door in doors.grpc:
            await door.stopping()

    def _cluster_id(self) -> str:
        return self._broker.cluster_id if self._broker is not None else ""


async def _open(broker: Broker, door: KafkaDoor, services: Services) -> None:
    """Not before this node knows the cluster: a Kafka client that is told of no topic takes it for gone."""
    await broker.lease.unfenced.wait()
    await door.run(dispatcher(services, door.unsent))


def _services(broker: Broker, endpoint: Endpoint) -> tuple[GrpcLog, GrpcAdmin, GrpcGroups]:
    listener = endpoint.name

    def hint(error: OttlaError) -> common_pb2.LeaderHint | None:
        if not isinstance(error, NotLeaderError) or error.leader_id < 0:
            return None
        return grpc_metadata.leader_hint(
            broker.image, error.leader_id, error.leader_epoch, listener
        )

    log_service = GrpcLog(
        GrpcProduce(broker.produce, hint, _wall_ms),
        GrpcFetch(broker.fetch, hint),
        broker.offsets,
        broker.producer_ids,
        hint,
    )
    admin = GrpcAdmin(
        listener,
        broker.node_id,
        broker.admin,
        broker.quorum,
        broker.delete_records,
        ClientQuotasHandler(broker.admin),
    )
    groups = GrpcGroups(listener, broker.groups, broker.group_location, lambda: broker.image)
    return log_service, admin, groups


def _kafka_services(
    broker: Broker, environment: Environment, told: dict[str, Endpoint]
) -> Services:
    return Services(
        produce=broker.produce,
        fetch=broker.fetch,
        offsets=broker.offsets,
        delete_records=broker.delete_records,
        admin=broker.admin,
        quorum=broker.quorum,
        producer_ids=broker.producer_ids,
        groups=broker.groups,
        group_location=broker.group_location,
        image=lambda: broker.image,
        partition=broker.partition,
        settled=broker.suspicion.settled,
        recently_fenced=broker.recently_fenced.nodes,
        now_ms=broker.clock.now_ms,
        rng=environment.rng,
        replicas=broker.replicas.partitions,
        config=broker.config,
        advertised=told,
        disk=environment.disk,
        quotas=ClientQuotas(lambda: broker.image.quotas, lambda: asyncio.get_running_loop().time()),
    )


def _open_disk(config: NodeConfig) -> RealDisk:
    root = Path(config.log_dir)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryError(
            f"log.dir {root} cannot be made: {error.strerror}; give this user the right to, or choose another folder"
        ) from None
    return RealDisk(root)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _raise_file_limit() -> None:
    """Every log segment is an open file: take as many as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

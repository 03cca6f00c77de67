"""One node, whole: metadata quorum, controller, replicas. Everything but the doors for clients.

Time comes from the loop, everything else that is not ours through `Environment`, so that the simulator runs this very
class (docs/ARCHITECTURE.md).
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from cluster import directory_id
from cluster.broker_peers import BrokerPeers
from cluster.config import NodeConfig
from cluster.endpoints import PEER, Endpoint, parse_voters
from cluster.errors import NotLeaderError, UnknownTopicOrPartitionError
from cluster.failover.broker_lease import BrokerLease
from cluster.failover.controller_client import ControllerClient
from cluster.failover.metadata_follower import MetadataFollower
from cluster.failover.no_leader import no_leader
from cluster.failover.recently_fenced import RecentlyFenced
from cluster.failover.suspicion import Suspicion
from cluster.group_settings import GroupSettingsSource
from cluster.groups.classic_rebalance import Clock as GroupClock
from cluster.groups.coordinators import Coordinators
from cluster.handlers.admin import AdminHandler, ProducerIds
from cluster.handlers.delete_records import DeleteRecordsHandler
from cluster.handlers.fetch import FetchHandler
from cluster.handlers.group_location import GroupLocation
from cluster.handlers.groups import GroupHandler
from cluster.handlers.offsets import OffsetsHandler
from cluster.handlers.produce import ProduceHandler
from cluster.handlers.quorum import Join, QuorumHandler
from cluster.housekeeping import Housekeeping
from cluster.isr_channel import isr_channel
from cluster.peers.network import Peer, PeerNetwork, PeerRefusedError
from cluster.peers.raft_links import RaftLinks
from cluster.quorum_port import QuorumPort
from cluster.replication.partition import Partition, TopicIdPartition
from cluster.replication.replica_manager import Clock, ReplicaManager
from kraft.driver import Listeners, RaftDriver
from kraft.metadata import records
from kraft.metadata.broker_leases import BrokerLeases
from kraft.metadata.controller import Controller
from kraft.metadata.effective_config import broker_value, floors, ignored_static
from kraft.metadata.image import MetadataImage
from kraft.metadata.requests import RegisterBrokerRequest
from kraft.quorum_controller import Quorum, QuorumController
from kraft.raft.config import RaftConfig
from kraft.raft.membership import Member, Membership
from kraft.raft.ready import LeadershipFact, Role
from kraft.store import RaftStore
from storage.disk import Disk
from storage.log_config import LogConfig
from storage.log_directory import LogDirectory

log = structlog.get_logger("broker")

JOIN_PAUSE_S = 0.2


class Environment(NamedTuple):
    """What is not ours. now_wall_ms: milliseconds since the epoch, for record timestamps and retention only."""

    disk: Disk
    network: PeerNetwork
    rng: random.Random
    now_wall_ms: Callable[[], int]


class Broker:
    """Use `open`, then `run` in a task; `stop` asks it to leave in peace."""

    def __init__(
        self,
        config: NodeConfig,
        environment: Environment,
        advertised: dict[str, Endpoint],
        directory: LogDirectory,
        folder_id: UUID,
        store: RaftStore,
    ) -> None:
        """Use `open`."""
        self.config = config
        self.node_id = config.node_id
        self._environment = environment
        self._network = environment.network
        self._advertised = advertised
        self._directory = directory
        self._folder_id = folder_id
        self._incarnation = UUID(int=environment.rng.getrandbits(128), version=4)
        self._stop_asked = asyncio.Event()
        self._cast_out = asyncio.Event()
        self.left = asyncio.Event()
        """Set when leaderships have moved: clients are sent away next."""
        self._is_voter = "controller" in config.process_roles
        self._voters = parse_voters(config.controller_quorum_voters)
        self.clock = clock = Clock(_loop_ms, environment.now_wall_ms)
        self._make_quorum(store)
        self._make_replicas(clock)
        self._make_handlers(clock)
        self.peers = BrokerPeers(self)

    @classmethod
    async def open(
        cls, config: NodeConfig, environment: Environment, advertised: dict[str, Endpoint]
    ) -> "Broker":
        """Lock and load the data folder. Raises DataDirectoryError and what storage finds unreadable."""
        disk = environment.disk
        directory = await LogDirectory.open(disk, node_id=config.node_id)
        folder_id = await directory_id.read_or_draw(disk, environment.rng)
        wall_ms = environment.now_wall_ms()
        await directory.load(lambda _: LogConfig(), now_ms=wall_ms)
        for folder, error in directory.failed.items():
            log.error("log cannot be opened", folder=folder, error=str(error))
        store = await RaftStore.open(disk, wall_ms=wall_ms)
        return cls(config, environment, advertised, directory, folder_id, store)

    def _make_quorum(self, store: RaftStore) -> None:
        config, rng = self.config, self._environment.rng
        # One figure: what a new controller leaves its predecessor is what a deposed one still believes of itself.
        suspect_ms = config.broker_heartbeat_interval_ms
        self.suspicion = Suspicion(
            lambda: self.image, lambda: self.links.broken, lambda nodes: self.links.verify(nodes)
        )
        self.recently_fenced = RecentlyFenced(_loop_ms)
        self.links = RaftLinks(
            self._network,
            self.node_id,
            rng,
            self._peer_died,
            self._peer_refused,
            self.suspicion.news,
        )
        self.controller = QuorumController(
            self.node_id,
            Controller(rng, config.static),
            BrokerLeases(
                config.broker_session_timeout_ms,
                suspect_ms,
                lambda node_id: self.driver.node.contact_ms(node_id),
            ),
            Quorum(
                lambda command: self.driver.propose([command]),
                lambda: self.driver.read(),
                lambda: self.driver.node.last_index,
            ),
            self._publish,
            lambda: self.links.dead,
            _loop_ms,
        )
        self.driver = RaftDriver(
            RaftConfig(
                node_id=self.node_id,
                election_timeout_ms=config.controller_quorum_election_timeout_ms,
                heartbeat_interval_ms=config.controller_quorum_heartbeat_interval_ms,
            ),
            store,
            self.links,
            self.controller,
            Membership.of(*(Member(node, address) for node, address in self._voters.items())),
            rng=rng,
            listeners=Listeners(leadership=self._leadership, membership=self._membership),
            snapshot_log_bytes=config.metadata_log_max_record_bytes_between_snapshots,
        )
        self.quorum_port = QuorumPort(self.node_id, self.driver, lambda: self.links.dead)
        self.quorum = QuorumHandler(
            self.node_id, self.quorum_port, self._network, self.peer, self._no_leader, _loop_ms
        )
        self.controller_client = ControllerClient(
            self._network,
            self.node_id,
            lambda: self.driver.node.leader_id,
            self.peer,
            self.controller.submit,
            self.controller.applied,
            self._no_leader,
        )
        self.lease = BrokerLease(
            self.controller_client,
            self._registration,
            lambda: self.image.offset,
            _loop_ms,
            registered_anew=lambda: self.replicas.registered_again(),
            heartbeat_interval_ms=config.broker_heartbeat_interval_ms,
            session_timeout_ms=config.broker_session_timeout_ms,
            suspect_ms=suspect_ms,
        )

    def _make_replicas(self, clock: Clock) -> None:
        self.replicas = ReplicaManager(
            self.node_id,
            self._directory,
            self._network,
            clock,
            self._environment.rng,
            broker_epoch=lambda: self.lease.broker_epoch,
            peer=self.peer,
            propose=isr_channel(
                self.node_id, self.controller_client, lambda: self.lease.broker_epoch
            ),
            eligible=self._may_join_isr,
            log_lost=self.lease.give_up,
        )
        self._group_settings = GroupSettingsSource(lambda: self.image, self.config.static)
        self._coordinators = Coordinators(
            self.replicas.partitions,
            self.partition,
            lambda: self.image,
            self.replicas.request_flush,
            lambda: GroupClock(clock.now_ms(), clock.now_wall_ms()),
            self._group_settings.current,
            self._environment.rng,
        )
        self._follower = MetadataFollower(
            self.node_id,
            self.replicas,
            self.config.static,
            clock.now_ms,
            self._coordinators.roles_changed,
        )
        self._housekeeping = Housekeeping(
            self.replicas,
            clock,
            self.config.log_retention_check_interval_ms,
            lambda: int(self._setting("log.cleaner.threads")),
        )

    def _make_handlers(self, clock: Clock) -> None:
        self.produce = ProduceHandler(
            self.partition, self.replicas.request_flush, clock.now_ms, clock.now_wall_ms
        )
        self.fetch = FetchHandler(self.partition)
        self.offsets = OffsetsHandler(self.partition)
        self.delete_records = DeleteRecordsHandler(self.partition)
        self.admin = AdminHandler(
            self.node_id,
            self.controller_client,
            lambda: self.image,
            self.config.static,
            lambda: self._follower.begun,
        )
        self.groups = GroupHandler(
            self._coordinators, lambda: self.image, self._group_settings.current, clock.now_wall_ms
        )
        self.group_location = GroupLocation(self.admin, lambda: self.image, self.suspicion.settled)
        self.producer_ids = ProducerIds(
            self.node_id, self.controller_client, lambda: self.lease.broker_epoch
        )

    @property
    def cluster_id(self) -> str:
        """The cluster that this node belongs to: as its data folder says, before its metadata can; "" when new."""
        return self._directory.meta.cluster_id or self.image.cluster_id

    @property
    def image(self) -> MetadataImage:
        """The newest metadata that this node has applied."""
        return self.controller.image

    def _setting(self, key: str) -> Any:
        """A broker key's value in force on this node."""
        found = floors(self.image, node_id=self.node_id, static=self.config.static)
        return broker_value(found, key)

    def partition(self, topic: str, index: int) -> Partition:
        """A partition that this broker may serve. Raises UnknownTopicOrPartitionError, NotLeaderError."""
        if not self.lease.holds:
            raise NotLeaderError(
                f"node {self.node_id} has not heard from the controller for a session: another node may lead "
                f"{topic}-{index} by now"
            )
        found = self.image.topics_by_name.get(topic)
        if found is None:
            raise UnknownTopicOrPartitionError(f"there is no topic {topic!r}")
        registration = found.partitions.get(index)
        if registration is None:
            raise UnknownTopicOrPartitionError(
                f"{topic} has partitions 0 to {len(found.partitions) - 1}; there is no partition {index}"
            )
        partition = self.replicas.partitions.get(TopicIdPartition(found.topic_id, index))
        if partition is None or partition.offline is not None:
            raise NotLeaderError(
                f"node {self.node_id} has no usable replica of {topic}-{index}",
                registration.leader if registration.leader != self.node_id else -1,
                registration.leader_epoch,
            )
        return partition

    def peer(self, node_id: int) -> Peer | None:
        """A node's peer address, from its registration or from the quorum's members."""
        broker = self.image.brokers.get(node_id)
        if broker is not None and PEER in broker.listeners:
            host, port = broker.listeners[PEER]
            return Peer(node_id, f"{host}:{port}")
        member = self.driver.node.membership.find(node_id)
        return Peer(node_id, member.address) if member is not None else None

    async def run(self) -> None:
        """Live until `stop` and its controlled shutdown are over. Raises what makes the node useless."""
        await self._network.serve(self.peers)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(work)
                    for work in (
                        self.driver.run(),
                        self.links.run(),
                        self.controller.run(),
                        self._directory.run_removals(),
                        self.replicas.run(),
                        self._follower.run(),
                        self._coordinators.run(),
                        self._housekeeping.run(),
                        self._live(),
                        self._end_when_cast_out(),
                    )
                ]
                await self._stop_asked.wait()
                await self._leave()
                self.left.set()
                for task in running:
                    task.cancel()
        finally:
            await self._network.close()
            await self.replicas.save_high_watermarks()
            await self._directory.close()

    def stop(self) -> None:
        """Ask for a controlled shutdown: leaderships move first."""
        self._stop_asked.set()

    async def _live(self) -> None:
        """Join the quorum's log, register, then act on the metadata."""
        if not self._is_voter:
            await self._join()
        async with asyncio.TaskGroup() as tasks:
            if self._is_voter:
                tasks.create_task(self._join_again())
            tasks.create_task(self.lease.run())
            await self.lease.registered.wait()
            await self.controller.applied(self.lease.broker_epoch)
            await self._directory.set_cluster_id(self.image.cluster_id)
            for key in ignored_static(self.image, self.config.static):
                log.warning(
                    "setting without effect: the cluster has its own, decided at its foundation or since",
                    key=key,
                    here=self.config.static[key],
                )
            self._follower.begin()

    async def _join(self) -> None:
        """A node without a vote asks the voters for the metadata log."""
        address = self._advertised[PEER].address
        while self.driver.node.leader_id is None or not self.image.cluster_id:
            await self.quorum.ask_to_join(self._known_voters(), Join(self.node_id, address))
            await asyncio.sleep(JOIN_PAUSE_S)

    async def _join_again(self) -> None:
        """A voter to which no leader speaks may have been taken out of the quorum while it was away.

        Its old log may not say so, and nobody sends it a newer one. It asks to be a learner; of a member the leader
        takes no notice. Its old term and vote are kept, so whatever it had promised still holds.
        """
        address = self._voters.get(self.node_id) or self._advertised[PEER].address
        pause_s = self.config.controller_quorum_election_timeout_ms * 2 / 1000
        await asyncio.sleep(pause_s)
        while self.driver.node.leader_id is None:
            request = Join(self.node_id, address, only_if_no_member=True)
            await self.quorum.ask_to_join(self._known_voters(), request, quiet=True)
            await asyncio.sleep(pause_s)

    def _known_voters(self) -> dict[int, str]:
        """The other voters' addresses, as the settings and the metadata log have them."""
        logged = self.driver.node.membership.members
        known = self._voters | {each.node_id: each.address for each in logged if each.voter}
        known.pop(self.node_id, None)
        return known

    async def _leave(self) -> None:
        """Hand everything over: partition leaderships, then the quorum's."""
        timeout_s = self.config.controlled_shutdown_timeout_ms / 1000
        if timeout_s <= 0 or not self.lease.registered.is_set():
            return
        log.info("stopping: leaderships move first")
        self.lease.leave()
        if not await self.lease.released(timeout_s):
            log.warning("stopping although leaderships have not moved")
        await self.quorum_port.hand_over()

    def _registration(self) -> RegisterBrokerRequest:
        return RegisterBrokerRequest(
            node_id=self.node_id,
            cluster_id=self._directory.meta.cluster_id or "",
            incarnation=self._incarnation,
            listeners={
                name: records.Endpoint(endpoint.host, endpoint.port)
                for name, endpoint in self._advertised.items()
            },
            rack=self.config.broker_rack,
            directory_id=self._folder_id,
            clean_shutdown=self._directory.was_clean,
        )

    def _may_join_isr(self, node_id: int, broker_epoch: int) -> bool:
        broker = self.image.brokers.get(node_id)
        return broker is not None and broker.eligible and broker.broker_epoch == broker_epoch

    def _publish(self, old: MetadataImage, new: MetadataImage) -> None:
        self.recently_fenced.note(old, new)
        self._follower.publish(new)
        self.suspicion.news()

    def _no_leader(self) -> str:
        return no_leader(self.node_id, self.driver.node.membership.voters, self.links.dead)

    def _peer_died(self, node_id: int) -> None:
        self.driver.peer_unreachable(node_id)
        self.controller.look_at_dead()

    def _peer_refused(self) -> None:
        majority = len(self._voters) // 2 + 1
        if len(self._voters.keys() & self.links.refusals.keys()) >= majority:
            self._cast_out.set()

    async def _end_when_cast_out(self) -> None:
        """When a majority of the voters refuses this node, it is this node that is wrong."""
        await self._cast_out.wait()
        refusals = self.links.refusals
        raise PeerRefusedError(
            f"node {self.node_id} is refused by nodes {sorted(refusals)}: {next(iter(refusals.values()))}"
        )

    def _membership(self, membership: Membership) -> None:
        self.links.connect({member.node_id: member.address for member in membership.members})

    def _leadership(self, fact: LeadershipFact) -> None:
        self.quorum_port.leadership_changed(fact)
        if fact.role is Role.LEADER:
            self.controller.lead(self.quorum_port.previous_leader)
        else:
            if self.controller.elected:
                self.lease.deposed()
            self.controller.resign()


def _loop_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)

"""Random requests against the controller: the invariants after each, and snapshot + suffix == whole log (R10)."""

from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kraft.metadata import replies
from kraft.metadata.delta import MetadataDelta
from kraft.metadata.effective_config import broker_resource, topic_resource
from kraft.metadata.errors import MetadataError
from kraft.metadata.image import EMPTY_IMAGE, snapshot_records
from kraft.metadata.records import CLUSTER, ConfigResource
from kraft.metadata.requests import (
    AllocateProducerIds,
    AlterConfigs,
    AlterPartitionReassignments,
    BrokerHeartbeat,
    ConfigChange,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    ElectLeaders,
    FenceBroker,
    NewTopic,
    Reassignment,
    RebalanceLeaders,
    UnregisterBrokerRequest,
)
from tests.kraft.metadata.invariants import check_snapshot
from tests.kraft.metadata.lab import EVERYBODY, Lab

NODES = (1, 2, 3, 4, 5)
nodes = st.sampled_from(NODES)
names = st.sampled_from(("a", "a.b", "a_b", "c", "", "no/name"))
replicas = st.lists(nodes, min_size=0, max_size=4).map(tuple)
resources = st.one_of(st.just(CLUSTER), names.map(topic_resource), nodes.map(broker_resource))
config_values = st.dictionaries(
    st.sampled_from(
        (
            "min.insync.replicas",
            "unclean.leader.election.enable",
            "retention.ms",
            "log.retention.ms",
            "flush.policy",
        )
    ),
    st.sampled_from(("1", "2", "3", "true", "false", "os", "-7")),
    max_size=3,
)


class ControllerMachine(RuleBasedStateMachine):
    """Every request is answered or refused; nothing breaks a rule."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.lab = Lab(4, seed=seed)
        self.middle = EMPTY_IMAGE
        self.suffix_from = 0

    def try_to(self, request: object) -> None:
        try:
            self.lab.ask(request, replies.Reply)  # type: ignore[arg-type]
        except MetadataError:
            assert self.lab.log

    @rule(node=nodes, disk=st.integers(0, 1), clean=st.booleans(), rack=st.sampled_from("ab"))
    def register(self, node: int, disk: int, clean: bool, rack: str) -> None:
        directory = UUID(int=node + 100 * disk)
        try:
            self.lab.register(node, rack=rack, directory_id=directory, clean_shutdown=clean)
        except MetadataError:
            assert not self.lab.image.brokers[node].fenced

    @rule(
        node=nodes,
        lag=st.sampled_from((0, 0, 0, 50)),
        fence=st.booleans(),
        stop=st.sampled_from((False, False, True)),
        stale=st.sampled_from((0, 0, 0, 1)),
    )
    def heartbeat(self, node: int, lag: int, fence: bool, stop: bool, stale: int) -> None:
        broker = self.lab.image.brokers.get(node)
        epoch = 0 if broker is None else broker.broker_epoch - stale
        self.try_to(
            BrokerHeartbeat(
                node_id=node,
                broker_epoch=epoch,
                metadata_offset=len(self.lab.log) - lag,
                wants_fence=fence and lag == 0 and not stop,
                wants_shutdown=stop,
            )
        )

    @rule(node=nodes)
    def start(self, node: int) -> None:
        broker = self.lab.image.brokers.get(node)
        if broker is None or broker.fenced:
            self.lab.start(node)

    @rule(node=nodes)
    def fence(self, node: int) -> None:
        broker = self.lab.image.brokers.get(node)
        if broker is not None:
            self.try_to(FenceBroker(node_id=node, broker_epoch=broker.broker_epoch))

    @rule(node=nodes)
    def unregister(self, node: int) -> None:
        self.try_to(UnregisterBrokerRequest(node_id=node))

    @rule(name=names, partitions=st.integers(-2, 3), factor=st.integers(-2, 5))
    def create(self, name: str, partitions: int, factor: int) -> None:
        new = NewTopic(name=name, partitions=partitions, replication_factor=factor)
        self.try_to(CreateTopics(topics=(new,)))

    @rule(
        name=names,
        by_hand=st.lists(replicas, min_size=1, max_size=2).map(tuple),
        configs=config_values,
        only=st.booleans(),
    )
    def create_by_hand(
        self,
        name: str,
        by_hand: tuple[tuple[int, ...], ...],
        configs: dict[str, str],
        only: bool,
    ) -> None:
        new = NewTopic(name=name, assignments=by_hand, configs=configs)
        self.try_to(CreateTopics(topics=(new, new), validate_only=only))

    @rule(names=st.lists(names, max_size=2).map(tuple))
    def delete(self, names: tuple[str, ...]) -> None:
        self.try_to(DeleteTopics(names=names))

    @rule(name=names, total=st.integers(0, 4))
    def grow(self, name: str, total: int) -> None:
        self.try_to(CreatePartitions(topic=name, total_count=total))

    @rule(resource=resources, values=config_values, unset=st.booleans())
    def configure(self, resource: ConfigResource, values: dict[str, str], unset: bool) -> None:
        change = (
            ConfigChange(resource=resource, unset=tuple(values))
            if unset
            else ConfigChange(resource=resource, set=values)
        )
        self.try_to(AlterConfigs(changes=(change,)))

    @precondition(lambda self: self.lab.image.topics_by_id)
    @rule(data=st.data(), isr=st.lists(nodes, max_size=4, unique=True).map(tuple))
    def propose_isr(self, data: st.DataObject, isr: tuple[int, ...]) -> None:
        name = data.draw(st.sampled_from(sorted(self.lab.image.topics_by_name)))
        if self.lab.partition(name).leader > 0:
            old = data.draw(st.sampled_from((0, 0, 0, 1)))
            partition = self.lab.partition(name)
            if data.draw(st.booleans()):
                isr = tuple({*isr, partition.leader} & {*partition.replicas})
            self.lab.propose_isr(name, isr, partition_epoch=partition.partition_epoch - old)

    @rule(name=names, number=st.integers(0, 1), replicas=replicas)
    def reassign(self, name: str, number: int, replicas: tuple[int, ...]) -> None:
        wanted = Reassignment(topic=name, partition=number, replicas=replicas)
        self.try_to(AlterPartitionReassignments(reassignments=(wanted,)))

    @rule(unclean=st.booleans(), only=st.booleans(), name=names)
    def elect(self, unclean: bool, only: bool, name: str) -> None:
        partitions = ((name, 0),) if only else ()
        self.try_to(ElectLeaders(unclean=unclean, partitions=partitions))

    @rule(most=st.integers(0, 2))
    def rebalance(self, most: int) -> None:
        self.try_to(RebalanceLeaders(brokers=EVERYBODY, max_changes=most))

    @rule(node=nodes)
    def producer_ids(self, node: int) -> None:
        broker = self.lab.image.brokers.get(node)
        epoch = 0 if broker is None else broker.broker_epoch
        self.try_to(AllocateProducerIds(node_id=node, broker_epoch=epoch))

    @rule()
    def take_a_snapshot(self) -> None:
        delta = MetadataDelta(EMPTY_IMAGE)
        delta.replay_all(snapshot_records(self.lab.image))
        self.middle = delta.apply(len(self.lab.log) - 1, 1)
        self.suffix_from = len(self.lab.log)

    @invariant()
    def a_snapshot_is_the_image(self) -> None:
        if hasattr(self, "lab"):
            check_snapshot(self.lab.image)

    def teardown(self) -> None:
        if not hasattr(self, "lab"):
            return
        whole = MetadataDelta(EMPTY_IMAGE)
        suffix = MetadataDelta(self.middle)
        for offset, batch in enumerate(self.lab.log):
            whole.replay_all(batch)
            if offset >= self.suffix_from:
                suffix.replay_all(batch)
        last = len(self.lab.log) - 1
        assert whole.apply(last, 1) == self.lab.image
        assert suffix.apply(last, 1) == self.lab.image


TestController = ControllerMachine.TestCase
TestController.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

"""The controller under leaders and followers that see its decisions late: no committed record is ever lost.

A small model of KIP-966 around the real controller: one partition, four brokers, each with a log and with a picture of
the metadata that lags behind the controller's. Leaders (also those that do not know yet that they are none any more)
append, followers fetch from whom they take for the leader, and a leader commits what its *maximal* ISR holds while its
committed ISR is not below the min ISR. Crashes keep what was fsynced, disks are swapped, `flush.policy=os` loses the
page cache. After each step (Vanlightly's kafka-tlaplus names): LeaderCandidateCompleteness (every ISR and ELR member
holds everything committed), NoCommittedRecordLost, one history of committed records.
"""

from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kraft.metadata import replies
from kraft.metadata.effective_config import floors, topic_resource, topic_value
from kraft.metadata.errors import MetadataError
from kraft.metadata.image import MetadataImage, PartitionRegistration
from kraft.metadata.isr_changes import DEFINITE_REFUSALS
from kraft.metadata.partition_change import effective_min_isr
from kraft.metadata.records import CLUSTER
from kraft.metadata.requests import (
    AlterPartition,
    AlterPartitionReassignments,
    ElectLeaders,
    IsrMember,
    IsrProposal,
    Reassignment,
    RebalanceLeaders,
    UnregisterBrokerRequest,
)
from tests.kraft.metadata.lab import EVERYBODY, Lab

NODES = (1, 2, 3, 4)
nodes = st.sampled_from(NODES)
fates = st.sampled_from(("answered", "answered", "reply lost", "late"))
Entry = tuple[int, int]


@dataclass
class Node:
    """One broker: its log of (leader epoch, value), what of it is fsynced, its picture, and what it knows as leader."""

    node_id: int
    view: MetadataImage
    log: list[Entry] = field(default_factory=list)
    synced: int = 0
    disk: int = 0
    running: bool = True
    broker_epoch: int = -1
    # As leader, in this leader epoch: follower -> (end offset, broker epoch seen), the proposal in flight, and whether
    # a sending of it has an unknown fate.
    leading: int = -1
    match: dict[int, tuple[int, int]] = field(default_factory=dict)
    proposed: AlterPartition | None = None
    uncertain: bool = False

    def partition(self) -> PartitionRegistration:
        found = self.view.partition("t", 0)
        assert found is not None
        return found

    def leads(self) -> bool:
        return self.running and self.partition().leader == self.node_id


class ReplicationMachine(RuleBasedStateMachine):
    """`committed` is what clients were told is kept."""

    @initialize(
        min_isr=st.sampled_from((1, 2, 3)),
        policy=st.sampled_from(("sync", "sync", "os")),
        factor=st.sampled_from((2, 3, 3)),
    )
    def begin(self, min_isr: int, policy: str, factor: int) -> None:
        self.lab = Lab(len(NODES))
        configs = {"min.insync.replicas": str(min_isr), "flush.policy": policy}
        self.fsyncs = policy == "sync"
        self.topic_id = self.lab.create("t", NODES[:factor], configs=configs)
        self.images = [self.lab.image]
        self.nodes = {n: Node(n, self.lab.image, broker_epoch=self.lab.epoch(n)) for n in NODES}
        self.committed: list[Entry] = []
        self.next_value = 0
        self.late: list[AlterPartition] = []

    # The world's moves

    @rule(awake=st.sets(nodes, min_size=1))
    def work(self, awake: set[int]) -> None:
        """A quiet moment for some of the brokers: the metadata arrives, records are written, copied and committed."""
        for node in sorted(awake):
            self.stay_alive(node)
        for node in sorted(awake):
            self.hear(node, 1000)
        for node in sorted(awake):
            self.append(node, 1)
        for node in sorted(awake):
            self.fetch(node, 1000)
        for node in sorted(awake):
            self.grow_isr(node)

    @rule(node=nodes, often=st.integers(1, 3))
    def append(self, node: int, often: int) -> None:
        """A leader, or one who thinks so, takes records."""
        leader = self.nodes[node]
        if leader.leads():
            self.lead(leader)
            for _ in range(often):
                leader.log.append((leader.leading, self.next_value))
                self.next_value += 1
            self.store(leader)
            self.advance(leader)

    @rule(node=nodes, most=st.integers(1, 4))
    def fetch(self, node: int, most: int) -> None:
        """A follower takes over what its leader has, if both are of one mind on the epoch."""
        follower = self.nodes[node]
        seen = follower.partition()
        if not follower.running or seen.leader in (-1, node) or node not in seen.replicas:
            return
        leader = self.nodes[seen.leader]
        if not leader.leads() or leader.partition().leader_epoch != seen.leader_epoch:
            return
        self.lead(leader)
        same = _common(follower.log, leader.log)
        follower.log = leader.log[: max(same, min(len(leader.log), same + most))]
        follower.synced = min(follower.synced, same)
        self.store(follower)
        if node in leader.partition().replicas:
            leader.match[node] = (len(follower.log), follower.broker_epoch)
            self.advance(leader)

    @rule(node=nodes, fate=fates)
    def grow_isr(self, node: int, fate: str = "answered") -> None:
        """A leader proposes a follower that has caught up, by its own possibly old picture."""
        for leader in self.leaders():
            end, epoch = leader.match.get(node, (-1, -1))
            if end == len(leader.log) and node not in leader.partition().isr:
                members = {*leader.partition().isr, node}
                self.propose(leader, frozenset(members), {node: epoch}, fate)

    @rule(node=nodes, fate=fates)
    def shrink_isr(self, node: int, fate: str) -> None:
        """A leader gives up a slow follower."""
        for leader in self.leaders():
            isr = frozenset(leader.partition().isr)
            if node in isr and node != leader.node_id:
                self.propose(leader, isr - {node}, {}, fate)

    @rule(withdraw=st.booleans())
    def ask_again(self, withdraw: bool) -> None:
        """A leader without an answer repeats its proposal or withdraws it."""
        for leader in self.leaders():
            if leader.proposed is None:
                continue
            request = leader.proposed
            if withdraw:
                request = self.proposal(leader, frozenset(leader.partition().isr), {})
            self.send(leader, request, withdrawal=withdraw)

    @precondition(lambda self: self.late)
    @rule()
    def deliver_late(self) -> None:
        """A proposal that was long on its way arrives; nobody waits for the answer."""
        try:
            self.lab.ask(self.late.pop(0), replies.PartitionsAltered)
        except MetadataError:
            return
        self.record()

    @rule(node=nodes, steps=st.sampled_from((1, 1, 2, 100)))
    def hear(self, node: int, steps: int) -> None:
        """The metadata log reaches a broker, by and by."""
        found = self.nodes[node]
        at = self.images.index(found.view)
        found.view = self.images[min(at + steps, len(self.images) - 1)]
        self.settle(found)
        if found.leads():
            self.lead(found)
            self.advance(found)

    @rule(node=nodes)
    def lose_contact(self, node: int) -> None:
        """The controller fences a broker, which goes on as if nothing had happened."""
        if node in self.lab.image.brokers:
            self.lab.fence(node)
            self.record()

    @rule(node=nodes)
    def stay_alive(self, node: int) -> None:
        """A heartbeat unfences a broker that is caught up."""
        found, known = self.nodes[node], self.lab.image.brokers.get(node)
        current = known is not None and known.broker_epoch == found.broker_epoch
        if found.running and current:
            self.lab.heartbeat(node)
            self.record()

    @rule(node=nodes, swap_disk=st.sampled_from((False, False, False, True)))
    def crash_and_restart(self, node: int, swap_disk: bool) -> None:
        """kill -9 or power loss; later a new process on what is left, or on a new disk."""
        found = self.nodes[node]
        self.lose_contact(node)
        if swap_disk:
            found.disk += 1
            found.log.clear()
        del found.log[found.synced if self.fsyncs else len(found.log) // 2 :]
        found.synced = len(found.log)
        found.broker_epoch = self.lab.register(
            node, directory_id=UUID(int=node + 10 * found.disk), clean_shutdown=False
        )
        self.record()
        found.match, found.proposed, found.leading = {}, None, -1
        found.view = self.images[-1]

    @rule(op=st.sampled_from(("stop", "rebalance", "unregister", "join")), node=nodes)
    def operate(self, op: str, node: int) -> None:
        """The operator stops a broker, restores preferred leaders, or says that a broker and its disk are gone."""
        known = node in self.lab.image.brokers
        if op == "stop" and known:
            self.lab.heartbeat(node, wants_shutdown=True)
        elif op == "rebalance":
            self.lab.ask(RebalanceLeaders(brokers=EVERYBODY), replies.LeadersRebalanced)
        elif op == "unregister" and known:
            self.lab.ask(UnregisterBrokerRequest(node_id=node), replies.Done)
            self.nodes[node].running = False
        elif op == "join" and not self.nodes[node].running:
            self.nodes[node].running = True
            self.crash_and_restart(node, swap_disk=True)
        self.record()

    @rule(value=st.sampled_from(("1", "2", "3", None)), cluster=st.booleans())
    def change_min_isr(self, value: str | None, cluster: bool) -> None:
        key = "min.insync.replicas"
        resource = CLUSTER if cluster else topic_resource("t")
        if value is None:
            self.lab.configure(resource, unset=(key,))
        else:
            self.lab.configure(resource, {key: value})
        self.record()

    @rule(replicas=st.lists(nodes, min_size=0, max_size=3, unique=True).map(tuple))
    def reassign(self, replicas: tuple[int, ...]) -> None:
        wanted = Reassignment(topic="t", partition=0, replicas=replicas)
        self.lab.ask(
            AlterPartitionReassignments(reassignments=(wanted,)), replies.ReassignmentsAltered
        )
        self.record()

    @precondition(lambda self: self.lab.partition("t").leader == -1)
    @rule(seldom=st.integers(0, 5))
    def elect_uncleanly(self, seldom: int) -> None:
        """The operator gives up what is lost: only then may committed records go."""
        if seldom:
            return
        self.lab.ask(ElectLeaders(unclean=True), replies.LeadersElected)
        self.record(gave_up=self.lab.image.unclean_elections > self.images[-1].unclean_elections)

    # What brokers do by themselves

    def leaders(self) -> list[Node]:
        found = [node for node in self.nodes.values() if node.leads()]
        for node in found:
            self.lead(node)
        return found

    def lead(self, node: Node) -> None:
        """A new leader epoch begins with knowing nothing of the followers."""
        epoch = node.partition().leader_epoch
        if node.leading != epoch:
            node.leading, node.match, node.proposed = epoch, {}, None

    def store(self, node: Node) -> None:
        node.synced = len(node.log)

    def settle(self, node: Node) -> None:
        """The metadata log has gone beyond the picture from which the proposal in flight was made."""
        if node.proposed is not None:
            made_at = node.proposed.proposals[0].partition_epoch
            if node.partition().partition_epoch > made_at:
                node.proposed = None

    def propose(self, leader: Node, isr: frozenset[int], seen: dict[int, int], fate: str) -> None:
        if leader.proposed is not None:
            return
        leader.proposed = self.proposal(leader, isr, seen)
        leader.uncertain = fate != "answered"
        if fate == "late":
            self.late.append(leader.proposed)
        else:
            self.send(leader, leader.proposed)

    def proposal(self, leader: Node, isr: frozenset[int], seen: dict[int, int]) -> AlterPartition:
        picture = leader.partition()
        brokers = leader.view.brokers
        members = tuple(
            IsrMember(n, seen.get(n, brokers[n].broker_epoch if n in brokers else 0))
            for n in sorted(isr)
        )
        proposal = IsrProposal(
            topic_id=self.topic_id,
            partition=0,
            leader_epoch=picture.leader_epoch,
            partition_epoch=picture.partition_epoch,
            isr=members,
        )
        return AlterPartition(
            node_id=leader.node_id, broker_epoch=leader.broker_epoch, proposals=(proposal,)
        )

    def send(self, leader: Node, request: AlterPartition, *, withdrawal: bool = False) -> None:
        """Only a definite refusal of a proposal that was sent once ends it; all else the metadata log must end."""
        try:
            altered = self.lab.ask(request, replies.PartitionsAltered).partitions[0]
        except MetadataError:
            return
        refused = altered.refusal is not None and altered.refusal.code in DEFINITE_REFUSALS
        if refused and not leader.uncertain and not withdrawal:
            leader.proposed = None
        self.record()

    def advance(self, leader: Node) -> None:
        """The leader's high watermark: what the maximal ISR holds, unless the ISR is below the min ISR."""
        picture = leader.partition()
        wanted = topic_value(floors(leader.view, topic="t"), "min.insync.replicas")
        if len(picture.isr) < effective_min_isr(wanted, len(picture.replicas)):
            return
        maximal = set(picture.isr)
        if leader.proposed is not None:
            maximal |= {member.node_id for member in leader.proposed.proposals[0].isr}
        ends = [
            len(leader.log) if n == leader.node_id else leader.match.get(n, (0, -1))[0]
            for n in maximal
        ]
        known = leader.log[: min(ends)]
        common = min(len(known), len(self.committed))
        assert known[:common] == self.committed[:common], "two histories were committed"
        if len(known) > len(self.committed):
            self.committed = list(known)
        self.check()

    def record(self, *, gave_up: bool = False) -> None:
        """The controller's image moved on."""
        if self.lab.image is not self.images[-1]:
            self.images.append(self.lab.image)
        if gave_up:
            leader = self.nodes[self.lab.partition("t").leader]
            self.committed = self.committed[: _common(self.committed, leader.log)]
            for node in self.nodes.values():
                # Who does not know of the unclean election yet could still commit the old history: it is lost anyway.
                node.view = self.images[-1]
                self.settle(node)
        self.check()

    def check(self) -> None:
        partition = self.lab.partition("t")
        for member in partition.isr + partition.elr:
            log = self.nodes[member].log
            kept = log[: len(self.committed)] == self.committed
            assert kept, f"{member} may lead without {self.committed}: {log}, {partition}"


def _common(one: list[Entry], other: list[Entry]) -> int:
    """How many entries two logs share from their beginning."""
    count = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count


TestReplication = ReplicationMachine.TestCase
TestReplication.settings = settings(
    max_examples=400,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def a_caught_up_follower_outside_the_isr() -> ReplicationMachine:
    machine = ReplicationMachine()
    machine.begin(min_isr=1, policy="sync", factor=2)
    machine.lose_contact(node=2)
    machine.hear(node=1, steps=100)
    machine.hear(node=2, steps=100)
    machine.append(node=1, often=1)
    machine.fetch(node=2, most=9)
    return machine


def test_a_refusal_of_the_second_sending_does_not_take_back_the_first() -> None:
    """2 is fenced when the second sending arrives and alive when the first one does."""
    machine = a_caught_up_follower_outside_the_isr()
    machine.grow_isr(node=2, fate="late")
    machine.ask_again(withdraw=False)
    machine.append(node=1, often=1)
    machine.stay_alive(node=2)
    machine.deliver_late()
    assert machine.lab.partition("t").isr == (1, 2)
    assert len(machine.committed) == 1, "not without 2"


def test_a_withdrawn_proposal_comes_too_late() -> None:
    machine = a_caught_up_follower_outside_the_isr()
    machine.grow_isr(node=2, fate="late")
    machine.ask_again(withdraw=True)
    machine.hear(node=1, steps=100)
    machine.append(node=1, often=1)
    assert len(machine.committed) == 2
    machine.stay_alive(node=2)
    machine.deliver_late()
    assert machine.lab.partition("t").isr == (1,)


def test_a_leader_that_brought_its_successor_in_commits_nothing_without_it() -> None:
    """NEW_LEADER_ELECTED answers a proposal that was taken."""
    machine = a_caught_up_follower_outside_the_isr()
    machine.stay_alive(node=2)
    machine.reassign(replicas=(2,))
    machine.hear(node=1, steps=100)
    machine.grow_isr(node=2)
    assert machine.lab.partition("t").replicas == (2,)
    machine.append(node=1, often=1)
    assert len(machine.committed) == 1

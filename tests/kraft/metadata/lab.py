"""A controller with its image and its log, for tests: every step is encoded, decoded, applied and checked."""

import random
from collections.abc import Mapping
from typing import TypeVar
from uuid import UUID

from kraft.metadata import records, replies, requests
from kraft.metadata.controller import Controller
from kraft.metadata.delta import MetadataDelta
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage, PartitionRegistration
from kraft.metadata.records import Endpoint, Record
from kraft.metadata.replies import Reply
from kraft.metadata.requests import (
    AlterConfigs,
    AlterPartition,
    Bootstrap,
    BrokerHeartbeat,
    ConfigChange,
    CreateTopics,
    FenceBroker,
    IsrMember,
    IsrProposal,
    NewTopic,
    RegisterBrokerRequest,
    Request,
)
from tests.kraft.metadata.invariants import check_step

ReplyT = TypeVar("ReplyT", bound=Reply)


# More brokers than any lab has.
EVERYBODY = tuple(range(1, 100))


class Lab:
    """Brokers 1..n registered and unfenced in a bootstrapped cluster."""

    def __init__(
        self,
        brokers: int = 3,
        *,
        seed: int = 1,
        static: Mapping[str, str] | None = None,
        racks: Mapping[int, str] | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.controller = Controller(random.Random(seed + 1), static or {})
        self.image: MetadataImage = EMPTY_IMAGE
        self.log: list[list[Record]] = []
        self.ask(Bootstrap(), replies.Done)
        for node_id in range(1, brokers + 1):
            self.start(node_id, rack=(racks or {}).get(node_id, ""))

    # Asking

    def ask(
        self,
        request: Request,
        kind: type[ReplyT],
        brokers_applied: int = 2**60,
    ) -> ReplyT:
        """Answer a request and commit its records at once."""
        request = _over_the_wire(request)
        result = self.controller.handle(
            self.image, request, next_offset=len(self.log), brokers_applied=brokers_applied
        )
        if result.records:
            self.commit(result.records)
        reply = replies.decode(replies.encode(result.reply))
        assert isinstance(reply, kind), reply
        return reply

    def commit(self, batch: list[Record]) -> None:
        """Append records to the log, apply them and check the step."""
        assert records.decode(records.encode(batch)) == batch
        delta = MetadataDelta(self.image)
        delta.replay_all(batch)
        new = delta.apply(len(self.log), 1)
        self.log.append(batch)
        check_step(self.image, new, batch)
        self.image = new

    # Brokers

    def register(
        self,
        node_id: int,
        *,
        rack: str = "",
        directory_id: UUID | None = None,
        clean_shutdown: bool = True,
        incarnation: UUID | None = None,
    ) -> int:
        """A new process introduces itself; returns its broker epoch."""
        return self.ask(
            RegisterBrokerRequest(
                node_id=node_id,
                cluster_id="",
                incarnation=incarnation or UUID(int=self.rng.getrandbits(128)),
                listeners={
                    "GRPC": Endpoint("host", 9000 + node_id),
                    "PEER": Endpoint("host", 9100 + node_id),
                },
                rack=rack,
                directory_id=directory_id or UUID(int=node_id),
                clean_shutdown=clean_shutdown,
            ),
            replies.BrokerRegistered,
        ).broker_epoch

    def heartbeat(
        self, node_id: int, *, brokers_applied: int = 2**60, **wants: bool
    ) -> replies.HeartbeatReply:
        """A heartbeat of a broker that has applied everything."""
        return self.ask(
            BrokerHeartbeat(
                node_id=node_id,
                broker_epoch=self.epoch(node_id),
                metadata_offset=len(self.log),
                **wants,
            ),
            replies.HeartbeatReply,
            brokers_applied=brokers_applied,
        )

    def start(self, node_id: int, *, rack: str = "") -> int:
        """Register and unfence."""
        epoch = self.register(node_id, rack=rack)
        assert not self.heartbeat(node_id).fenced
        return epoch

    def fence(self, *node_ids: int) -> None:
        """These brokers die, one after the other."""
        for node_id in node_ids:
            self.ask(FenceBroker(node_id=node_id, broker_epoch=self.epoch(node_id)), replies.Done)

    def epoch(self, node_id: int) -> int:
        """The broker's present epoch."""
        return self.image.brokers[node_id].broker_epoch

    # Topics

    def create(
        self,
        name: str,
        *assignments: tuple[int, ...],
        configs: Mapping[str, str] | None = None,
    ) -> UUID:
        """A topic with these replicas."""
        reply = self.ask(
            CreateTopics(
                topics=(NewTopic(name=name, assignments=assignments, configs=configs or {}),)
            ),
            replies.TopicsCreated,
        )
        assert reply.topics[0].refusal is None, reply
        return reply.topics[0].topic_id

    def partition(self, topic: str, number: int = 0) -> PartitionRegistration:
        """A partition as it is now."""
        found = self.image.partition(topic, number)
        assert found is not None
        return found

    def propose_isr(
        self, topic: str, isr: tuple[int, ...], **override: int
    ) -> replies.AlteredPartition:
        """The leader of partition 0 proposes an ISR, as its picture is now or as overridden."""
        partition = self.partition(topic)
        leader = override.get("leader", partition.leader)
        found = self.image.topic(topic)
        assert found is not None
        proposal = IsrProposal(
            topic_id=found.topic_id,
            partition=0,
            leader_epoch=override.get("leader_epoch", partition.leader_epoch),
            partition_epoch=override.get("partition_epoch", partition.partition_epoch),
            isr=tuple(
                IsrMember(member, override.get("member_epoch", self.epoch(member)))
                if member in self.image.brokers
                else IsrMember(member, 0)
                for member in isr
            ),
        )
        reply = self.ask(
            AlterPartition(node_id=leader, broker_epoch=self.epoch(leader), proposals=(proposal,)),
            replies.PartitionsAltered,
        )
        return reply.partitions[0]

    def configure(
        self,
        resource: records.ConfigResource,
        values: Mapping[str, str] | None = None,
        unset: tuple[str, ...] = (),
    ) -> replies.AlteredConfig:
        """Set and unset configuration values."""
        change = ConfigChange(resource=resource, set=values or {}, unset=unset)
        return self.ask(AlterConfigs(changes=(change,)), replies.ConfigsAltered).changes[0]


def _over_the_wire(request: Request) -> Request:
    if isinstance(request, requests.InternalRequest):
        return request
    decoded = requests.decode(requests.encode(request))
    assert decoded == request
    return decoded

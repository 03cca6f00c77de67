"""A coordinator and its log without a shard: what was kept is bytes, commits may be held back, time is set by hand."""

import random
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from cluster.groups.classic_rebalance import Clock
from cluster.groups.consumer_group import ConsumerGroup
from cluster.groups.coordinator import Coordinator
from cluster.groups.reconciliation import AssignedPartition, Assignment
from cluster.groups.records import decode_record, encode_key, encode_value
from cluster.groups.settings import Caller, GroupSettings
from cluster.groups.step import Step, Ticket
from cluster.groups.topics import Topics
from kraft.metadata.image import PartitionRegistration, TopicImage
from storage.errors import OttlaError
from wire.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)

G = "g"
CALLER = Caller("client", "/127.0.0.1", makes_member_id=True)
PARTITION = PartitionRegistration(replicas=(1,), isr=(1,), leader=1)


def topic_id(name: str, life: int = 1) -> UUID:
    """The same for the same name; another one when the topic is made anew."""
    return UUID(int=random.Random(f"{name} {life}").getrandbits(128))


def parts(*wanted: tuple[str, int]) -> Assignment:
    """By topics' names."""
    return frozenset(AssignedPartition(topic_id(name), number) for name, number in wanted)


def all_of(**topics: int) -> Assignment:
    """Every partition of topics with so many."""
    return parts(*((name, number) for name, count in topics.items() for number in range(count)))


def wire_partitions(partitions: Iterable[AssignedPartition]) -> tuple[TopicPartitions, ...]:
    """As a member sends them."""
    return tuple(
        TopicPartitions(topic_id=each.topic_id, partitions=(each.partition,))
        for each in sorted(partitions)
    )


def assigned(response: ConsumerGroupHeartbeatResponse) -> Assignment | None:
    """What a member is told it has; None: no change."""
    if response.assignment is None:
        return None
    return frozenset(
        AssignedPartition(topic.topic_id, number)
        for topic in response.assignment.topic_partitions
        if topic.topic_id is not None
        for number in topic.partitions
    )


class House:
    """`hold`: appended steps are not committed before `commit`."""

    def __init__(
        self, topics: Mapping[str, int] | None = None, settings: GroupSettings | None = None
    ) -> None:
        self.settings = settings or GroupSettings()
        self.rng = random.Random(1)
        self.clock = Clock(1_000_000, 1_700_000_000_000)
        self.log: list[tuple[bytes, bytes | None]] = []
        self.hold = False
        self.held: list[Step] = []
        self.answers: dict[Ticket, Any] = {}
        self._tickets = 0
        self.topics = Topics({})
        self.coordinator = Coordinator(self.settings, self.rng)
        self.set_topics(**(topics or {"t": 3}))

    def set_topics(self, *lives: Mapping[str, int], **topics: int) -> None:
        """The metadata changes. lives: which life of a topic it is, when not the first."""
        life = {name: number for each in lives for name, number in each.items()}
        self.topics = Topics(
            {
                name: TopicImage(
                    name, topic_id(name, life.get(name, 1)), dict.fromkeys(range(count), PARTITION)
                )
                for name, count in topics.items()
            }
        )
        self.coordinator.consumer.topics = self.topics

    @property
    def group(self) -> ConsumerGroup:
        """The one that tests talk of."""
        return self.coordinator.consumer.groups[G]

    @property
    def phase(self) -> str:
        """As tools would see it."""
        return self.group.committed.phase.value

    def ticket(self) -> Ticket:
        """A new request."""
        self._tickets += 1
        return self._tickets

    def perform(self, step: Step) -> None:
        """What a shard does."""
        self.log += [(encode_key(key), encode_value(value)) for key, value in step.records]
        if step.records and (self.hold or self.held):
            # A log commits in its order.
            self.held.append(step)
        else:
            self._kept(step)

    def _kept(self, step: Step) -> None:
        self.coordinator.replay(step.records)
        for ticket, answer in step.answers:
            self.answers[ticket] = answer
        if step.kept is not None:
            self.perform(step.kept())

    def commit(self) -> None:
        """Everything that is held."""
        held, self.held = self.held, []
        for step in held:
            self._kept(step)

    def lose_last(self, cause: OttlaError) -> None:
        """The last append has failed at once: its bytes are not in the log."""
        step = self.held.pop()
        del self.log[len(self.log) - len(step.records) :]
        for ticket, _ in step.answers:
            self.answers[ticket] = cause
        if step.lost is not None:
            self.perform(step.lost(cause))

    def reload(self) -> None:
        """Another coordinator reads the log. What was not committed is not in it."""
        for step in reversed(self.held):
            del self.log[len(self.log) - len(step.records) :]
        self.held.clear()
        self.coordinator = Coordinator(self.settings, self.rng)
        self.coordinator.consumer.topics = self.topics
        for key, value in self.log:
            record = decode_record(key, value)
            assert record is not None
            self.coordinator.load(record, self.clock)
        self.coordinator.loaded(self.clock)

    def send(self, request: ConsumerGroupHeartbeatRequest, caller: Caller = CALLER) -> Ticket:
        """A heartbeat; its answer is in `answers` when it is committed. Raises GroupError."""
        ticket = self.ticket()
        self.perform(self.coordinator.consumer_heartbeat(request, caller, ticket, self.clock))
        return ticket

    def beat(
        self, member: str, epoch: int, owned: Assignment | None = None, **fields: Any
    ) -> ConsumerGroupHeartbeatResponse:
        """A heartbeat that is answered at once."""
        caller = fields.pop("caller", CALLER)
        answer = self.answers[self.send(heartbeat(member, epoch, owned, **fields), caller)]
        assert isinstance(answer, ConsumerGroupHeartbeatResponse)
        return answer

    def join(self, member: str, *topics: str, **fields: Any) -> ConsumerGroupHeartbeatResponse:
        """The first heartbeat, answered at once."""
        caller = fields.pop("caller", CALLER)
        answer = self.answers[self.send(first_heartbeat(member, *topics, **fields), caller)]
        assert isinstance(answer, ConsumerGroupHeartbeatResponse)
        return answer

    def later(self, ms: int) -> None:
        """Time goes by, and what was due is done."""
        self.clock = Clock(self.clock.now_ms + ms, self.clock.wall_ms + ms)
        for group_id in self.coordinator.group_ids():
            self.perform(self.coordinator.expire(group_id, self.clock))

    def settle(self, *members: str) -> None:
        """Members that do what they are told, until nothing changes."""
        for _ in range(10):
            before = dict(self.group.current.members)
            for each in members:
                member = self.group.current.members[each]
                self.beat(each, member.epoch, member.assigned)
            if before == self.group.current.members:
                return
        raise AssertionError(f"{members} do not settle: {self.group.current}")

    def has(self, member: str) -> Assignment:
        """What a member has been given."""
        return self.group.committed.members[member].assigned


def heartbeat(
    member: str, epoch: int, owned: Assignment | None = None, **fields: Any
) -> ConsumerGroupHeartbeatRequest:
    """A request; what is not said keeps Kafka's null."""
    return ConsumerGroupHeartbeatRequest(
        group_id=G,
        member_id=member,
        member_epoch=epoch,
        topic_partitions=None if owned is None else wire_partitions(owned),
        **fields,
    )


def first_heartbeat(member: str, *topics: str, **fields: Any) -> ConsumerGroupHeartbeatRequest:
    """A member joins; it reads `t` when nothing is said."""
    return heartbeat(
        member,
        0,
        frozenset(),
        **{"subscribed_topic_names": topics or ("t",), "rebalance_timeout_ms": 60_000, **fields},
    )

"""What can be known of a group: who is in it, what each reads, how far, and what there is to read. Pure."""

from typing import NamedTuple

from ottla.client.records import TopicPartition


class MemberFacts(NamedTuple):
    """One member. instance_id "": a dynamic one. protocol: "classic" or "consumer".

    epoch, target (what it shall have): of members of KIP-848 groups; -1 and None of others.
    """

    member_id: str
    instance_id: str
    client_id: str
    host: str
    partitions: tuple[TopicPartition, ...]
    protocol: str = "classic"
    epoch: int = -1
    target: tuple[TopicPartition, ...] | None = None


class PartitionFacts(NamedTuple):
    """One partition that the group reads or has read.

    committed, committed_ms (milliseconds since the epoch), start, end: -1 when there is none or it is not known. end
    is the offset of the next record. leader -1: none at the moment. exists: False when the topic is gone.
    """

    where: TopicPartition
    committed: int
    committed_ms: int
    start: int
    end: int
    leader: int
    exists: bool = True
    member: MemberFacts | None = None
    leader_epoch: int = -1

    @property
    def lag(self) -> int | None:
        """Records between the position and the end; None while one of them is not known."""
        if self.committed < 0 or self.end < 0:
            return None
        return max(self.end - self.committed, 0)


class GroupFacts(NamedTuple):
    """A group at a time. state: Kafka's word; since_ms, now_ms: milliseconds since the epoch.

    epoch, assignment_epoch: of KIP-848 groups; -1 of others.
    """

    group_id: str
    state: str
    kind: str
    assignor: str
    coordinator: int
    members: tuple[MemberFacts, ...]
    partitions: tuple[PartitionFacts, ...]
    since_ms: int
    now_ms: int
    epoch: int = -1
    assignment_epoch: int = -1

    @property
    def is_consumer(self) -> bool:
        """Whether it is a KIP-848 group."""
        return self.kind == "consumer"

    @property
    def lag(self) -> int:
        """Over all partitions of which it is known."""
        return sum(each.lag or 0 for each in self.partitions)

"""What a new metadata image means for this broker: a pure difference of two images (Kafka's LocalReplicaChanges)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from cluster.replication.partition import TopicIdPartition
from kraft.metadata.image import MetadataImage, PartitionRegistration, TopicImage


class LocalReplica(NamedTuple):
    """A replica that this broker has, as the image wants it."""

    identity: TopicIdPartition
    topic: str
    registration: PartitionRegistration


@dataclass(slots=True)
class LocalChanges:
    """leaders, followers: replicas that begin a leader epoch in that role (or are new here). updated: replicas this
    broker goes on leading in the same leader epoch, with another ISR or assignment. removed: replicas that are no
    longer assigned here. deleted: replicas of topics that are gone.
    """

    leaders: list[LocalReplica] = field(default_factory=list)
    followers: list[LocalReplica] = field(default_factory=list)
    updated: list[LocalReplica] = field(default_factory=list)
    removed: list[TopicIdPartition] = field(default_factory=list)
    deleted: list[TopicIdPartition] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.leaders or self.followers or self.updated or self.removed or self.deleted)


def local_changes(old: MetadataImage, new: MetadataImage, node_id: int) -> LocalChanges:
    """What `node_id` must do to get from one image to the next. Unchanged topics are told by identity and skipped."""
    changes = LocalChanges()
    if old.topics_by_id is new.topics_by_id:
        return changes
    for topic_id, topic in new.topics_by_id.items():
        before = old.topics_by_id.get(topic_id)
        if before is not topic:
            _topic_changes(changes, topic_id, before, topic, node_id)
    for topic_id, topic in old.topics_by_id.items():
        if topic_id not in new.topics_by_id:
            changes.deleted.extend(_mine(topic_id, topic, node_id))
    return changes


def _topic_changes(
    changes: LocalChanges,
    topic_id: UUID,
    before: TopicImage | None,
    topic: TopicImage,
    node_id: int,
) -> None:
    for number, registration in topic.partitions.items():
        previous = before.partitions.get(number) if before is not None else None
        if previous is registration:
            continue
        identity = TopicIdPartition(topic_id, number)
        if node_id not in registration.replicas:
            if previous is not None and node_id in previous.replicas:
                changes.removed.append(identity)
            continue
        replica = LocalReplica(identity, topic.name, registration)
        same_epoch = (
            previous is not None
            and node_id in previous.replicas
            and previous.leader_epoch == registration.leader_epoch
        )
        if registration.leader == node_id:
            (changes.updated if same_epoch else changes.leaders).append(replica)
        elif not same_epoch:
            changes.followers.append(replica)


def _mine(topic_id: UUID, topic: TopicImage, node_id: int) -> Iterator[TopicIdPartition]:
    for number, registration in topic.partitions.items():
        if node_id in registration.replicas:
            yield TopicIdPartition(topic_id, number)

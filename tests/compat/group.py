"""A group of the Kafka protocol, asked request by request."""

from typing import Any

from tests.compat.target import Target, closed_or, code
from wire.messages.delete_groups import DeleteGroupsRequest
from wire.messages.describe_groups import DescribeGroupsRequest
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

# A subscription of the consumer protocol, version 0, to a topic that is nobody's.
SUBSCRIPTION = b"\0\0\0\0\0\1\0\1x\xff\xff\xff\xff"


class Group:
    """A new group, asked where it is coordinated."""

    def __init__(self, target: Target, name: str | None = None) -> None:
        self.target = target
        self.name = target.name() if name is None else name
        self.node = target.coordinator(self.name) if self.name else _nobodys(target)

    def join(self, member: str = "", *, version: int = 7, **options: Any) -> Any:
        instance = options.pop("instance", None)
        protocols = options.pop("protocols", ("range",))
        metadata = options.pop("metadata", SUBSCRIPTION)
        request = JoinGroupRequest(
            group_id=self.name,
            session_timeout_ms=options.pop("session_ms", 10_000),
            rebalance_timeout_ms=10_000,
            member_id=member,
            group_instance_id=instance,
            protocol_type=options.pop("protocol_type", "consumer"),
            protocols=tuple(
                JoinGroupRequestProtocol(name=each, metadata=metadata) for each in protocols
            ),
        )
        return self.target.call(request, version, self.node)

    def sync(self, member: str, generation: int, share: bytes = b"all", **options: Any) -> Any:
        request = SyncGroupRequest(
            group_id=self.name,
            generation_id=generation,
            member_id=member,
            group_instance_id=options.get("instance"),
            protocol_type=options.get("protocol_type", "consumer"),
            protocol_name=options.get("protocol", "range"),
            assignments=(SyncGroupRequestAssignment(member_id=member, assignment=share),),
        )
        return self.target.call(request, 5, self.node)

    def heartbeat(self, member: str, generation: int, instance: str | None = None) -> str:
        request = HeartbeatRequest(
            group_id=self.name,
            generation_id=generation,
            member_id=member,
            group_instance_id=instance,
        )
        return code(self.target.call(request, 4, self.node).error_code)

    def settled(self, instance: str | None = None) -> tuple[str, int]:
        """One member that reads everything: its id and the generation."""
        joined = self.join(instance=instance)
        if instance is None:
            joined = self.join(joined.member_id)
        assert joined.error_code == 0, joined
        synced = self.sync(joined.member_id, joined.generation_id, instance=instance)
        assert synced.assignment == b"all", synced
        return joined.member_id, joined.generation_id

    def commit(self, topic: str, offset: int = 5, **options: Any) -> Any:
        version = options.get("version", 8)
        request = OffsetCommitRequest(
            group_id=self.name,
            generation_id_or_member_epoch=options.get("generation", -1),
            member_id=options.get("member", ""),
            group_instance_id=options.get("instance"),
            topics=(
                OffsetCommitRequestTopic(
                    name=topic,
                    topic_id=options.get("topic_id"),
                    partitions=(
                        OffsetCommitRequestPartition(
                            partition_index=options.get("partition", 0),
                            committed_offset=offset,
                            committed_metadata=options.get("note", ""),
                        ),
                    ),
                ),
            ),
        )

        def ask() -> Any:
            found = self.target.call(request, version, self.node)
            return [code(each.error_code) for topic in found.topics for each in topic.partitions]

        return closed_or(ask)

    def fetch(self, topic: str, *partitions: int, everything: bool = False) -> Any:
        topics = (OffsetFetchRequestTopics(name=topic, partition_indexes=partitions),)
        wanted = OffsetFetchRequestGroup(group_id=self.name, topics=None if everything else topics)
        found = self.target.call(OffsetFetchRequest(groups=(wanted,)), 8, self.node).groups[0]
        return [
            code(found.error_code),
            [
                [each.partition_index, each.committed_offset, each.metadata, code(each.error_code)]
                for topic in found.topics
                for each in topic.partitions
            ],
        ]

    def leave(self, *members: str, instance: str | None = None) -> Any:
        request = LeaveGroupRequest(
            group_id=self.name,
            members=tuple(
                MemberIdentity(member_id=each, group_instance_id=instance) for each in members
            ),
        )
        found = self.target.call(request, 4, self.node)
        return [code(found.error_code), [code(each.error_code) for each in found.members]]

    def describe(self, version: int = 5) -> Any:
        request = DescribeGroupsRequest(groups=(self.name,))
        found = self.target.call(request, version, self.node).groups[0]
        return [
            code(found.error_code),
            found.group_state,
            found.protocol_type,
            found.protocol_data,
            [
                [
                    each.group_instance_id,
                    each.client_id,
                    each.client_host,
                    each.member_assignment.decode(),
                ]
                for each in found.members
            ],
        ]

    def delete(self) -> Any:
        found = self.target.call(DeleteGroupsRequest(groups_names=(self.name,)), 2, self.node)
        return [code(each.error_code) for each in found.results]


def _nobodys(target: Target) -> tuple[str, int]:
    """A broker that would not coordinate the group without a name: that belongs to partition 0, whose leader differs
    from run to run.
    """
    target.coordinator("x")
    leads = target.leader("__consumer_offsets", 0)
    return next(
        (each.host, each.port)
        for each in target.metadata().brokers
        if (each.host, each.port) != leads
    )

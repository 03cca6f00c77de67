"""KIP-848 groups over the Kafka protocol: what they are."""

from collections.abc import Callable

from cluster.groups.consumer_group import by_topic
from cluster.groups.reconciliation import Assignment as Partitions
from cluster.groups.views import ConsumerGroupView, ConsumerMemberView
from cluster.handlers.groups import GroupHandler
from cluster.listeners.kafka.group_admin import GROUP_OPERATIONS
from cluster.listeners.kafka.request import Client
from kraft.metadata.image import MetadataImage
from storage.errors import OttlaError
from wire.messages.consumer_group_describe import (
    Assignment,
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
    DescribedGroup,
    Member,
    TopicPartitions,
)

CLASSIC_MEMBER, CONSUMER_MEMBER = 0, 1
"""A member with the classic protocol, and one with that of KIP-848."""


class KafkaConsumerGroupDescribe:
    """`image`: this node's newest metadata, for the names of topics."""

    def __init__(self, groups: GroupHandler, image: Callable[[], MetadataImage]) -> None:
        self._groups = groups
        self._image = image

    async def answer(
        self, _client: Client, request: ConsumerGroupDescribeRequest
    ) -> ConsumerGroupDescribeResponse:
        """ConsumerGroupDescribe."""
        groups = []
        for group_id in request.group_ids:
            try:
                found = self._described(self._groups.describe_consumer(group_id))
                if request.include_authorized_operations:
                    found.authorized_operations = GROUP_OPERATIONS
            except OttlaError as error:
                found = DescribedGroup(
                    group_id=group_id, error_code=error.code, error_message=str(error)
                )
            groups.append(found)
        return ConsumerGroupDescribeResponse(groups=tuple(groups))

    def _described(self, group: ConsumerGroupView) -> DescribedGroup:
        return DescribedGroup(
            group_id=group.group_id,
            group_state=group.state,
            group_epoch=group.epoch,
            assignment_epoch=group.assignment_epoch,
            assignor_name=group.assignor,
            members=tuple(self._member(each) for each in group.members),
        )

    def _member(self, view: ConsumerMemberView) -> Member:
        member = view.member
        return Member(
            member_id=member.member_id,
            instance_id=member.instance_id,
            rack_id=member.rack_id,
            member_epoch=member.epoch,
            client_id=member.client_id,
            client_host=member.client_host,
            subscribed_topic_names=member.topics,
            subscribed_topic_regex=member.regex,
            assignment=self._assignment(member.assigned),
            target_assignment=self._assignment(view.target),
            member_type=CONSUMER_MEMBER if member.classic is None else CLASSIC_MEMBER,
        )

    def _assignment(self, partitions: Partitions) -> Assignment:
        """Topics that are gone have no name to show them by."""
        topics = self._image().topics_by_id
        return Assignment(
            topic_partitions=tuple(
                TopicPartitions(
                    topic_id=topic_id, topic_name=topics[topic_id].name, partitions=numbers
                )
                for topic_id, numbers in by_topic(partitions).items()
                if topic_id in topics
            )
        )

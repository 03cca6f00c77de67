"""KIP-848 groups at the Kafka door: what members are answered, what tools see, and what ApiVersions announces."""

from collections.abc import Callable
from typing import Any

import pytest

from cluster.groups.classic_rebalance import Clock
from cluster.groups.coordinator import Coordinator
from cluster.groups.errors import NotCoordinatorError
from cluster.groups.reconciliation import NOTHING
from cluster.groups.step import Step, Ticket
from cluster.handlers.groups import GroupHandler
from cluster.listeners.kafka.consumer_group_describe import KafkaConsumerGroupDescribe
from cluster.listeners.kafka.features import features
from cluster.listeners.kafka.group_admin import KafkaGroupAdmin
from cluster.listeners.kafka.group_offsets import KafkaGroupOffsets
from cluster.listeners.kafka.groups import KafkaGroups
from cluster.listeners.kafka.request import Client
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage
from storage.errors import ErrorCode
from tests.cluster.groups.consumer_house import (
    G,
    House,
    all_of,
    assigned,
    first_heartbeat,
    heartbeat,
    topic_id,
)
from tests.simulation.loop import simulate
from wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from wire.messages.describe_groups import DescribeGroupsRequest
from wire.messages.list_groups import ListGroupsRequest
from wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup

IMAGE_OFFSET = 42


def client(version: int) -> Client:
    return Client("client", "127.0.0.1", "KAFKA", version)


class Door:
    """The adapters, and in place of all shards a coordinator that keeps everything at once."""

    def __init__(self) -> None:
        self.house = House({"t": 3})
        self.ended = False
        handler = GroupHandler(
            self,  # type: ignore[arg-type]
            lambda: self.image,
            lambda: self.house.settings,
            lambda: self.house.clock.wall_ms,
        )
        self.groups = KafkaGroups(handler, lambda: self.house.clock.now_ms)
        self.describe = KafkaConsumerGroupDescribe(handler, lambda: self.image)
        self.offsets = KafkaGroupOffsets(handler, lambda: self.image)
        self.admin = KafkaGroupAdmin(handler, None, lambda: self.image)  # type: ignore[arg-type]

    @property
    def image(self) -> MetadataImage:
        topics = self.house.topics.by_name
        return MetadataImage(
            topics_by_name=topics,
            topics_by_id={each.topic_id: each for each in topics.values()},
            metadata_level=1,
            offset=IMAGE_OFFSET,
        )

    @property
    def coordinator(self) -> Coordinator:
        return self.house.coordinator

    def require_loaded(self) -> Coordinator:
        return self.house.coordinator

    def shard(self, _group_id: str) -> "Door":
        return self

    def shards(self) -> list["Door | EndedShard"]:
        return [EndedShard(), self] if self.ended else [self]

    async def ask(self, _group_id: str, decide: Callable[[Ticket, Clock], Step]) -> Any:
        ticket = self.house.ticket()
        self.house.perform(decide(ticket, self.house.clock))
        return self.house.answers[ticket]


def test_a_member_is_answered_and_a_refusal_has_its_code_and_its_reason() -> None:
    async def run() -> None:
        door = Door()
        joined = await door.groups.consumer_heartbeat(client(1), first_heartbeat("m1"))
        assert (joined.error_code, joined.member_epoch) == (ErrorCode.NONE, 1)
        assert assigned(joined) == all_of(t=3)
        fenced = await door.groups.consumer_heartbeat(client(1), heartbeat("m1", 9, NOTHING))
        assert fenced.error_code == ErrorCode.FENCED_MEMBER_EPOCH
        assert fenced.error_message is not None
        assert "epoch 1" in fenced.error_message

    simulate(run())


@pytest.mark.parametrize(("version", "code"), [(0, ErrorCode.NONE), (1, ErrorCode.INVALID_REQUEST)])
def test_from_version_1_on_members_bring_their_ids(version: int, code: ErrorCode) -> None:
    async def run() -> None:
        answer = await Door().groups.consumer_heartbeat(client(version), first_heartbeat(""))
        assert answer.error_code == code

    simulate(run())


def test_a_group_is_described_as_it_is() -> None:
    async def run() -> None:
        door = Door()
        door.house.join("m1", instance_id="one", rack_id="r", subscribed_topic_regex="t.*")
        request = ConsumerGroupDescribeRequest(
            group_ids=(G, "nobody"), include_authorized_operations=True
        )
        found, missing = (await door.describe.answer(client(1), request)).groups
        assert (found.group_state, found.group_epoch, found.assignor_name) == (
            "Stable",
            1,
            "uniform",
        )
        assert found.authorized_operations > 0
        (member,) = found.members
        assert (member.member_id, member.instance_id, member.rack_id) == ("m1", "one", "r")
        assert (member.member_epoch, member.member_type) == (1, 1)
        assert member.subscribed_topic_regex == "t.*"
        (topic,) = member.assignment.topic_partitions
        assert (topic.topic_name, topic.topic_id, topic.partitions) == (
            "t",
            topic_id("t"),
            (0, 1, 2),
        )
        assert member.target_assignment.topic_partitions == (topic,)
        assert missing.error_code == ErrorCode.GROUP_ID_NOT_FOUND

    simulate(run())


def test_a_topic_that_is_gone_has_no_name_to_be_shown_by() -> None:
    async def run() -> None:
        door = Door()
        door.house.join("m1")
        door.house.set_topics(other=1)
        request = ConsumerGroupDescribeRequest(group_ids=(G,))
        (found,) = (await door.describe.answer(client(1), request)).groups
        assert found.members[0].assignment.topic_partitions == ()

    simulate(run())


def test_tools_of_classic_groups_are_told_that_it_is_none() -> None:
    async def run() -> None:
        door = Door()
        door.house.join("m1")
        (found,) = (await door.admin.describe(client(6), DescribeGroupsRequest(groups=(G,)))).groups
        assert found.error_code == ErrorCode.GROUP_ID_NOT_FOUND
        for wanted, count in ((("Consumer",), 1), (("classic",), 0), ((), 1)):
            listed = await door.admin.list_all(client(5), ListGroupsRequest(types_filter=wanted))
            assert len(listed.groups) == count
        assert (listed.groups[0].group_type, listed.groups[0].group_state) == (
            "consumer",
            "Stable",
        )

    simulate(run())


class EndedShard:
    """Its leader epoch is over, and nobody has taken it away yet."""

    def require_loaded(self) -> Coordinator:
        raise NotCoordinatorError("over")


def test_groups_that_another_broker_coordinates_by_now_are_left_out_of_the_list() -> None:
    async def run() -> None:
        door = Door()
        door.house.join("m1")
        door.ended = True
        listed = await door.admin.list_all(client(5), ListGroupsRequest())
        assert listed.error_code == ErrorCode.NONE
        assert [each.group_id for each in listed.groups] == [G]

    simulate(run())


@pytest.mark.parametrize(
    ("member", "epoch", "code"),
    [
        ("m1", 1, ErrorCode.NONE),
        (None, -1, ErrorCode.NONE),
        ("m1", 2, ErrorCode.STALE_MEMBER_EPOCH),
        ("m2", 1, ErrorCode.UNKNOWN_MEMBER_ID),
    ],
)
def test_who_reads_offsets_says_who_it_is(member: str | None, epoch: int, code: ErrorCode) -> None:
    async def run() -> None:
        door = Door()
        door.house.join("m1")
        group = OffsetFetchRequestGroup(group_id=G, member_id=member, member_epoch=epoch)
        group.topics = None
        answer = await door.offsets.fetch(client(9), OffsetFetchRequest(groups=(group,)))
        assert answer.groups[0].error_code == code

    simulate(run())


def test_features_are_announced_once_there_was_a_controller() -> None:
    found = features(Door().image)
    assert found.epoch == IMAGE_OFFSET
    assert {each.name: each.max_version_level for each in found.finalized} == {
        "group.version": 1,
        "metadata.version": 1,
    }
    assert {each.name for each in found.supported} == {"group.version", "metadata.version"}
    assert features(EMPTY_IMAGE).finalized == ()
    assert features(EMPTY_IMAGE).epoch == -1

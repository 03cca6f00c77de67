"""One name, two protocols: how a group changes its protocol, and what administrators see and do of either."""

from dataclasses import replace

import pytest

from cluster.groups.errors import (
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    NonEmptyGroupError,
    UnknownMemberIdError,
)
from cluster.groups.offsets import Position, TopicPartition
from cluster.groups.settings import Caller, GroupSettings, MigrationPolicy
from cluster.groups.step import Ticket
from cluster.groups.views import consumer_described, described, listed
from storage.errors import ErrorCode, OttlaError
from tests.cluster.groups.consumer_house import (
    G,
    House,
    all_of,
    assigned,
    first_heartbeat,
    heartbeat,
)
from wire.messages.heartbeat import HeartbeatRequest
from wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity
from wire.messages.offset_commit import OffsetCommitRequest

NO_DELAY = GroupSettings(initial_rebalance_delay_ms=0)
OLD_CLIENT = Caller("old", "/127.0.0.1", knows_member_id_required=False)
SUBSCRIPTION = b"\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff"
WHERE = TopicPartition("t", 0)


def classic_join(house: House) -> Ticket:
    ticket = house.ticket()
    request = JoinGroupRequest(
        group_id=G,
        session_timeout_ms=10_000,
        rebalance_timeout_ms=10_000,
        protocol_type="consumer",
        protocols=(JoinGroupRequestProtocol(name="range", metadata=SUBSCRIPTION),),
    )
    house.perform(house.coordinator.join(request, OLD_CLIENT, ticket, house.clock))
    return ticket


def leave(house: House, *members: MemberIdentity) -> LeaveGroupResponse:
    ticket = house.ticket()
    request = LeaveGroupRequest(group_id=G, members=members)
    house.perform(house.coordinator.leave(request, ticket, house.clock))
    answer = house.answers[ticket]
    assert isinstance(answer, LeaveGroupResponse)
    return answer


def commit(house: House) -> None:
    request = OffsetCommitRequest(group_id=G, generation_id_or_member_epoch=-1)
    position = Position(7, -1, "", house.clock.wall_ms)
    house.perform(house.coordinator.commit(G, {WHERE: position}, request, house.clock))


def classic_without_members() -> House:
    house = House(settings=NO_DELAY)
    joined = house.answers[classic_join(house)]
    assert isinstance(joined, JoinGroupResponse)
    assert joined.error_code == ErrorCode.NONE
    leave(house, MemberIdentity(member_id=joined.member_id))
    assert house.coordinator.groups[G].state.value == "Empty"
    return house


def test_a_classic_group_without_members_becomes_a_new_one_and_keeps_its_offsets() -> None:
    house = classic_without_members()
    commit(house)
    assert assigned(house.join("m1")) == all_of(t=3)
    assert house.coordinator.groups == {}
    house.reload()
    assert house.coordinator.groups == {}
    assert house.phase == "Stable"
    assert house.coordinator.offsets.of(G)[WHERE].offset == 7


def test_a_classic_group_with_members_stays_one_when_the_policy_says_so() -> None:
    for policy in (MigrationPolicy.DISABLED, MigrationPolicy.DOWNGRADE):
        house = House(settings=replace(NO_DELAY, consumer_migration_policy=policy))
        classic_join(house)
        with pytest.raises(GroupIdNotFoundError, match=f"policy={policy.value}"):
            house.join("m1")
        assert house.coordinator.consumer.groups == {}


def test_a_change_of_protocol_that_is_not_kept_has_not_been() -> None:
    house = classic_without_members()
    group = house.coordinator.groups[G]
    house.hold = True
    house.send(first_heartbeat("m1"))
    assert house.coordinator.groups == {}
    house.lose_last(CoordinatorNotAvailableError("no room"))
    assert house.coordinator.groups == {G: group}
    assert house.coordinator.consumer.groups == {}


def test_a_member_of_the_new_protocol_is_none_of_the_classic_one() -> None:
    house = House()
    house.join("m1")
    request = HeartbeatRequest(group_id=G, member_id="m1", generation_id=1)
    with pytest.raises(UnknownMemberIdError):
        house.coordinator.heartbeat(request, house.ticket(), house.clock)


def test_a_new_group_without_members_becomes_a_classic_one() -> None:
    house = House(settings=NO_DELAY)
    house.join("m1")
    house.beat("m1", -1)
    commit(house)
    joined = house.answers[classic_join(house)]
    assert isinstance(joined, JoinGroupResponse)
    assert joined.error_code == ErrorCode.NONE
    assert house.coordinator.consumer.groups == {}
    house.reload()
    assert house.coordinator.consumer.groups == {}
    assert house.coordinator.offsets.of(G)[WHERE].offset == 7


def test_a_classic_join_waits_until_the_end_of_the_new_group_is_kept() -> None:
    house = House(settings=NO_DELAY)
    house.join("m1")
    house.beat("m1", -1)
    house.hold = True
    joining = classic_join(house)
    assert joining not in house.answers
    assert house.coordinator.groups == {}
    house.lose_last(CoordinatorNotAvailableError("no room"))
    assert isinstance(house.answers[joining], OttlaError)
    assert house.phase == "Empty"
    again = classic_join(house)
    house.commit()
    assert isinstance(house.answers[again], JoinGroupResponse)


def test_a_classic_join_that_comes_second_joins_the_first() -> None:
    house = House(settings=NO_DELAY)
    house.join("m1")
    house.beat("m1", -1)
    house.hold = True
    joining = classic_join(house)
    house.send(first_heartbeat("m2"))
    house.hold = False
    house.commit()
    joined = house.answers[joining]
    assert isinstance(joined, JoinGroupResponse)
    assert joined.leader == ""
    assert set(house.group.committed.members) == {"m2", joined.member_id}


def test_what_administrators_see() -> None:
    house = House()
    house.join("m1", server_assignor="range")
    view = consumer_described(house.coordinator, G, "uniform")
    assert view is not None
    assert (view.state, view.epoch, view.assignment_epoch, view.assignor) == (
        "Stable",
        1,
        1,
        "range",
    )
    ((member, target),) = view.members
    assert (member.member_id, member.assigned, target) == ("m1", all_of(t=3), all_of(t=3))
    (seen,) = listed(house.coordinator)
    assert (seen.group_type, seen.state, seen.protocol_type) == ("consumer", "Stable", "consumer")
    assert described(house.coordinator, G).group_type == "consumer"
    assert consumer_described(House().coordinator, G, "uniform") is None


def test_what_is_not_committed_is_not_seen() -> None:
    house = House()
    house.join("m1")
    house.hold = True
    house.send(heartbeat("m1", -1))
    (seen,) = listed(house.coordinator)
    assert seen.state == "Stable"


def test_an_administrator_takes_members_out() -> None:
    house = House()
    house.join("m1")
    house.join("m2", instance_id="two")
    house.join("m3", instance_id="three")
    answer = leave(
        house,
        MemberIdentity(member_id="m1"),
        MemberIdentity(member_id="", group_instance_id="two"),
        MemberIdentity(member_id="m1", group_instance_id="three"),
        MemberIdentity(member_id="stranger"),
    )
    unknown = ErrorCode.UNKNOWN_MEMBER_ID
    assert [each.error_code for each in answer.members] == [0, 0, unknown, unknown]
    assert set(house.group.committed.members) == {"m3"}


def test_only_a_group_without_members_is_deleted_and_its_offsets_with_it() -> None:
    house = House()
    commit(house)
    house.join("m1")
    with pytest.raises(NonEmptyGroupError):
        house.coordinator.delete_group(G)
    assert house.coordinator.reads(G, "t")
    assert not house.coordinator.reads(G, "u")
    house.beat("m1", -1)
    assert not house.coordinator.reads(G, "t")
    house.perform(house.coordinator.delete_group(G))
    assert not house.coordinator.exists(G)


def test_a_deletion_that_is_not_kept_has_not_been() -> None:
    house = House()
    house.join("m1")
    house.beat("m1", -1)
    house.hold = True
    house.perform(house.coordinator.delete_group(G))
    house.lose_last(CoordinatorNotAvailableError("no room"))
    assert house.phase == "Empty"


def test_offsets_of_topics_that_are_read_do_not_expire_and_an_unused_group_goes() -> None:
    house = House(settings=GroupSettings(offsets_retention_ms=1_000))
    commit(house)
    house.join("m1")
    house.later(2_000)
    for step in house.coordinator.expire_offsets(house.clock):
        house.perform(step)
    assert house.coordinator.offsets.of(G)[WHERE].offset == 7
    house.beat("m1", -1)
    for step in house.coordinator.expire_offsets(house.clock):
        house.perform(step)
    assert not house.coordinator.exists(G)

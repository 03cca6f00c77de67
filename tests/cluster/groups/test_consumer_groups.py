"""KIP-848 groups, one rule at a time: epochs, who gets what when, and who is refused."""

from dataclasses import replace

import pytest

from cluster.groups.consumer_members import WAITING_INTERVAL_MS
from cluster.groups.errors import (
    FencedInstanceIdError,
    FencedMemberEpochError,
    GroupMaxSizeReachedError,
    InvalidGroupRequestError,
    InvalidRegularExpressionError,
    StaleMemberEpochError,
    UnknownMemberIdError,
    UnreleasedInstanceIdError,
    UnsupportedAssignorError,
)
from cluster.groups.reconciliation import NOTHING, MemberState
from cluster.groups.settings import ConsumerTimes, GroupSettings
from cluster.groups.topics import REGEXES_MAX
from tests.cluster.groups.consumer_house import (
    CALLER,
    G,
    House,
    all_of,
    assigned,
    parts,
    topic_id,
)
from wire.messages.offset_commit import OffsetCommitRequest

SESSION_MS = 45_000
REBALANCE_MS = 60_000


def test_the_first_member_gets_everything_at_once() -> None:
    house = House({"t": 3})
    answer = house.join("m1")
    assert (answer.member_id, answer.member_epoch) == ("m1", 1)
    assert answer.heartbeat_interval_ms == 5_000
    assert assigned(answer) == all_of(t=3)
    assert house.phase == "Stable"


def test_a_heartbeat_that_changes_nothing_keeps_nothing_and_tells_nothing() -> None:
    house = House()
    house.join("m1")
    before = len(house.log)
    answer = house.beat("m1", 1)
    assert (answer.member_epoch, assigned(answer)) == (1, None)
    assert len(house.log) == before


def test_a_partition_waits_until_its_owner_has_let_it_go() -> None:
    house = House({"t": 2})
    house.join("m1")
    assert assigned(house.join("m2")) == NOTHING
    assert house.phase == "Reconciling"
    # m1 is told to keep one. As long as it names both, or says nothing, the other is its own.
    told = house.beat("m1", 1, all_of(t=2))
    kept = assigned(told)
    assert kept is not None
    assert (told.member_epoch, len(kept)) == (2, 1)
    assert house.group.current.members["m1"].state is MemberState.UNREVOKED_PARTITIONS
    for said in (None, all_of(t=2)):
        house.beat("m1", 2, said)
        assert assigned(house.beat("m2", 2, NOTHING)) in (None, NOTHING)
    # Now it has let go; the other gets it with its own next heartbeat.
    assert house.beat("m1", 2, kept).member_epoch == 2
    assert assigned(house.beat("m2", 2, NOTHING)) == all_of(t=2) - kept
    assert house.phase == "Stable"


def test_who_was_not_told_to_let_go_has_not_let_go() -> None:
    """m1 may still be working on the answer that gave it everything: that it names nothing yet is no release."""
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    told = house.beat("m1", 1, NOTHING)
    kept = assigned(told)
    assert kept is not None
    assert (told.member_epoch, len(kept)) == (2, 1)
    assert assigned(house.beat("m2", 2, NOTHING)) in (None, NOTHING)
    # Nor was it told when it comes with the epoch before.
    house.beat("m1", 1, NOTHING)
    assert assigned(house.beat("m2", 2, NOTHING)) in (None, NOTHING)
    house.beat("m1", 2, kept)
    assert assigned(house.beat("m2", 2, NOTHING)) == all_of(t=2) - kept


def test_who_leaves_gives_everything_back() -> None:
    house = House({"t": 4})
    house.join("m1")
    house.join("m2")
    house.settle("m1", "m2")
    assert len(house.has("m1")) == 2
    answer = house.beat("m2", -1)
    assert (answer.member_id, answer.member_epoch) == ("m2", -1)
    assert house.phase == "Assigning"
    house.settle("m1")
    assert house.has("m1") == all_of(t=4)
    house.beat("m1", -1)
    assert house.phase == "Empty"
    with pytest.raises(UnknownMemberIdError):
        house.beat("m1", -1)


def test_a_lost_answer_is_given_again_and_not_overtaken() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    kept = assigned(house.beat("m1", 1, all_of(t=2)))
    assert kept is not None
    # That answer is lost, and meanwhile the group has moved on.
    house.join("m3")
    again = house.beat("m1", 1, all_of(t=2))
    assert (again.member_epoch, assigned(again)) == (2, kept)
    house.settle("m1", "m2", "m3")
    with pytest.raises(FencedMemberEpochError):
        # With an older epoch, and what is not its own any more.
        house.beat("m1", 2, all_of(t=2))


@pytest.mark.parametrize("epoch", [2, 7])
def test_an_epoch_to_come_is_fenced(epoch: int) -> None:
    house = House()
    house.join("m1")
    with pytest.raises(FencedMemberEpochError):
        house.beat("m1", epoch, NOTHING)


def test_joining_again_is_no_promise_to_have_let_go() -> None:
    """An old first heartbeat may come late: what the member was told to let go stays its own."""
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    house.beat("m1", 1, all_of(t=2))
    answer = house.join("m1")
    assert answer.member_epoch == 2
    assert assigned(house.beat("m2", 2, NOTHING)) in (None, NOTHING)
    kept = assigned(answer)
    assert kept is not None
    house.beat("m1", 2, kept)
    assert assigned(house.beat("m2", 2, NOTHING)) == all_of(t=2) - kept


def test_strangers_are_refused() -> None:
    house = House()
    with pytest.raises(UnknownMemberIdError):
        house.beat("m1", 3, NOTHING)
    assert G not in house.coordinator.consumer.groups
    house.join("m1")
    for epoch in (3, -1):
        with pytest.raises(UnknownMemberIdError):
            house.beat("m2", epoch, NOTHING)


def test_who_is_silent_for_a_session_is_out() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    house.settle("m1", "m2")
    house.later(SESSION_MS - 1)
    house.settle("m1")
    house.later(1)
    assert set(house.group.current.members) == {"m1"}
    house.settle("m1")
    assert house.has("m1") == all_of(t=2)
    with pytest.raises(UnknownMemberIdError):
        house.beat("m2", 2, NOTHING)


def test_who_does_not_let_go_in_time_is_out() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    house.beat("m1", 1, all_of(t=2))
    for _ in range(4):
        house.later(REBALANCE_MS // 4 - 1)
        house.beat("m1", 2, all_of(t=2))
        house.beat("m2", 2, NOTHING)
    assert house.coordinator.next_deadline_ms(G) == house.clock.now_ms + 4
    house.later(4)
    assert set(house.group.current.members) == {"m2"}
    house.settle("m2")
    assert house.has("m2") == all_of(t=2)


def test_who_lets_go_in_time_may_stay() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    house.beat("m1", 1, all_of(t=2))
    house.settle("m1", "m2")
    for _ in range(3):
        house.later(REBALANCE_MS // 2)
        house.settle("m1", "m2")
    assert set(house.group.current.members) == {"m1", "m2"}


def test_a_static_member_that_left_for_a_while_gets_back_what_it_had() -> None:
    house = House({"t": 4})
    house.join("m1", instance_id="one")
    house.join("m2", instance_id="two")
    for _ in range(3):
        for member, instance in (("m1", "one"), ("m2", "two")):
            now = house.group.current.members[member]
            house.beat(member, now.epoch, now.assigned, instance_id=instance)
    had, epoch = house.has("m1"), house.group.current.epoch
    answer = house.beat("m1", -2, instance_id="one")
    assert answer.member_epoch == -2
    now = house.group.current.members["m2"]
    house.beat("m2", now.epoch, now.assigned, instance_id="two")
    assert house.has("m2").isdisjoint(had)
    back = house.join("m1-again", instance_id="one")
    assert assigned(back) == had
    assert house.group.current.epoch == epoch, "nobody else has to move"
    with pytest.raises(FencedInstanceIdError):
        house.beat("m1", epoch, had, instance_id="one")


def test_a_static_member_that_comes_back_to_less_lets_nothing_go_in_vain() -> None:
    """Its new process has nothing yet, so the rest is free at once, and its first answer has a true epoch."""
    house = House({"t": 4})
    house.join("m1", instance_id="one")
    house.beat("m1", -2, instance_id="one")
    house.join("m2")
    back = house.join("m1-again", instance_id="one")
    kept = assigned(back)
    assert back.member_epoch == 2
    assert kept is not None
    assert len(kept) == 2
    assert assigned(house.beat("m2", 2, NOTHING)) == all_of(t=4) - kept


def test_a_group_may_have_times_of_its_own() -> None:
    """`kafka-configs --entity-type groups`: they hold from the next heartbeat on."""
    house = House(settings=GroupSettings(own_times={G: ConsumerTimes(50_000, 7_000)}))
    assert house.join("m1").heartbeat_interval_ms == 7_000
    house.later(SESSION_MS + 1)
    assert "m1" in house.group.committed.members
    house.later(50_000 - SESSION_MS)
    assert "m1" not in house.group.committed.members
    house.join("m1")
    house.coordinator.configure(GroupSettings(own_times={"other": ConsumerTimes(50_000, 7_000)}))
    assert house.join("m1").heartbeat_interval_ms == 5_000
    house.later(SESSION_MS)
    assert "m1" not in house.group.committed.members


def test_a_static_member_that_stays_away_is_out_after_a_session() -> None:
    house = House()
    house.join("m1", instance_id="one")
    house.beat("m1", -2, instance_id="one")
    house.later(SESSION_MS)
    assert house.phase == "Empty"
    assert house.group.current.static == {}


def test_a_static_member_is_not_taken_over_before_it_has_left() -> None:
    house = House()
    house.join("m1", instance_id="one")
    with pytest.raises(UnreleasedInstanceIdError):
        house.join("m2", instance_id="one")
    assert house.join("m1", instance_id="one").member_epoch == 1, "its first answer was lost"
    with pytest.raises(UnknownMemberIdError):
        house.beat("m1", 1, instance_id="another")
    with pytest.raises(FencedInstanceIdError):
        house.beat("m2", -1, instance_id="one")


def test_new_partitions_and_topics_are_given_out() -> None:
    house = House({"t": 1})
    house.join("m1", "t", "u")
    assert house.has("m1") == all_of(t=1)
    house.set_topics(t=2, other=5)
    assert assigned(house.beat("m1", 1, all_of(t=1))) == all_of(t=2)
    house.set_topics(t=2, u=1)
    assert assigned(house.beat("m1", 2, all_of(t=2))) == all_of(t=2, u=1)
    house.set_topics(t=2, u=1, other=6)
    assert assigned(house.beat("m1", 3, all_of(t=2, u=1))) is None
    assert house.group.current.epoch == 3, "nothing that it reads has changed"
    house.set_topics(t=2)
    house.beat("m1", 3, all_of(t=2, u=1))
    house.beat("m1", 3, all_of(t=2))
    assert house.has("m1") == all_of(t=2)


def test_a_topic_made_anew_is_another_topic() -> None:
    house = House({"t": 1})
    house.join("m1")
    house.set_topics({"t": 2}, t=1)
    house.beat("m1", 1, all_of(t=1))
    house.settle("m1")
    assert {each.topic_id for each in house.has("m1")} == {topic_id("t", 2)}


def test_a_regular_expression_follows_the_topics() -> None:
    house = House({"orders": 1, "orders-eu": 1, "my-orders": 1})
    fields = {"subscribed_topic_names": (), "subscribed_topic_regex": "orders.*"}
    answer = house.join("m1", **fields)
    assert assigned(answer) == parts(("orders", 0), ("orders-eu", 0)), "from end to end"
    house.set_topics(**{"orders": 1, "orders-eu": 1, "orders-us": 1})
    answer = house.beat("m1", 1, house.has("m1"))
    assert assigned(answer) == parts(("orders", 0), ("orders-eu", 0), ("orders-us", 0))
    house.beat(
        "m1", 2, house.has("m1"), subscribed_topic_names=("orders",), subscribed_topic_regex=""
    )
    house.beat("m1", 2, parts(("orders", 0)))
    assert house.has("m1") == parts(("orders", 0))
    assert house.group.current.regexes == {}


def test_names_and_a_regular_expression_together() -> None:
    house = House({"a": 1, "b": 1, "c": 1})
    answer = house.join("m1", "a", subscribed_topic_regex="b|x")
    assert assigned(answer) == all_of(a=1, b=1)


def test_regular_expressions_that_nobody_uses_any_more_are_not_remembered_for_ever() -> None:
    """Topics may stay the same for months, and a member may come with another one in each heartbeat."""
    house = House({"orders": 1})
    epoch = house.join("m1", subscribed_topic_regex="orders").member_epoch
    for number in range(2 * REGEXES_MAX):
        regex = f"orders|{number}"
        answer = house.beat("m1", epoch, house.has("m1"), subscribed_topic_regex=regex)
        epoch = answer.member_epoch
    assert house.group.current.regexes == {regex: ("orders",)}
    assert len(house.topics._matched) <= REGEXES_MAX


@pytest.mark.parametrize("regex", ["a(", "*", "(?<!x)y", "a" * 20_000])
def test_what_is_no_regular_expression_is_refused(regex: str) -> None:
    house = House()
    with pytest.raises(InvalidRegularExpressionError):
        house.join("m1", subscribed_topic_regex=regex)
    assert G not in house.coordinator.consumer.groups


def test_the_assignor_that_most_ask_for() -> None:
    house = House({"t": 4})
    house.join("m1", server_assignor="range")
    house.join("m2", server_assignor="range")
    house.join("m3", server_assignor="uniform")
    assert house.group.current.assignor("uniform") == "range"
    with pytest.raises(UnsupportedAssignorError, match="uniform, range"):
        house.join("m4", server_assignor="mine")


@pytest.mark.parametrize(
    "wrong",
    [
        {"member": ""},
        {"epoch": -3},
        {"epoch": -2},
        {"instance_id": ""},
        {"rack_id": ""},
        {"rebalance_timeout_ms": -1},
        {"owned": None},
        {"owned": all_of(t=1)},
        {"subscribed_topic_names": ()},
        {"subscribed_topic_names": None},
    ],
)
def test_requests_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    house = House()
    fields: dict[str, object] = {
        "member": "m1",
        "epoch": 0,
        "owned": NOTHING,
        "rebalance_timeout_ms": 1,
        "subscribed_topic_names": ("t",),
    }
    with pytest.raises(InvalidGroupRequestError):
        house.beat(**(fields | wrong))  # type: ignore[arg-type]
    assert G not in house.coordinator.consumer.groups


def test_before_version_1_the_coordinator_makes_the_id() -> None:
    house = House()
    answer = house.join("", caller=replace(CALLER, makes_member_id=False))
    assert answer.member_id
    assert house.beat(answer.member_id, 1, all_of(t=3)).member_epoch == 1


def test_a_full_group_takes_nobody() -> None:
    house = House(settings=GroupSettings(consumer_max_size=1))
    house.join("m1", instance_id="one")
    with pytest.raises(GroupMaxSizeReachedError):
        house.join("m2")
    house.beat("m1", -2, instance_id="one")
    house.join("m3", instance_id="one")


def test_offsets_are_committed_and_read_at_the_members_epoch_only() -> None:
    house = House()
    house.join("m1")

    def commit(member: str, epoch: int) -> None:
        house.coordinator.check_commit(
            OffsetCommitRequest(group_id=G, member_id=member, generation_id_or_member_epoch=epoch),
            house.clock,
        )

    commit("m1", 1)
    house.coordinator.check_fetch(G, "m1", 1)
    house.coordinator.check_fetch(G, None, -1)
    for epoch in (0, 2):
        with pytest.raises(StaleMemberEpochError):
            commit("m1", epoch)
        with pytest.raises(StaleMemberEpochError):
            house.coordinator.check_fetch(G, "m1", epoch)
    with pytest.raises(UnknownMemberIdError):
        commit("m2", 1)
    with pytest.raises(UnknownMemberIdError):
        commit("", -1)
    with pytest.raises(UnknownMemberIdError):
        house.coordinator.check_fetch(G, "m2", 1)
    house.beat("m1", -1)
    commit("", -1)
    with pytest.raises(UnknownMemberIdError):
        commit("m1", 1)


def test_what_was_read_before_letting_go_may_be_committed_with_either_epoch() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    kept = assigned(house.beat("m1", 1, all_of(t=2)))
    for epoch in (1, 2):
        house.coordinator.check_fetch(G, "m1", epoch)
    house.beat("m1", 2, kept)
    with pytest.raises(StaleMemberEpochError):
        house.coordinator.check_fetch(G, "m1", 1)


def test_a_member_that_waits_for_partitions_asks_more_often() -> None:
    house = House({"t": 2})
    interval_ms = house.settings.consumer_heartbeat_interval_ms
    assert house.join("m1").heartbeat_interval_ms == interval_ms
    waits = house.join("m2")
    assert waits.heartbeat_interval_ms == WAITING_INTERVAL_MS < interval_ms
    told = house.beat("m1", 1, all_of(t=2))
    assert told.heartbeat_interval_ms == interval_ms
    house.beat("m1", told.member_epoch, assigned(told))
    assert house.beat("m2", waits.member_epoch, NOTHING).heartbeat_interval_ms == interval_ms

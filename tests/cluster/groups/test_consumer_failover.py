"""KIP-848 groups when the coordinator moves, and when the log does not take what was decided."""

from cluster.groups import consumer_changes as changes
from cluster.groups.consumer_records import ConsumerGroupCurrentMemberAssignmentValue
from cluster.groups.coordinator import Coordinator
from cluster.groups.errors import (
    CoordinatorNotAvailableError,
)
from cluster.groups.reconciliation import NOTHING, MemberState
from cluster.groups.records import encode_key, encode_value
from cluster.groups.settings import GroupSettings
from storage.errors import OttlaError
from tests.cluster.groups.consumer_house import (
    G,
    House,
    all_of,
    assigned,
    first_heartbeat,
    heartbeat,
)

SESSION_MS = 45_000
REBALANCE_MS = 60_000


def test_a_new_coordinator_knows_everything() -> None:
    house = House({"t": 4, "u": 2})
    house.join("m1", "t", instance_id="one", rack_id="r", server_assignor="uniform")
    house.join("m2", "t", "u", subscribed_topic_regex="u.*")
    house.beat("m1", 1, all_of(t=4), instance_id="one")
    before = house.group.current
    house.reload()
    assert house.group.current == before
    assert house.group.committed == before
    assert house.coordinator.next_deadline_ms(G) == house.clock.now_ms + SESSION_MS
    house.beat("m1", 2, house.has("m1"), instance_id="one")
    house.beat("m2", 2, house.has("m2"))
    assert house.has("m1") | house.has("m2") == all_of(t=4, u=2)
    assert house.group.current.epoch == before.epoch, "the topics are the same"


def test_a_new_coordinator_notices_what_has_changed_meanwhile() -> None:
    house = House({"t": 1})
    house.join("m1")
    house.set_topics(t=2)
    house.reload()
    assert assigned(house.beat("m1", 1, all_of(t=1))) == all_of(t=2)


def test_a_new_coordinator_waits_for_who_has_to_let_go() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    house.beat("m1", 1, all_of(t=2))
    house.reload()
    assert assigned(house.beat("m2", 2, NOTHING)) in (None, NOTHING)
    house.later(SESSION_MS - 1)
    house.beat("m1", 2, all_of(t=2))
    house.beat("m2", 2, NOTHING)
    house.later(REBALANCE_MS - SESSION_MS + 1)
    assert set(house.group.current.members) == {"m2"}


def test_nothing_is_told_that_a_failover_could_take_back() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.hold = True
    joined = house.send(first_heartbeat("m2"))
    # This one changes nothing by itself, but would tell of the other.
    again = house.send(first_heartbeat("m2"))
    assert not {joined, again} & house.answers.keys()
    assert set(house.group.committed.members) == {"m1"}
    house.commit()
    assert {joined, again} <= house.answers.keys()
    assert set(house.group.committed.members) == {"m1", "m2"}


def test_an_append_that_fails_leaves_what_was_before() -> None:
    house = House({"t": 2})
    house.join("m1")
    before = house.group.current.copy()
    house.hold = True
    first = house.send(heartbeat("m1", 1, all_of(t=2), subscribed_topic_names=("t", "u")))
    after_first = house.group.current.copy()
    second = house.send(heartbeat("m1", -1))
    house.lose_last(CoordinatorNotAvailableError("no room"))
    assert isinstance(house.answers[second], OttlaError)
    assert house.group.current == after_first
    house.lose_last(CoordinatorNotAvailableError("no room"))
    assert isinstance(house.answers[first], OttlaError)
    assert house.group.current == before
    house.hold = False
    assert house.beat("m1", 1, all_of(t=2)).member_epoch == 1


def test_a_new_group_that_is_not_kept_was_never_there() -> None:
    house = House()
    house.hold = True
    house.send(first_heartbeat("m1"))
    house.lose_last(CoordinatorNotAvailableError("no room"))
    assert not house.coordinator.exists(G)


def test_a_silent_member_whose_end_was_not_kept_is_taken_out_later() -> None:
    house = House()
    house.join("m1")
    house.hold = True
    house.later(SESSION_MS)
    house.lose_last(CoordinatorNotAvailableError("no room"))
    assert set(house.group.current.members) == {"m1"}
    deadline = house.coordinator.next_deadline_ms(G)
    assert deadline is not None
    house.hold = False
    house.later(deadline - house.clock.now_ms)
    assert house.phase == "Empty"


def test_the_end_of_a_group_leaves_nothing_in_the_log() -> None:
    house = House({"t": 2})
    house.join("m1", subscribed_topic_regex="t|u")
    house.join("m2")
    house.beat("m1", -1)
    house.beat("m2", -1)
    house.perform(house.coordinator.delete_group(G))
    left = {key: value for key, value in house.log if value is not None}
    for key, value in house.log:
        left.pop(key, None) if value is None else left.__setitem__(key, value)
    assert left == {}
    house.reload()
    assert isinstance(house.coordinator, Coordinator)
    assert not house.coordinator.exists(G)


def test_a_state_of_a_release_to_come_keeps_nobody_from_going_on() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    house.beat("m1", 1, all_of(t=2))
    members = house.group.current.members
    for each, state in ((members["m1"], 77), (members["m2"], 78)):
        record = changes.current(G, each)
        assert isinstance(record.value, ConsumerGroupCurrentMemberAssignmentValue)
        record.value.state = state
        house.log.append((encode_key(record.key), encode_value(record.value)))
    house.reload()
    assert house.group.current.members["m1"].state is MemberState.UNREVOKED_PARTITIONS
    house.settle("m1", "m2")
    assert house.phase == "Stable"


def test_settings_that_change_are_in_force_from_the_next_heartbeat_on() -> None:
    house = House()
    house.join("m1")
    house.coordinator.configure(
        GroupSettings(consumer_session_timeout_ms=50_000, consumer_heartbeat_interval_ms=7_000)
    )
    assert house.beat("m1", 1).heartbeat_interval_ms == 7_000
    house.later(SESSION_MS)
    assert house.phase == "Stable"
    house.later(50_000 - SESSION_MS)
    assert house.phase == "Empty"


def test_who_was_not_told_to_let_go_is_not_taken_out_for_it() -> None:
    """Both the join of another and what it would have meant for this one were not kept."""
    house = House({"t": 2})
    house.join("m1")
    house.hold = True
    house.send(first_heartbeat("m2"))
    house.send(heartbeat("m1", 1, all_of(t=2)))
    assert house.group.current.members["m1"].state is MemberState.UNREVOKED_PARTITIONS
    for _ in range(2):
        house.lose_last(CoordinatorNotAvailableError("no room"))
    house.hold = False
    for _ in range(3):
        house.later(REBALANCE_MS // 2)
        assert house.beat("m1", 1, all_of(t=2)).member_epoch == 1


def test_who_does_not_let_go_is_taken_out_though_the_first_attempt_was_not_kept() -> None:
    house = House({"t": 2})
    house.join("m1")
    house.join("m2")
    house.beat("m1", 1, all_of(t=2))
    house.later(SESSION_MS - 1)
    house.beat("m1", 2, all_of(t=2))
    house.beat("m2", 2, NOTHING)
    house.hold = True
    house.later(REBALANCE_MS - SESSION_MS + 1)
    house.lose_last(CoordinatorNotAvailableError("no room"))
    house.hold = False
    house.beat("m1", 2, all_of(t=2))
    house.later(1_000)
    assert set(house.group.current.members) == {"m2"}

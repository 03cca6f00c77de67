"""A member whose connection breaks and does not come back is out before its session is over."""

import pytest

from cluster.groups.attendance import (
    GAPS_MIN,
    ID_BYTES_MAX,
    MEMBERS_MAX,
    RECONNECT_MS,
    Absence,
    Attendance,
)
from cluster.groups.classic_rebalance import Clock
from storage.errors import ErrorCode, OttlaError
from tests.cluster.groups.consumer_house import G, House
from tests.cluster.groups.lab import GROUP, SESSION_MS, Lab

UNKNOWN_MS = SESSION_MS // 3 + RECONNECT_MS


def absent(lab: Lab, member_id: str, interval_ms: int | None = None) -> None:
    lab.perform(lab.coordinator.absent(Absence(GROUP, member_id, interval_ms), lab.clock))


def test_who_reconnects_is_not_absent_when_the_old_connection_breaks() -> None:
    attendance = Attendance()
    attendance.heard("old", "g", "m")
    attendance.heard("old", "g", "n")
    attendance.heard("new", "g", "m")
    assert attendance.broke("old") == [Absence("g", "n", None)]
    assert attendance.broke("new") == [Absence("g", "m", None)]
    assert attendance.broke("new") == []


def test_who_leaves_is_not_absent() -> None:
    attendance = Attendance()
    attendance.heard("a", "g", "m")
    attendance.left("g", "m")
    attendance.left("g", "nobody")
    assert attendance.broke("a") == []


def test_the_longest_gap_that_was_seen_often_enough_is_what_is_waited_for() -> None:
    attendance = Attendance()
    for number in range(GAPS_MIN):
        for member_id in ("m", "n"):
            attendance.heard("a", "g", member_id, 1000 * number)
    # It joins, and says nothing meanwhile.
    attendance.heard("a", "g", "m")
    attendance.heard("a", "g", "m", 90_000)
    attendance.heard("a", "g", "m", 93_000)
    assert attendance.broke("a") == [Absence("g", "m", 3000), Absence("g", "n", None)]


def test_what_is_remembered_of_a_connection_is_bounded() -> None:
    attendance = Attendance()
    for number in range(MEMBERS_MAX + 5):
        attendance.heard("a", "g", str(number))
    attendance.heard("b", "g", "x" * ID_BYTES_MAX)
    attendance.heard("b", "g", "")
    assert len(attendance.broke("a")) == MEMBERS_MAX
    assert attendance.broke("b") == []


@pytest.mark.parametrize(
    ("interval_ms", "expected_ms"),
    [(3_000, 6_000), (200, 1_200), (None, 11_000), (20_000, 30_000)],
)
def test_a_member_may_miss_one_sign_of_life_and_connect_anew(
    interval_ms: int | None, expected_ms: int
) -> None:
    assert Absence("g", "m", interval_ms).patience_ms(30_000) == expected_ms


@pytest.mark.parametrize(("interval_ms", "out_ms"), [(None, UNKNOWN_MS), (500, 1_500)])
def test_a_member_of_a_settled_group_is_out_when_it_does_not_come_back(
    interval_ms: int | None, out_ms: int
) -> None:
    lab = Lab()
    _, (first, second) = lab.settled("a", "b")
    absent(lab, second, interval_ms)
    lab.sleep(out_ms - 1)
    assert second in lab.group.members
    lab.sleep(1)
    assert second not in lab.group.members
    assert lab.state == "PreparingRebalance"
    assert first in lab.group.members


def test_a_member_that_comes_back_has_a_whole_session_again() -> None:
    lab = Lab()
    generation, (first, second) = lab.settled("a", "b")
    absent(lab, second)
    lab.sleep(UNKNOWN_MS - 1)
    lab.heartbeat(second, generation)
    lab.heartbeat(first, generation)
    lab.sleep(SESSION_MS - 1)
    assert lab.state == "Stable"


def test_a_broken_connection_lengthens_no_session() -> None:
    lab = Lab()
    generation, (first, second) = lab.settled("a", "b")
    lab.sleep(SESSION_MS - 10)
    lab.heartbeat(first, generation)
    absent(lab, second)
    lab.sleep(10)
    assert second not in lab.group.members


def test_a_static_member_is_expected_back() -> None:
    lab = Lab()
    joined = lab.answers[lab.join(instance="i")]
    lab.sync(joined.member_id, joined.generation_id)
    absent(lab, joined.member_id)
    lab.sleep(SESSION_MS - 1)
    assert lab.state == "Stable"


def test_who_waited_to_join_is_no_part_of_the_next_generation() -> None:
    """Else the others would have a leader or a reader that is not there."""
    lab = Lab()
    _, (first, second) = lab.settled("a", "b")
    waiting = lab.join(second, protocols=(("range", b"changed"),))
    assert waiting not in lab.answers
    absent(lab, second)
    refused = lab.answers[waiting]
    assert isinstance(refused, OttlaError)
    assert refused.code == ErrorCode.REBALANCE_IN_PROGRESS
    again = lab.join(first)
    assert again not in lab.answers, "it may come back"
    lab.sleep(UNKNOWN_MS)
    assert lab.answers[again].generation_id > 1
    assert list(lab.group.members) == [first]


def test_who_waited_to_join_and_comes_back_is_part_of_it() -> None:
    lab = Lab()
    _, (first, second) = lab.settled("a", "b")
    lab.join(second, protocols=(("range", b"changed"),))
    absent(lab, second)
    again = lab.join(second, protocols=(("range", b"changed"),))
    lab.join(first)
    assert lab.answers[again].error_code == ErrorCode.NONE
    assert set(lab.group.members) == {first, second}


def test_who_was_told_its_id_and_is_gone_holds_nobody_up_for_long() -> None:
    lab = Lab()
    _, (first, _) = lab.settled("a", "b")
    told = lab.answers[lab.join(told_first=True)]
    assert told.error_code == ErrorCode.MEMBER_ID_REQUIRED
    absent(lab, told.member_id)
    assert told.member_id in lab.group.pending
    lab.sleep(RECONNECT_MS)
    assert told.member_id not in lab.group.pending
    assert first in lab.group.members


def test_who_waited_for_its_share_has_to_ask_again() -> None:
    lab = Lab()
    first = lab.answers[lab.join()].member_id
    lab.sync(first, 1, {first: b""})
    joining = lab.join()
    lab.join(first)
    second, generation = lab.answers[joining].member_id, lab.answers[joining].generation_id
    waiting = lab.sync(second, generation)
    absent(lab, second)
    assert isinstance(lab.answers[waiting], OttlaError)
    lab.sync(first, generation, {first: b"1", second: b"2"})
    assert second in lab.group.awaiting_sync
    assert lab.answers[lab.sync(second, generation)].assignment == b"2"


def test_of_strangers_nothing_is_thought() -> None:
    lab = Lab()
    absent(lab, "somebody")
    lab.settled("a")
    absent(lab, "somebody")
    assert lab.state == "Stable"


def test_a_member_with_the_new_protocol_is_out_when_it_does_not_come_back() -> None:
    house = House({"t": 3})
    house.join("m1")
    house.join("m2", instance_id="static")
    times = house.settings.consumer_times(G)
    for member_id in ("m1", "m2", "nobody"):
        house.perform(house.coordinator.absent(Absence(G, member_id, None), house.clock))
    patience_ms = 2 * times.heartbeat_interval_ms
    assert patience_ms < times.session_timeout_ms
    for pass_ms, expected in ((patience_ms - 1, {"m1", "m2"}), (1, {"m2"})):
        house.clock = Clock(house.clock.now_ms + pass_ms, house.clock.wall_ms)
        house.perform(house.coordinator.expire(G, house.clock))
        assert set(house.coordinator.consumer.groups[G].current.members) == expected

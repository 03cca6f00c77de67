"""Classic groups: who is in, what they are told, and when they are out."""

import pytest

from cluster.groups.classic_group import State
from storage.errors import ErrorCode, OttlaError
from tests.cluster.groups.lab import GROUP, REBALANCE_MS, SESSION_MS, Lab
from wire.consumer_protocol import ConsumerProtocolSubscription, write
from wire.messages.join_group import JoinGroupResponse
from wire.messages.leave_group import LeaveGroupResponse


def refused(lab: Lab, ticket: int) -> ErrorCode:
    error = lab.answers[ticket]
    assert isinstance(error, OttlaError), error
    return error.code


def test_a_single_member_leads_reads_everything_and_is_kept_in_the_log() -> None:
    lab = Lab()
    generation, (member,) = lab.settled("a")
    assert lab.state == State.STABLE.value
    assert generation == 1
    assert member.startswith("a-")
    assert lab.answers[lab.heartbeat(member, generation)].error_code == 0
    assert [each.member_id for each in lab.log[-1].value.members] == [member]  # type: ignore[union-attr]


def test_a_new_member_is_told_its_id_first_and_joins_with_it() -> None:
    """KIP-394."""
    lab = Lab()
    told: JoinGroupResponse = lab.answers[lab.join(told_first=True)]
    assert told.error_code == ErrorCode.MEMBER_ID_REQUIRED
    assert lab.group.members == {}
    joined: JoinGroupResponse = lab.answers[lab.join(told.member_id)]
    assert (joined.error_code, joined.member_id) == (0, told.member_id)


def test_an_id_that_is_not_used_is_forgotten() -> None:
    lab = Lab()
    told: JoinGroupResponse = lab.answers[lab.join(told_first=True)]
    lab.sleep(SESSION_MS + 1)
    assert refused(lab, lab.join(told.member_id)) == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_second_member_makes_the_first_join_again() -> None:
    lab = Lab()
    generation, (first,) = lab.settled("a")
    second = lab.join(client="b")
    assert second not in lab.answers
    assert refused(lab, lab.heartbeat(first, generation)) == ErrorCode.REBALANCE_IN_PROGRESS
    again = lab.join(first)
    leader, other = lab.answers[again], lab.answers[second]
    assert (leader.generation_id, other.generation_id) == (generation + 1, generation + 1)
    assert [each.member_id for each in leader.members] == [first, other.member_id]
    assert other.members == ()
    assert other.leader == first


def test_nobody_hears_of_an_assignment_before_it_is_kept() -> None:
    lab = Lab()
    first = lab.answers[lab.join(client="a")].member_id
    lab.keeps = False
    waiting = lab.sync(first, 1, {first: b"all"})
    assert waiting not in lab.answers
    assert lab.state == State.COMPLETING_REBALANCE.value
    lab.keep_all()
    assert lab.answers[waiting].assignment == b"all"
    assert lab.state == State.STABLE.value


def test_an_assignment_that_is_not_kept_is_told_to_nobody() -> None:
    lab = Lab()
    first = lab.answers[lab.join(client="a")].member_id
    lab.keeps = False
    waiting = lab.sync(first, 1, {first: b"all"})
    lab.lose_all()
    assert refused(lab, waiting) == ErrorCode.NOT_COORDINATOR
    assert lab.state == State.COMPLETING_REBALANCE.value


def test_an_assignment_of_an_older_generation_changes_nothing_when_it_is_kept() -> None:
    lab = Lab()
    first = lab.answers[lab.join(client="a")].member_id
    lab.keeps = False
    old = lab.sync(first, 1, {first: b"old"})
    second = lab.join(client="b")
    assert refused(lab, old) == ErrorCode.REBALANCE_IN_PROGRESS
    lab.join(first)
    new = lab.sync(first, 2, {first: b"new"})
    lab.keep_all()
    assert lab.answers[new].assignment == b"new"
    other = lab.answers[second].member_id
    assert lab.answers[lab.sync(other, 2)].assignment == b""


def test_who_is_silent_for_a_session_is_out_and_the_others_go_on() -> None:
    lab = Lab()
    generation, (first, second) = lab.settled("a", "b")
    lab.sleep(SESSION_MS - 1)
    lab.heartbeat(first, generation)
    lab.sleep(2)
    assert refused(lab, lab.heartbeat(first, generation)) == ErrorCode.REBALANCE_IN_PROGRESS
    assert refused(lab, lab.heartbeat(second, generation)) == ErrorCode.UNKNOWN_MEMBER_ID
    joined = lab.answers[lab.join(first)]
    assert [each.member_id for each in joined.members] == [first]


def test_who_does_not_join_in_time_is_left_out() -> None:
    lab = Lab(max_session_timeout_ms=10**7)
    first = lab.answers[lab.join(client="a", session_ms=10 * REBALANCE_MS)].member_id
    lab.sync(first, 1, {first: b""})
    second = lab.join(client="b")
    lab.sleep(REBALANCE_MS - 1)
    assert second not in lab.answers
    lab.sleep(2)
    joined = lab.answers[second]
    assert joined.leader == joined.member_id
    assert first not in lab.group.members


def test_who_does_not_sync_in_time_is_out() -> None:
    lab = Lab(max_session_timeout_ms=10**7)
    member = lab.answers[lab.join(client="a", session_ms=10 * REBALANCE_MS)].member_id
    lab.sleep(REBALANCE_MS + 1)
    assert lab.state == State.EMPTY.value
    assert refused(lab, lab.heartbeat(member, 1)) == ErrorCode.UNKNOWN_MEMBER_ID


def test_who_lives_and_never_asks_for_its_share_is_out_after_a_rebalance_timeout() -> None:
    """The others have theirs already; nobody would ever read what was meant for it."""
    lab = Lab(delay_ms=100)
    tickets = [lab.join(client=each) for each in ("a", "b", "c")]
    lab.sleep(101)
    leader, late, never = (lab.answers[each].member_id for each in tickets)
    lab.sync(leader, 1, {never: b"all"})
    lab.sync(late, 1)
    for _ in range(REBALANCE_MS // SESSION_MS * 2):
        lab.sleep(SESSION_MS // 2)
        last = [lab.heartbeat(each, 1) for each in (leader, late, never)][-1]
    assert refused(lab, last) == ErrorCode.UNKNOWN_MEMBER_ID
    assert lab.state == State.PREPARING_REBALANCE.value
    assert set(lab.group.members) == {leader, late}


def test_a_static_member_that_came_back_before_it_asked_for_its_share_may_still_ask() -> None:
    lab = Lab(delay_ms=100)
    tickets = [lab.join(client="a"), lab.join(instance="i")]
    lab.sleep(101)
    leader, before = (lab.answers[each].member_id for each in tickets)
    lab.sync(leader, 1, {before: b"all"})
    after = lab.answers[lab.join(instance="i")].member_id
    assert lab.answers[lab.sync(after, 1, instance="i")].assignment == b"all"
    for _ in range(REBALANCE_MS // SESSION_MS * 2):
        lab.sleep(SESSION_MS // 2)
        assert lab.answers[lab.heartbeat(leader, 1)].error_code == 0
        assert lab.answers[lab.heartbeat(after, 1, "i")].error_code == 0


def test_an_empty_group_waits_a_moment_for_company() -> None:
    lab = Lab(delay_ms=3000)
    first = lab.join(client="a")
    lab.sleep(2000)
    second = lab.join(client="b")
    lab.sleep(2999)
    assert first not in lab.answers
    lab.sleep(2)
    assert lab.answers[first].generation_id == lab.answers[second].generation_id == 1


def test_leaving_is_told_to_the_others_at_their_next_heartbeat() -> None:
    lab = Lab()
    generation, (first, second) = lab.settled("a", "b")
    left: LeaveGroupResponse = lab.answers[lab.leave(second)]
    assert [each.error_code for each in left.members] == [0]
    assert refused(lab, lab.heartbeat(first, generation)) == ErrorCode.REBALANCE_IN_PROGRESS


def test_the_last_one_to_leave_leaves_an_empty_group_in_the_log() -> None:
    lab = Lab()
    _, (only,) = lab.settled("a")
    lab.leave(only)
    assert lab.state == State.EMPTY.value
    value = lab.log[-1].value
    assert value is not None
    assert value.members == ()  # type: ignore[union-attr]


def test_a_stranger_cannot_leave_and_is_told_so() -> None:
    lab = Lab()
    lab.settled("a")
    left: LeaveGroupResponse = lab.answers[lab.leave("nobody")]
    assert left.members[0].error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_the_protocol_that_most_members_like_best_is_taken() -> None:
    lab = Lab(delay_ms=100)
    both = (("range", b"r"), ("sticky", b"s"))
    tickets = [
        lab.join(client="a", protocols=both),
        lab.join(client="b", protocols=both[::-1]),
        lab.join(client="c", protocols=both[::-1]),
    ]
    lab.sleep(200)
    assert {lab.answers[each].protocol_name for each in tickets} == {"sticky"}


@pytest.mark.parametrize(
    ("protocol_type", "protocols"),
    [("connect", (("range", b""),)), ("consumer", (("other", b""),)), ("consumer", ()), ("", ())],
)
def test_who_speaks_nothing_that_the_group_speaks_is_refused(
    protocol_type: str, protocols: tuple[tuple[str, bytes], ...]
) -> None:
    lab = Lab()
    lab.settled("a")
    ticket = lab.join(client="b", protocol_type=protocol_type, protocols=protocols)
    assert refused(lab, ticket) == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_a_static_member_comes_back_under_a_new_id_and_nobody_rebalances() -> None:
    """KIP-345; its old process is fenced."""
    lab = Lab()
    old = lab.answers[lab.join(instance="one")].member_id
    lab.sync(old, 1, {old: b"mine"})
    back: JoinGroupResponse = lab.answers[lab.join(instance="one")]
    assert (back.generation_id, back.skip_assignment) == (1, True)
    assert back.member_id != old
    assert lab.answers[lab.sync(back.member_id, 1)].assignment == b"mine"
    assert refused(lab, lab.heartbeat(old, 1, "one")) == ErrorCode.FENCED_INSTANCE_ID
    assert refused(lab, lab.commit(5, old, 1)) == ErrorCode.UNKNOWN_MEMBER_ID


def subscription(*topics: str, generation: int = -1) -> bytes:
    """What a consumer says; one that was in a generation says so, too."""
    return write(ConsumerProtocolSubscription(topics=topics, generation_id=generation), 2)


def test_a_new_process_that_has_nothing_yet_is_no_reason_to_rebalance_and_another_topic_is() -> (
    None
):
    lab = Lab()
    before = (("range", subscription("t", generation=7)), ("sticky", subscription("t")))
    old = lab.answers[lab.join(instance="one", protocols=before)].member_id
    lab.sync(old, 1, {old: b"mine"}, "one")
    after = (("range", subscription("t")), ("sticky", subscription("t")))
    back: JoinGroupResponse = lab.answers[lab.join(instance="one", protocols=after)]
    assert (back.generation_id, back.skip_assignment) == (1, True)
    other = (("range", subscription("other")), ("sticky", subscription("other")))
    again: JoinGroupResponse = lab.answers[lab.join(instance="one", protocols=other)]
    assert (again.generation_id, again.skip_assignment) == (2, False)
    lab.sync(again.member_id, 2, {again.member_id: b"mine"}, "one")
    liked = other[::-1]
    last: JoinGroupResponse = lab.answers[lab.join(instance="one", protocols=liked)]
    assert (last.generation_id, last.protocol_name) == (3, "sticky")


def test_a_static_member_is_removed_by_its_instance() -> None:
    lab = Lab()
    lab.join(instance="one")
    left: LeaveGroupResponse = lab.answers[lab.leave(instance="one")]
    assert left.members[0].error_code == 0
    assert lab.group.members == {}


@pytest.mark.parametrize("session_ms", [1, 10**9])
def test_a_session_timeout_out_of_bounds_is_refused(session_ms: int) -> None:
    lab = Lab()
    assert refused(lab, lab.join(session_ms=session_ms)) == ErrorCode.INVALID_SESSION_TIMEOUT


def test_a_full_group_takes_nobody_more() -> None:
    lab = Lab(max_size=1)
    lab.settled("a")
    assert refused(lab, lab.join(client="b")) == ErrorCode.GROUP_MAX_SIZE_REACHED


def test_a_member_that_did_not_hear_its_answer_gets_it_again() -> None:
    lab = Lab()
    generation, (first, second) = lab.settled("a", "b")
    again: JoinGroupResponse = lab.answers[lab.join(second)]
    assert again.generation_id == generation
    assert lab.state == State.STABLE.value
    assert lab.answers[lab.sync(second, generation)].assignment == second.encode()
    assert first in lab.group.members


def test_the_next_coordinator_knows_the_generation_and_gives_everybody_a_session() -> None:
    lab = Lab()
    generation, (first, second) = lab.settled("a", "b")
    lab.commit(7, first, generation)
    after = lab.reload()
    assert after.state == State.STABLE.value
    assert after.answers[after.heartbeat(first, generation)].error_code == 0
    assert after.answers[after.sync(second, generation)].assignment == second.encode()
    assert after.committed() == 7
    after.sleep(SESSION_MS + 1)
    assert GROUP in after.coordinator.groups
    assert after.state == State.EMPTY.value


def test_a_static_member_that_came_back_is_known_to_the_next_coordinator() -> None:
    """Else the new process is fenced after a failover, and the old one may commit again."""
    lab = Lab()
    old = lab.answers[lab.join(instance="i", client="a")].member_id
    lab.sync(old, 1, {old: b"all"}, "i")
    lab.keeps = False
    back = lab.join(instance="i", client="a")
    assert back not in lab.answers, "told before it is kept"
    lab.keep_all()
    new = lab.answers[back].member_id
    after = lab.reload()
    assert after.answers[after.heartbeat(new, 1, "i")].error_code == 0
    assert refused(after, after.heartbeat(old, 1, "i")) == ErrorCode.FENCED_INSTANCE_ID

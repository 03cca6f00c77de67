"""Committed offsets: who may, when they are seen, when they go."""

from contextlib import nullcontext

import pytest

from cluster.groups.errors import GroupIdNotFoundError, NonEmptyGroupError
from storage.errors import ErrorCode, OttlaError
from tests.cluster.groups.lab import GROUP, Lab

DAY_MS = 24 * 60 * 60 * 1000


def refused(lab: Lab, ticket: int) -> ErrorCode:
    error = lab.answers[ticket]
    assert isinstance(error, OttlaError), error
    return error.code


def test_a_position_is_seen_when_it_is_kept_and_not_before() -> None:
    """KAFKA-5600: what was shown once is never taken back."""
    lab = Lab()
    lab.commit(1)
    lab.keeps = False
    ticket = lab.commit(2)
    assert (lab.committed(), ticket in lab.answers) == (1, False)
    lab.keep_all()
    assert (lab.committed(), lab.answers[ticket]) == (2, 2)


def test_a_position_that_was_not_kept_is_not_acknowledged() -> None:
    """KAFKA-20634."""
    lab = Lab()
    lab.keeps = False
    ticket = lab.commit(2)
    lab.lose_all()
    assert refused(lab, ticket) == ErrorCode.NOT_COORDINATOR
    assert lab.committed() is None


@pytest.mark.parametrize(
    ("member", "generation", "code"),
    [
        ("stranger", 1, ErrorCode.UNKNOWN_MEMBER_ID),
        ("", -1, ErrorCode.UNKNOWN_MEMBER_ID),
        ("me", 0, ErrorCode.ILLEGAL_GENERATION),
        ("me", 2, ErrorCode.ILLEGAL_GENERATION),
        ("me", -1, ErrorCode.ILLEGAL_GENERATION),
    ],
)
def test_only_members_of_the_generation_commit(
    member: str, generation: int, code: ErrorCode
) -> None:
    lab = Lab()
    _, (me,) = lab.settled("a")
    assert refused(lab, lab.commit(5, me if member == "me" else member, generation)) == code
    assert lab.committed() is None


def test_who_never_joined_commits_to_a_group_without_members_only() -> None:
    """A generation says that there was a group; the code is Kafka's."""
    lab = Lab()
    assert refused(lab, lab.commit(3, "somebody", 4)) == ErrorCode.GROUP_ID_NOT_FOUND
    assert lab.answers[lab.commit(3)] == 3
    assert refused(lab, lab.commit(3, "somebody", 4)) == ErrorCode.UNKNOWN_MEMBER_ID
    assert lab.answers[lab.commit(3, "somebody", -1)] == 3


def test_while_the_leader_assigns_nobody_commits_and_before_it_the_old_generation_may() -> None:
    lab = Lab()
    generation, (first, second) = lab.settled("a", "b")
    lab.join(second, protocols=(("range", b"changed"),))
    assert lab.answers[lab.commit(4, first, generation)] == 4
    lab.join(first)
    assert refused(lab, lab.commit(5, first, generation)) == ErrorCode.ILLEGAL_GENERATION
    assert refused(lab, lab.commit(5, first, generation + 1)) == ErrorCode.REBALANCE_IN_PROGRESS


def test_a_group_with_members_is_not_deleted_and_one_without_is_with_its_positions() -> None:
    lab = Lab()
    generation, (only,) = lab.settled("a")
    lab.commit(9, only, generation)
    assert refused(lab, lab.delete()) == ErrorCode.NON_EMPTY_GROUP
    lab.leave(only)
    lab.keeps = False
    ticket = lab.delete()
    assert ticket not in lab.answers
    assert lab.committed() == 9
    lab.keep_all()
    assert lab.answers[ticket] == "deleted"
    assert not lab.coordinator.exists(GROUP)
    assert not lab.reload().coordinator.exists(GROUP)
    lab.keeps = True
    assert refused(lab, lab.delete()) == ErrorCode.GROUP_ID_NOT_FOUND


@pytest.mark.parametrize(("kind", "refused"), [("consumer", False), ("connect", True)])
def test_some_positions_go_only_where_it_is_known_what_members_read(
    kind: str, refused: bool
) -> None:
    """Kafka's OffsetDelete: Connect's workers say nothing of topics."""
    lab = Lab()
    with pytest.raises(GroupIdNotFoundError):
        lab.coordinator.check_delete_offsets(GROUP)
    _, (only,) = lab.settled("a")
    lab.group.protocol_type = kind
    with pytest.raises(NonEmptyGroupError) if refused else nullcontext():
        lab.coordinator.check_delete_offsets(GROUP)
    lab.leave(only)
    lab.coordinator.check_delete_offsets(GROUP)


def test_positions_outlive_their_group_by_the_retention_time() -> None:
    lab = Lab(offsets_retention_ms=DAY_MS)
    generation, (only,) = lab.settled("a")
    lab.commit(9, only, generation)
    lab.wall_ms += 5 * DAY_MS
    expire(lab)
    assert lab.committed() == 9, "a group that reads keeps its positions"
    lab.leave(only)
    lab.wall_ms += DAY_MS - 1
    expire(lab)
    assert lab.committed() == 9
    lab.wall_ms += 1
    expire(lab)
    assert not lab.coordinator.exists(GROUP)


def test_a_group_that_has_nothing_and_nobody_is_not_kept_for_the_retention_time() -> None:
    """Tools that read without committing leave one behind each."""
    lab = Lab(offsets_retention_ms=DAY_MS)
    told = lab.answers[lab.join(told_first=True)]
    expire(lab)
    assert lab.coordinator.exists(GROUP), "somebody is about to join"
    joined = lab.answers[lab.join(told.member_id)]
    expire(lab)
    assert lab.coordinator.exists(GROUP)
    lab.leave(joined.member_id)
    expire(lab)
    assert not lab.coordinator.exists(GROUP)
    assert not lab.reload().coordinator.exists(GROUP)


def test_while_a_group_rebalances_nothing_expires() -> None:
    """KAFKA-13636."""
    lab = Lab(offsets_retention_ms=DAY_MS)
    generation, (only,) = lab.settled("a")
    lab.commit(9, only, generation)
    lab.join(client="b")
    lab.wall_ms += 5 * DAY_MS
    expire(lab)
    assert lab.committed() == 9


def expire(lab: Lab) -> None:
    for step in lab.coordinator.expire_offsets(lab.clock):
        lab.perform(step)


def test_a_position_that_is_being_committed_anew_does_not_expire() -> None:
    """Its tombstone would come behind the new position in the log."""
    lab = Lab(offsets_retention_ms=60_000)
    lab.commit(1)
    lab.sleep(60_000)
    lab.keeps = False
    ticket = lab.commit(2)
    assert lab.coordinator.expire_offsets(lab.clock) == []
    lab.keep_all()
    assert lab.answers[ticket] == 2
    assert lab.coordinator.expire_offsets(lab.clock) == []
    lab.sleep(60_000)
    assert len(lab.coordinator.expire_offsets(lab.clock)) == 1


def test_a_position_that_says_when_it_expires_says_so_to_the_next_coordinator() -> None:
    """retention_time_ms of OffsetCommit 2 to 4; Kafka keeps it in version 1 of the record, the only one that has it."""
    lab = Lab(offsets_retention_ms=DAY_MS)
    lab.commit(9, expires_wall_ms=lab.wall_ms + 3 * DAY_MS)
    after = lab.reload()
    assert after.coordinator.offsets.of(GROUP) == lab.coordinator.offsets.of(GROUP)
    after.wall_ms += 2 * DAY_MS
    expire(after)
    assert after.committed() == 9
    after.wall_ms += DAY_MS
    expire(after)
    assert after.committed() is None

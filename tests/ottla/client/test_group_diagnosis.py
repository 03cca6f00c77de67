"""Why a group is not moving: one row a reason, and what is said of it."""

import pytest

from ottla.client.group_diagnosis import diagnose
from ottla.client.group_facts import GroupFacts, MemberFacts, PartitionFacts
from ottla.client.records import TopicPartition

NOW_MS = 1_800_000_000_000
MEMBER = MemberFacts("c-1", "", "c", "/10.0.0.7", (TopicPartition("orders", 0),))
IDLE = MemberFacts("c-2", "", "c", "/10.0.0.8", ())


def _partition(
    committed: int,
    end: int,
    *,
    start: int = 0,
    leader: int = 1,
    exists: bool = True,
    member: MemberFacts | None = MEMBER,
    age_s: int = 1,
    number: int = 0,
) -> PartitionFacts:
    return PartitionFacts(
        TopicPartition("orders", number),
        committed,
        NOW_MS - age_s * 1000 if committed >= 0 else -1,
        start,
        end,
        leader,
        exists,
        member,
    )


def _group(
    *partitions: PartitionFacts,
    state: str = "Stable",
    members: tuple[MemberFacts, ...] = (MEMBER,),
    since_s: int = 90,
    now_ms: int = NOW_MS,
) -> GroupFacts:
    return GroupFacts(
        "billing",
        state,
        "classic",
        "range",
        1,
        members,
        partitions,
        NOW_MS - since_s * 1000,
        now_ms,
    )


EMPTY = {"state": "Empty", "members": ()}
TABLE = {
    "nobody, records wait": (
        _group(_partition(5, 12, member=None), state="Empty", members=()),
        [
            (
                "Nobody reads since 90 s: the group has no members, and 7 records wait. Start a consumer with group id "
                "billing."
            )
        ],
    ),
    "nobody, nothing waits": (
        _group(_partition(12, 12, member=None), state="Empty", members=(), since_s=7200),
        ["Nobody reads since 2 h: the group has no members. No record waits for it either."],
    ),
    "nobody ever": (
        _group(state="Dead", members=(), since_s=0),
        [
            "Nobody reads since 0 s, and no position was ever committed: the group has a name and nothing else."
        ],
    ),
    "rebalancing": (
        _group(state="PreparingRebalance", members=(MEMBER, IDLE)),
        [
            (
                "The group is rebalancing since 90 s: it waits for every one of 2 members to join again; one that does "
                "not poll holds the others up until its max.poll.interval.ms is over, one that ended without leaving "
                "until its session.timeout.ms is."
            )
        ],
    ),
    "of KIP-848: the target is not made yet": (
        _group(state="Assigning")._replace(epoch=5, assignment_epoch=4),
        [
            "The group is at epoch 5, its targets at 4: they are made with the next heartbeat of a member."
        ],
    ),
    "of KIP-848: somebody has to let go": (
        _group(
            state="Reconciling",
            members=(
                MEMBER._replace(epoch=4, target=()),
                IDLE._replace(epoch=5, target=MEMBER.partitions),
            ),
        )._replace(epoch=5, assignment_epoch=5),
        ["Member c-1 at 10.0.0.7 has to let go orders-0 before others get them."],
    ),
    "of KIP-848: somebody has not heard of it": (
        _group(
            state="Reconciling", members=(MEMBER._replace(epoch=4, target=MEMBER.partitions),)
        )._replace(epoch=5, assignment_epoch=5),
        ["c-1 has not heard of epoch 5 yet."],
    ),
    "the leader of the group does not assign": (
        _group(state="CompletingRebalance"),
        ["The group is rebalancing since 90 s: its only member has joined, and has to assign."],
    ),
    "a topic is gone": (
        _group(_partition(5, -1, start=-1, leader=-1, exists=False, member=None)),
        ["orders is gone, positions are left: `ottla groups delete-offsets` forgets them."],
    ),
    "no leader": (
        _group(_partition(5, -1, start=-1, leader=-1)),
        [
            "orders-0 has no leader, so that nothing can be read there: see `ottla topics describe --unavailable`."
        ],
    ),
    "committed beyond the end": (
        _group(_partition(50, 12)),
        [
            (
                "orders-0: the committed offset 50 is beyond the end 12. The topic was made anew or records were lost; "
                "consumers go on by their auto.offset.reset, or after `ottla groups reset-offsets`."
            ),
            "The group is at the end of all it reads: no record waits.",
        ],
    ),
    "went by retention": (
        _group(_partition(5, 40, start=30)),
        [
            (
                "orders-0: the committed offset 5 is before the start 30: 25 records went by retention before they "
                "were read. Consumers go on by their auto.offset.reset."
            )
        ],
    ),
    "nobody subscribes any more": (
        _group(_partition(5, 40, member=None)),
        [
            (
                "No member reads orders-0, where 35 records wait: the topic is no longer subscribed to, or its "
                "positions are from before."
            )
        ],
    ),
    "nothing is committed": (
        _group(_partition(-1, 40)),
        [
            (
                "orders-0 has a reader and records, but nothing was committed: the members do not commit "
                "(enable.auto.commit off?), are paused, or have not finished with a first record."
            )
        ],
    ),
    "a member is stuck": (
        _group(_partition(5, 40, age_s=600)),
        [
            (
                "orders-0: the last commit is 10 min old although records wait: member c-1 at 10.0.0.7 is stuck at "
                "offset 5, paused, or slow."
            )
        ],
    ),
    "more members than partitions": (
        _group(_partition(40, 40), members=(MEMBER, IDLE)),
        [
            "c-2 has no partition: 2 members share 1. More partitions, or fewer members.",
            "The group is at the end of all it reads: no record waits.",
        ],
    ),
    "at the end": (
        _group(_partition(40, 40)),
        ["The group is at the end of all it reads: no record waits."],
    ),
    "it reads": (
        _group(_partition(39, 40), _partition(40, 40, number=1)),
        ["The group reads: 1 record waits in 1 partition."],
    ),
    "members without anything to read": (
        _group(),
        [
            "1 member, and no partition: what they subscribe to does not exist, or is empty of partitions."
        ],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_reason_is_said_in_a_sentence(name: str) -> None:
    facts, expected = TABLE[name]
    # A topic that is gone, or without a leader, says nothing of the rest.
    assert diagnose(facts)[: len(expected)] == expected
    assert len(diagnose(facts)) == len(expected) or name == "went by retention"


def _later(*partitions: PartitionFacts) -> GroupFacts:
    return _group(*partitions, now_ms=NOW_MS + 2_000)


def test_a_lag_that_grows_is_told_with_its_rates() -> None:
    before, after = _group(_partition(100, 200)), _later(_partition(150, 400))
    assert diagnose(after, before) == [
        (
            "The lag of 250 records grows: 100 records a second come, 25 are committed. More members help as long as "
            "there are partitions for them (1)."
        )
    ]


def test_a_lag_that_shrinks_is_told_with_the_time_that_is_left() -> None:
    before, after = _group(_partition(100, 500)), _later(_partition(200, 500))
    assert diagnose(after, before) == [
        "The group catches up: 300 records wait, 50 a second are committed, 0 come; about 6 s left."
    ]


def test_what_is_seen_between_two_automatic_commits_is_not_taken_for_a_verdict() -> None:
    before, after = _group(_partition(100, 200)), _later(_partition(100, 400), _partition(7, 7))
    assert diagnose(after, before) == [
        (
            "300 records wait in 1 partition, 100 a second come, and nothing was committed within 2 s, which says "
            "little: members commit every 5 s by default. If --sample-s 10 sees no commit either, they are busy with "
            "what they were given, paused, or do not commit."
        )
    ]


def test_a_longer_look_without_a_commit_tells_that_nobody_commits() -> None:
    before = _group(_partition(100, 200))
    after = _group(_partition(100, 200), now_ms=NOW_MS + 10_000)
    assert diagnose(after, before) == [
        (
            "100 records wait in 1 partition, 0 a second come, and nothing was committed within 10 s: the members are "
            "busy with what they were given, paused, or do not commit."
        )
    ]


def test_only_a_position_that_stands_still_is_called_stuck() -> None:
    before = _group(_partition(5, 40, age_s=600), _partition(5, 40, number=1, age_s=600))
    after = _later(_partition(5, 40, age_s=600), _partition(9, 40, number=1, age_s=600))
    found = [each for each in diagnose(after, before) if "stuck" in each]
    assert len(found) == 1
    assert found[0].startswith("orders-0: the last commit is 10 min old")


def test_many_partitions_are_named_by_the_first_ones() -> None:
    facts = _group(*(_partition(5, -1, leader=-1, start=-1, number=each) for each in range(5)))
    assert diagnose(facts)[0].startswith("orders-0, orders-1, orders-2 and 2 more have no leader")

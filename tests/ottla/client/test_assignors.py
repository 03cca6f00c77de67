"""Every partition has one reader who wants it; Kafka's own assignments where these are fixed; little moves."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolSubscription

from ottla.client.assignors import Assignment, Assignor, GroupMember, assignors
from ottla.client.consumer_protocol import Subscription, decode_subscription, encode_subscription
from ottla.client.errors import ClientError
from ottla.client.records import TopicPartition

NAMES = ["range", "roundrobin", "sticky", "cooperative-sticky"]
TOPICS = ["a", "b", "c"]
COUNTS = st.fixed_dictionaries(dict.fromkeys(TOPICS, st.integers(0, 7)))
WANTS = st.dictionaries(
    st.sampled_from(["m1", "m2", "m3", "m4", "m5"]),
    st.lists(st.sampled_from(TOPICS), min_size=1, max_size=3, unique=True),
    min_size=1,
)
Wants = dict[str, list[str]]


def _assignor(name: str) -> Assignor:
    return assignors([name])[0]


def _members(
    assignor: Assignor, wants: Wants, had: Assignment | None = None, generation: int = -1
) -> list[GroupMember]:
    """As they arrive: through bytes."""
    return [
        GroupMember(
            name,
            None,
            decode_subscription(
                encode_subscription(
                    assignor.subscription(topics, (had or {}).get(name, []), generation)
                )
            ),
        )
        for name, topics in wants.items()
    ]


def _check_whole(found: Assignment, wants: Wants, counts: dict[str, int]) -> None:
    given_out = [where for each in found.values() for where in each]
    wanted = {topic for topics in wants.values() for topic in topics}
    assert sorted(given_out) == sorted(
        TopicPartition(topic, index) for topic in wanted for index in range(counts[topic])
    )
    for name, partitions in found.items():
        assert {each.topic for each in partitions} <= set(wants[name])


def _check_balanced(found: Assignment, wants: Wants) -> None:
    for rich, partitions in found.items():
        for poor, others in found.items():
            could_move = any(each.topic in wants[poor] for each in partitions)
            assert not (could_move and len(partitions) >= len(others) + 2), (rich, poor)


@pytest.mark.parametrize("name", NAMES)
@given(wants=WANTS, counts=COUNTS)
def test_every_partition_has_one_reader_who_wants_it(
    name: str, wants: Wants, counts: dict[str, int]
) -> None:
    assignor = _assignor(name)
    found = assignor.assign(_members(assignor, wants), counts)
    assert found.keys() == wants.keys()
    _check_whole(found, wants, counts)
    if "sticky" in name:
        _check_balanced(found, wants)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("range", RangePartitionAssignor), ("roundrobin", RoundRobinPartitionAssignor)],
)
@given(wants=WANTS, counts=COUNTS)
def test_the_assignment_is_kafka_pythons(
    name: str, theirs: Any, wants: Wants, counts: dict[str, int]
) -> None:
    if name == "roundrobin":
        # kafka-python 3.0 fails with a KeyError when wishes differ.
        wants = dict.fromkeys(wants, TOPICS)
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: set(range(counts[topic])))
    expected = theirs.assign(
        cluster,
        [
            SimpleNamespace(
                member_id=member,
                group_instance_id=None,
                metadata=ConsumerProtocolSubscription(0, topics, b""),
            )
            for member, topics in wants.items()
        ],
    )
    assignor = _assignor(name)
    found = assignor.assign(_members(assignor, wants), counts)
    assert {member: sorted(each) for member, each in found.items()} == {
        member: sorted(tuple(where) for where in each.partitions())
        for member, each in expected.items()
    }


def test_round_robin_skips_those_who_do_not_want_a_topic() -> None:
    assignor = _assignor("roundrobin")
    members = _members(assignor, {"m0": ["a"], "m1": ["a", "b"], "m2": ["a", "b", "c"]})
    found = assignor.assign(members, {"a": 1, "b": 2, "c": 3})
    assert {member: ["".join(map(str, each)) for each in got] for member, got in found.items()} == {
        "m0": ["a0"],
        "m1": ["b0"],
        "m2": ["b1", "c0", "c1", "c2"],
    }


def test_static_members_come_first_by_the_name_that_stays() -> None:
    assignor = _assignor("range")
    said = Subscription(("a",))
    members = [
        GroupMember("a-dynamic", None, said),
        GroupMember("z-1", "second", said),
        GroupMember("z-2", "first", said),
    ]
    found = assignor.assign(members, {"a": 4})
    assert [len(found[each]) for each in ("z-2", "z-1", "a-dynamic")] == [2, 1, 1]
    assert found["z-2"][0] == TopicPartition("a", 0)


@pytest.mark.parametrize("name", ["sticky", "cooperative-sticky"])
@given(wants=WANTS, counts=COUNTS, gone=st.sampled_from(["m1", "m2", "m3"]))
def test_nobody_gives_up_what_balance_lets_him_keep(
    name: str, wants: Wants, counts: dict[str, int], gone: str
) -> None:
    assignor = _assignor(name)
    before = assignor.assign(_members(assignor, wants), counts)
    same = assignor.assign(_members(assignor, wants, before, 1), counts)
    assert same == before
    left = {member: topics for member, topics in wants.items() if member != gone}
    if not left or len({tuple(sorted(each)) for each in left.values()}) > 1:
        return
    after = assignor.assign(_members(assignor, left, before, 1), counts)
    for member in left:
        # With equal wishes those who stay only get more when somebody goes.
        assert set(before[member]) <= set(after[member]) or len(before[member]) > min(
            len(each) for each in after.values()
        )


@given(wants=WANTS, counts=COUNTS, comes=st.lists(st.sampled_from(TOPICS), min_size=1, unique=True))
def test_cooperative_members_let_go_before_others_take(
    wants: Wants, counts: dict[str, int], comes: list[str]
) -> None:
    assignor = _assignor("cooperative-sticky")
    had = assignor.assign(_members(assignor, wants), counts)
    wants = wants | {"new": comes}
    for generation in range(1, 4):
        found = assignor.assign(_members(assignor, wants, had, generation), counts)
        for member, partitions in found.items():
            for other, owned in had.items():
                if other != member:
                    assert not set(partitions) & set(owned)
        if found == had:
            break
        had = found
    _check_whole(had, wants, counts)
    _check_balanced(had, wants)


@pytest.mark.parametrize("name", ["sticky", "cooperative-sticky"])
def test_of_two_who_claim_a_partition_the_later_generation_has_it(name: str) -> None:
    assignor = _assignor(name)
    where = TopicPartition("a", 0)
    old = _members(assignor, {"old": ["a"]}, {"old": [where]}, 3)
    new = _members(assignor, {"new": ["a"]}, {"new": [where]}, 4)
    found = assignor.assign([*old, *new], {"a": 1})
    # The cooperative one gives it to nobody while two believe to have it.
    assert found == {"old": [], "new": [where] if name == "sticky" else []}


def test_a_big_group_is_assigned_at_once() -> None:
    assignor = _assignor("sticky")
    wants = {f"m{number}": ["a"] for number in range(100)}
    before = assignor.assign(_members(assignor, wants), {"a": 1000})
    wants["late"] = ["a"]
    after = assignor.assign(_members(assignor, wants, before, 1), {"a": 1000})
    moved = sum(len(set(before.get(member, [])) - set(each)) for member, each in after.items())
    assert len(after["late"]) == moved == 9


def test_an_assignor_that_there_is_not_is_named() -> None:
    with pytest.raises(ClientError, match="no assignor 'fair'; there are range, roundrobin"):
        assignors(["fair"])
    with pytest.raises(ClientError, match="no assignor given"):
        assignors([])

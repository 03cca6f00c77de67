"""Members of other clients read what ours say, byte for byte; kafka-python is the oracle."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.coordinator.assignors.sticky.user_data import StickyAssignorUserData
from kafka.protocol.consumer.metadata import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)

from ottla.client import consumer_protocol as ours
from ottla.client.consumer_protocol import Subscription
from ottla.client.errors import ClientError
from ottla.client.records import TopicPartition

TOPICS = st.text("abcö.-_", min_size=1, max_size=6)
PARTITIONS = st.lists(
    st.builds(TopicPartition, TOPICS, st.integers(0, 2**31 - 1)), max_size=8, unique=True
)
SUBSCRIPTIONS = st.builds(
    Subscription,
    st.lists(TOPICS, max_size=4, unique=True).map(tuple),
    PARTITIONS.map(tuple),
    st.integers(-1, 2**31 - 1),
    st.none() | st.binary(max_size=8),
    st.none() | st.text("rack", max_size=4),
)
VERSIONS = st.integers(0, 3)


def _grouped(partitions: list[TopicPartition]) -> list[tuple[str, list[int]]]:
    topics: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        topics.setdefault(topic, []).append(partition)
    return list(topics.items())


@given(SUBSCRIPTIONS, VERSIONS)
def test_subscriptions_are_kafkas_bytes(wanted: Subscription, version: int) -> None:
    kind = ConsumerProtocolSubscription
    theirs = kind(
        version=version,
        topics=sorted(wanted.topics),
        user_data=wanted.user_data,
        owned_partitions=[
            kind.TopicPartition(topic=topic, partitions=found)
            for topic, found in _grouped(list(wanted.owned))
        ],
        generation_id=wanted.generation,
        rack_id=wanted.rack,
    ).encode(version=version)
    data = ours.encode_subscription(wanted, version)
    assert data[2:] == theirs[-len(data) + 2 :]
    assert data[:2] == version.to_bytes(2, "big")
    found = ours.decode_subscription(data)
    assert found.topics == tuple(sorted(wanted.topics))
    assert found.user_data == wanted.user_data
    assert sorted(found.owned) == (sorted(wanted.owned) if version >= 1 else [])
    assert found.generation == (wanted.generation if version >= 2 else -1)
    assert found.rack == (wanted.rack if version >= 3 else None)


@given(PARTITIONS, VERSIONS)
def test_assignments_are_kafkas_bytes(partitions: list[TopicPartition], version: int) -> None:
    theirs = ConsumerProtocolAssignment(
        version=version,
        assigned_partitions=[
            ConsumerProtocolAssignment.TopicPartition(topic=topic, partitions=found)
            for topic, found in _grouped(partitions)
        ],
        user_data=None,
    ).encode(version=version)
    data = ours.encode_assignment(partitions, version)
    assert data[2:] == theirs[-len(data) + 2 :]
    assert sorted(ours.decode_assignment(data)) == sorted(partitions)


@given(PARTITIONS, st.integers(-1, 2**31 - 1))
def test_what_the_sticky_assignor_remembers_is_kafkas_bytes(
    partitions: list[TopicPartition], generation: int
) -> None:
    theirs = StickyAssignorUserData(_grouped(partitions), generation).encode(version=1)
    data = ours.encode_sticky_data(partitions, generation)
    assert data == theirs[-len(data) :]
    owned, since = ours.decode_sticky_data(data)
    assert (sorted(owned), since) == (sorted(partitions), generation)


def test_a_newer_version_is_read_as_the_newest_that_is_known() -> None:
    data = ours.encode_subscription(Subscription(("a",), rack="r"))
    later = (9).to_bytes(2, "big") + data[2:] + b"and more"
    assert ours.decode_subscription(later) == Subscription(("a",), rack="r")


def test_no_bytes_are_no_partitions() -> None:
    assert ours.decode_assignment(b"") == ()


@given(st.binary(max_size=40))
def test_bytes_of_others_are_read_or_refused(data: bytes) -> None:
    for read in (ours.decode_subscription, ours.decode_assignment):
        with suppress(ClientError):
            read(data)
    ours.decode_sticky_data(data)
    ours.decode_generation(data)


def test_a_count_that_is_not_there_is_refused() -> None:
    with pytest.raises(ClientError, match="no ConsumerProtocolSubscription"):
        ours.decode_subscription(b"\0\1\x7f\xff\xff\xff")

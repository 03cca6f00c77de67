"""Topics are encoded once, and never told as they were before."""

from uuid import UUID

import pytest
from msgspec.structs import replace

from cluster.listeners.kafka import told_topics
from cluster.listeners.kafka.told_topics import ToldTopics
from kraft.metadata.image import (
    BrokerRegistration,
    MetadataImage,
    PartitionRegistration,
    TopicImage,
)
from wire.codec import decode, encode
from wire.messages.metadata import MetadataResponse, MetadataResponseTopic

LAST = 13
LED = PartitionRegistration(replicas=(1, 2, 3), isr=(1, 2, 3), leader=1, leader_epoch=4)
NOT_ASKED = -(2**31)


def broker(node_id: int, *, fenced: bool = False) -> BrokerRegistration:
    return BrokerRegistration(
        node_id=node_id, broker_epoch=1, incarnation=UUID(int=1), listeners={}, fenced=fenced
    )


BROKERS = {node_id: broker(node_id) for node_id in (1, 2, 3)}


def image_of(*topics: TopicImage) -> MetadataImage:
    return MetadataImage(
        brokers=BROKERS,
        topics_by_id={each.topic_id: each for each in topics},
        topics_by_name={each.name: each for each in topics},
    )


def topic(name: str, *partitions: PartitionRegistration) -> TopicImage:
    return TopicImage(name, UUID(bytes=name.encode() * 16), dict(enumerate(partitions)))


def told(
    to: ToldTopics,
    image: MetadataImage,
    name: str = "t",
    version: int = LAST,
    *,
    operations: bool = False,
) -> MetadataResponseTopic:
    found = to.topic(image, image.topics_by_name[name], version, with_operations=operations)
    flexible = version >= MetadataResponse.FLEXIBLE
    answer = encode(MetadataResponse(topics=(found,)), version, flexible)
    (read,) = decode(MetadataResponse, version, flexible, memoryview(answer)).topics
    return read


def test_every_version_is_told_as_if_nothing_had_been_kept() -> None:
    image = image_of(topic("t", LED, LED))
    to = ToldTopics()
    for version in range(LAST + 1):
        for _ in range(2):
            assert told(to, image, version=version) == told(ToldTopics(), image, version=version)


def test_the_same_is_encoded_once() -> None:
    image = image_of(topic("t", LED), topic("u", LED))
    to = ToldTopics()
    found = image.topics_by_name["t"]
    first = to.topic(image, found, LAST, with_operations=False)
    to.topic(image, image.topics_by_name["u"], LAST, with_operations=False)
    other = replace(image, topics_by_name={**image.topics_by_name}, offset=9)
    assert to.topic(other, found, LAST, with_operations=False) is first


def test_a_new_leader_is_told() -> None:
    to = ToldTopics()
    assert told(to, image_of(topic("t", LED))).partitions[0].leader_id == 1
    moved = replace(LED, leader=2, leader_epoch=5)
    assert told(to, image_of(topic("t", moved))).partitions[0].leader_id == 2


def test_a_broker_that_is_away_is_told_although_the_topic_is_the_same() -> None:
    to = ToldTopics()
    image = image_of(topic("t", LED))
    assert told(to, image).partitions[0].offline_replicas == ()
    away = replace(image, brokers={**image.brokers, 3: broker(3, fenced=True)})
    assert told(to, away).partitions[0].offline_replicas == (3,)
    assert told(to, image).partitions[0].offline_replicas == ()


def test_operations_are_told_to_who_asks() -> None:
    to = ToldTopics()
    image = image_of(topic("t", LED))
    for _ in range(2):
        plain = told(to, image).topic_authorized_operations
        asked = told(to, image, operations=True).topic_authorized_operations
        assert (plain, asked) == (NOT_ASKED, told_topics.TOPIC_OPERATIONS)


def test_no_more_is_kept_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_topics, "KEPT_MAX", 2)
    image = image_of(*(topic(name, LED) for name in "abcde"))
    to = ToldTopics()
    for _ in range(2):
        for name in "abcde":
            assert told(to, image, name).name == name
            assert len(to._kept) <= 2


def test_leaders_are_those_of_the_newest_topics() -> None:
    to = ToldTopics()
    assert to.leaders(image_of(topic("t", LED, replace(LED, leader=3)))) == {1, 3}
    assert to.leaders(image_of(topic("t", replace(LED, leader=2)))) == {2}

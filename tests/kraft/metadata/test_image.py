"""The image and its delta: sharing, what changed, reading through."""

from uuid import UUID

import pytest

from kraft.metadata import records as r
from kraft.metadata.delta import MetadataDelta
from kraft.metadata.effective_config import topic_resource
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage, snapshot_records
from tests.kraft.metadata.lab import Lab

A, B = UUID(int=1), UUID(int=2)


def partition(topic_id: UUID, number: int = 0) -> r.PartitionRecord:
    return r.PartitionRecord(
        topic_id=topic_id, partition=number, replicas=(1, 2), isr=(1, 2), leader=1
    )


def shrink(topic_id: UUID, epoch: int = 1) -> r.PartitionChange:
    return r.PartitionChange(topic_id=topic_id, partition=0, partition_epoch=epoch, isr=(1,))


def image_of(*batch: r.Record, base: MetadataImage = EMPTY_IMAGE) -> MetadataImage:
    delta = MetadataDelta(base)
    delta.replay_all(batch)
    return delta.apply(base.offset + 1, 1)


TWO = image_of(
    r.Topic(name="a", topic_id=A),
    partition(A),
    partition(A, 1),
    r.Topic(name="b", topic_id=B),
    partition(B),
    r.Config(resource_type=r.ResourceType.TOPIC, name="a", key="k", value="v"),
)


def test_an_image_is_found_by_name_and_by_id() -> None:
    assert TWO.topic("a") is TWO.topic(A)
    assert TWO.partition("a", 1) is TWO.partition(A, 1)
    assert TWO.partition("a", 2) is None
    assert TWO.partition("c", 0) is None
    assert [(topic.name, number) for topic, number, _ in TWO.partitions()] == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
    ]


def test_what_did_not_change_is_shared_and_the_old_image_stays() -> None:
    new = image_of(shrink(A), base=TWO)
    assert new.topic("b") is TWO.topic("b")
    assert new.partition("a", 1) is TWO.partition("a", 1)
    assert new.brokers is TWO.brokers
    assert new.configs is TWO.configs
    changed, before = new.partition("a", 0), TWO.partition("a", 0)
    assert changed is not None
    assert before is not None
    assert (changed.isr, before.isr) == ((1,), (1, 2))
    assert (new.offset, new.term) == (1, 1)


def test_a_delta_knows_what_changed() -> None:
    delta = MetadataDelta(TWO)
    delta.replay_all(
        [
            shrink(A),
            r.RemoveTopic(topic_id=B),
            r.Topic(name="b", topic_id=UUID(int=3)),
            partition(UUID(int=3)),
        ]
    )
    assert list(delta.changed_topics) == [A, UUID(int=3)]
    assert list(delta.changed_topics[A].changed) == [0]
    assert delta.deleted_topics == {B: TWO.topic(B)}
    assert delta.topic_id("b") == UUID(int=3)
    assert delta.topic_name(B) is None
    assert delta.partition(B, 0) is None
    assert list(delta.topic_ids()) == [A, UUID(int=3)]
    assert sorted(delta.topic_names()) == ["a", "b"]
    assert delta.partition(A, 1) is TWO.partition(A, 1)
    new = delta.apply(5, 2)
    assert new.topic("b") is new.topic(UUID(int=3))
    assert new.topic(B) is None


def test_a_topic_takes_its_configuration_with_it() -> None:
    new = image_of(r.RemoveTopic(topic_id=A), base=TWO)
    assert new.config(topic_resource("a")) == {}
    assert topic_resource("a") not in new.configs


def test_a_topic_that_came_and_went_in_one_batch_leaves_nothing() -> None:
    third = UUID(int=3)
    batch: list[r.Record] = [
        r.Topic(name="c", topic_id=third),
        partition(third),
        r.RemoveTopic(topic_id=third),
    ]
    new = image_of(*batch, base=TWO)
    assert new.topics_by_id == TWO.topics_by_id
    assert new.topics_by_name == TWO.topics_by_name


def test_many_batches_at_once_make_the_same_image_as_one_after_the_other() -> None:
    """A follower that is behind applies many log entries as one delta."""
    lab = Lab(3)
    lab.create("t", (1, 2, 3), (2, 3, 1))
    lab.fence(2)
    lab.start(2)
    lab.propose_isr("t", (1, 2, 3))
    together = MetadataDelta(EMPTY_IMAGE)
    for batch in lab.log:
        together.replay_all(batch)
    assert together.apply(lab.image.offset, 1) == lab.image


@pytest.mark.parametrize(
    "record",
    [
        r.PartitionChange(topic_id=A, partition=0, partition_epoch=2, isr=(1,)),
        r.PartitionChange(topic_id=A, partition=0, partition_epoch=0, isr=(1,)),
        r.PartitionChange(topic_id=A, partition=0, partition_epoch=1, leader_epoch=-1),
        r.PartitionChange(topic_id=A, partition=9, partition_epoch=1, isr=(1,)),
        r.Topic(name="a", topic_id=UUID(int=9)),
        r.Topic(name="c", topic_id=A),
        partition(A),
        r.RemoveTopic(topic_id=UUID(int=9)),
        r.BrokerChange(node_id=1, broker_epoch=1, fenced=True),
        r.UnregisterBroker(node_id=1, broker_epoch=1),
    ],
)
def test_a_record_that_does_not_fit_is_our_own_bug(record: r.Record) -> None:
    with pytest.raises(AssertionError):
        MetadataDelta(TWO).replay(record)


def test_the_snapshot_of_nothing_is_nothing() -> None:
    assert snapshot_records(EMPTY_IMAGE) == []


def test_a_snapshot_holds_the_counts_that_the_log_before_it_had() -> None:
    change = r.PartitionChange(
        topic_id=A, partition=0, partition_epoch=1, isr=(2,), leader=2, leader_epoch=1, unclean=True
    )
    new = image_of(change, r.ProducerIds(next_id=1000, broker=1), base=TWO)
    assert (new.unclean_elections, new.next_producer_id) == (1, 1000)
    again = image_of(*snapshot_records(new))
    assert (again.unclean_elections, again.next_producer_id) == (1, 1000)

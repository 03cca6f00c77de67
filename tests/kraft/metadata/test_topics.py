"""Topics are made, grown and removed."""

import pytest

from kraft.metadata import replies
from kraft.metadata.effective_config import topic_resource
from kraft.metadata.errors import (
    InvalidPartitionsError,
    InvalidReplicaAssignmentError,
    InvalidReplicationFactorError,
    UnknownTopicError,
)
from kraft.metadata.records import CLUSTER
from kraft.metadata.requests import CreatePartitions, CreateTopics, DeleteTopics, NewTopic
from storage.errors import ErrorCode
from tests.kraft.metadata.lab import Lab


def create(
    lab: Lab, *topics: NewTopic, validate_only: bool = False
) -> tuple[replies.CreatedTopic, ...]:
    request = CreateTopics(topics=topics, validate_only=validate_only)
    return lab.ask(request, replies.TopicsCreated).topics


def refused(lab: Lab, topic: NewTopic) -> tuple[int, str]:
    entries = len(lab.log)
    refusal = create(lab, topic)[0].refusal
    assert refusal is not None
    assert len(lab.log) == entries, "a refused topic leaves nothing behind"
    return refusal.code, refusal.message


def test_a_topic_is_placed_with_living_leaders() -> None:
    lab = Lab(3)
    made = create(lab, NewTopic(name="t", partitions=6, replication_factor=3))[0]
    assert (made.partitions, made.replication_factor, made.refusal) == (6, 3, None)
    topic = lab.image.topic("t")
    assert topic is not None
    assert topic.topic_id == made.topic_id
    leaders = [partition.leader for partition in topic.partitions.values()]
    assert sorted(leaders) == [1, 1, 2, 2, 3, 3]
    assert all(len(partition.isr) == 3 for partition in topic.partitions.values())


def test_the_clusters_defaults_are_used() -> None:
    lab = Lab(3, static={"num.partitions": "4", "default.replication.factor": "2"})
    made = create(lab, NewTopic(name="t"))[0]
    assert (made.partitions, made.replication_factor) == (4, 2)
    lab.configure(CLUSTER, {"num.partitions": "5"})
    assert create(lab, NewTopic(name="u", partitions=0))[0].partitions == 5


def test_a_topic_can_be_made_while_a_broker_is_away() -> None:
    lab = Lab(3)
    lab.fence(2)
    create(lab, NewTopic(name="t", partitions=3, replication_factor=3))
    for number in range(3):
        partition = lab.partition("t", number)
        assert set(partition.isr) == {1, 3}
        assert partition.replicas[2] == 2


def test_more_replicas_than_brokers_are_refused_naming_how_many_live() -> None:
    lab = Lab(3)
    lab.fence(2)
    code, message = refused(lab, NewTopic(name="t", replication_factor=4))
    assert code == ErrorCode.INVALID_REPLICATION_FACTOR
    assert "3 brokers are registered, 2 of them alive (1, 3)" in message


def test_a_cluster_without_a_living_broker_makes_no_topic() -> None:
    lab = Lab(2)
    lab.fence(1, 2)
    code, message = refused(lab, NewTopic(name="t", replication_factor=1))
    assert (code, "none of the 2" in message) == (ErrorCode.INVALID_REPLICATION_FACTOR, True)


@pytest.mark.parametrize(
    ("topic", "code", "words"),
    [
        (NewTopic(name="a b"), ErrorCode.INVALID_TOPIC_EXCEPTION, "only ASCII"),
        (NewTopic(name="taken"), ErrorCode.TOPIC_ALREADY_EXISTS, "'taken' already exists"),
        (NewTopic(name="ta_ken.x"), ErrorCode.INVALID_TOPIC_EXCEPTION, "'ta.ken_x'"),
        (NewTopic(name="t", partitions=-2), ErrorCode.INVALID_PARTITIONS, "-2 partitions"),
        (NewTopic(name="t", replication_factor=-3), ErrorCode.INVALID_REPLICATION_FACTOR, "-3"),
        (NewTopic(name="t", partitions=10_001), ErrorCode.POLICY_VIOLATION, "10000"),
        (
            NewTopic(name="t", configs={"retention": "1"}),
            ErrorCode.INVALID_CONFIG,
            "retention.ms",
        ),
        (
            NewTopic(name="t", assignments=((1, 9),)),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "not registered: 9",
        ),
        (
            NewTopic(name="t", assignments=((1, 1),)),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "twice",
        ),
        (
            NewTopic(name="t", assignments=((1, 2), (1,))),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "has 2 replicas",
        ),
        (NewTopic(name="t", assignments=((),)), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "no broker"),
        (NewTopic(name="t", assignments=((3,),)), ErrorCode.INVALID_REPLICA_ASSIGNMENT, "alive"),
        (
            NewTopic(name="t", assignments=((1,),), partitions=2),
            ErrorCode.INVALID_REQUEST,
            "one or the other",
        ),
        (
            NewTopic(name="t", assignments=((1,),), replication_factor=2),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            "one or the other",
        ),
    ],
)
def test_what_is_refused_and_why(topic: NewTopic, code: ErrorCode, words: str) -> None:
    lab = Lab(3)
    lab.create("taken", (1,))
    lab.create("ta.ken_x", (1,))
    lab.fence(3)
    found, message = refused(lab, topic)
    assert (ErrorCode(found), words in message) == (code, True), message


def test_one_bad_topic_does_not_spoil_the_others() -> None:
    lab = Lab(1)
    made = create(
        lab, NewTopic(name="a"), NewTopic(name="a"), NewTopic(name="b.c"), NewTopic(name="b_c")
    )
    assert [topic.refusal is None for topic in made] == [True, False, True, False]
    assert set(lab.image.topics_by_name) == {"a", "b.c"}


def test_validate_only_makes_nothing() -> None:
    lab = Lab(1)
    entries = len(lab.log)
    made = create(lab, NewTopic(name="a"), NewTopic(name=".."), validate_only=True)
    assert [topic.refusal is None for topic in made] == [True, False]
    assert len(lab.log) == entries


def test_configurations_come_with_the_topic_and_go_with_it() -> None:
    lab = Lab(1)
    lab.create("t", (1,), configs={"retention.ms": " 5 "})
    assert lab.image.config(topic_resource("t")) == {"retention.ms": "5"}
    lab.ask(DeleteTopics(names=("t",)), replies.TopicsDeleted)
    assert lab.image.config(topic_resource("t")) == {}
    lab.create("t", (1,))
    assert lab.image.config(topic_resource("t")) == {}


def test_a_topic_that_comes_back_is_another_topic() -> None:
    """I8, KAFKA-12257: the id tells them apart, and a leader of the old one changes nothing in the new one."""
    lab = Lab(2)
    old = lab.create("t", (1, 2))
    lab.ask(DeleteTopics(names=("t",)), replies.TopicsDeleted)
    new = lab.create("t", (1, 2))
    assert new != old
    assert set(lab.image.topics_by_id) == {new}


def test_deleting_names_each_topic_by_itself() -> None:
    lab = Lab(1)
    topic_id = lab.create("t", (1,))
    deleted = lab.ask(DeleteTopics(names=("t", "t", "u")), replies.TopicsDeleted).topics
    assert deleted[0].topic_id == topic_id
    assert [topic.refusal and topic.refusal.code for topic in deleted] == [None, 3, 3]


def test_partitions_are_added_where_the_topic_has_fewest() -> None:
    lab = Lab(3)
    lab.create("t", (1,), (1,))
    lab.ask(CreatePartitions(topic="t", total_count=4), replies.Done)
    assert sorted(lab.partition("t", n).leader for n in (2, 3)) == [2, 3]


def test_partitions_are_added_by_hand() -> None:
    lab = Lab(3)
    lab.create("t", (1, 2))
    request = CreatePartitions(topic="t", total_count=2, assignments=((3, 1),), validate_only=True)
    lab.ask(request, replies.Done)
    assert lab.image.partition("t", 1) is None
    lab.ask(CreatePartitions(topic="t", total_count=2, assignments=((3, 1),)), replies.Done)
    assert lab.partition("t", 1).replicas == (3, 1)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (CreatePartitions(topic="u", total_count=2), UnknownTopicError, "no topic 'u'"),
        (CreatePartitions(topic="t", total_count=1), InvalidPartitionsError, "has 1 partitions"),
        (CreatePartitions(topic="t", total_count=0), InvalidPartitionsError, "only be added"),
        (
            CreatePartitions(topic="t", total_count=3, assignments=((1, 2),)),
            InvalidReplicaAssignmentError,
            "gets 2 new partitions, but 1",
        ),
        (
            CreatePartitions(topic="t", total_count=2, assignments=((1,),)),
            InvalidReplicaAssignmentError,
            "has 2 replicas",
        ),
    ],
)
def test_partitions_that_cannot_be_added(
    request_: CreatePartitions, error: type[Exception], words: str
) -> None:
    lab = Lab(2)
    lab.create("t", (1, 2))
    with pytest.raises(error, match=words):
        lab.ask(request_, replies.Done)


def test_partitions_need_as_many_brokers_as_the_topic_has_replicas() -> None:
    lab = Lab(2)
    lab.create("t", (1, 2))
    lab.fence(1, 2)
    with pytest.raises(InvalidReplicationFactorError, match="none of the 2 registered"):
        lab.ask(CreatePartitions(topic="t", total_count=2), replies.Done)

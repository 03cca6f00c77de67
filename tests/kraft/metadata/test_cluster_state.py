"""The cluster's id, its metadata level and its producer ids; and the controller's door."""

import random

import pytest

from kraft.metadata import cluster_state, replies, requests
from kraft.metadata.controller import Controller
from kraft.metadata.errors import (
    FeatureUpdateFailedError,
    InvalidConfigError,
    InvalidRequestError,
    MetadataError,
    NotControllerError,
    Refusal,
    StaleBrokerEpochError,
    TopicExistsError,
)
from kraft.metadata.image import EMPTY_IMAGE
from kraft.metadata.records import CLUSTER, LATEST_METADATA_LEVEL, ClusterId, FeatureLevel
from kraft.metadata.requests import (
    AllocateProducerIds,
    Bootstrap,
    CreateTopics,
    FenceBroker,
    UpdateMetadataLevel,
)
from storage.errors import ErrorCode
from tests.kraft.metadata.lab import Lab


def test_the_first_controller_gives_the_cluster_its_id_and_level() -> None:
    lab = Lab(0)
    assert lab.log[0][0] == FeatureLevel(metadata_level=LATEST_METADATA_LEVEL)
    assert isinstance(lab.log[0][1], ClusterId)
    assert len(lab.image.cluster_id) == 22
    assert lab.ask(Bootstrap(cluster_id="other"), replies.Done) == replies.Done()
    assert len(lab.log) == 1
    assert Lab(0, seed=2).image.cluster_id != lab.image.cluster_id


def test_a_cluster_id_can_be_wished_for() -> None:
    result = Controller(random.Random(1), {}).handle(
        EMPTY_IMAGE, Bootstrap(cluster_id="mine"), next_offset=0
    )
    assert ClusterId(cluster_id="mine") in result.records


def test_what_safety_rests_on_goes_from_the_first_controllers_file_into_the_log() -> None:
    lab = Lab(0, static={"min.insync.replicas": "2", "log.retention.ms": "5"})
    assert lab.image.config(CLUSTER) == {"min.insync.replicas": "2"}
    with pytest.raises(InvalidConfigError):
        Lab(0, static={"min.insync.replicas": "none"})


def test_a_cluster_without_an_id_answers_nothing_else() -> None:
    with pytest.raises(NotControllerError):
        Controller(random.Random(1), {}).handle(EMPTY_IMAGE, CreateTopics(topics=()), next_offset=0)


def test_the_level_is_raised_on_purpose_and_never_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(2)
    with pytest.raises(FeatureUpdateFailedError, match="cannot be lowered"):
        lab.ask(UpdateMetadataLevel(level=0), replies.MetadataLevelUpdated)
    with pytest.raises(FeatureUpdateFailedError, match="upgrade all nodes first"):
        lab.ask(UpdateMetadataLevel(level=3), replies.MetadataLevelUpdated)
    assert lab.ask(UpdateMetadataLevel(level=2), replies.MetadataLevelUpdated).level == 2
    monkeypatch.setattr(cluster_state, "LATEST_METADATA_LEVEL", 3)
    with pytest.raises(FeatureUpdateFailedError, match=r"brokers \[1, 2\] do not know"):
        lab.ask(UpdateMetadataLevel(level=3), replies.MetadataLevelUpdated)


def test_producer_ids_are_never_handed_out_twice() -> None:
    lab = Lab(2)
    blocks = [
        lab.ask(
            AllocateProducerIds(node_id=node_id, broker_epoch=lab.epoch(node_id)),
            replies.ProducerIdBlock,
        )
        for node_id in (1, 2, 1)
    ]
    assert [(block.first_id, block.count) for block in blocks] == [
        (0, 1000),
        (1000, 1000),
        (2000, 1000),
    ]
    with pytest.raises(StaleBrokerEpochError):
        lab.ask(AllocateProducerIds(node_id=1, broker_epoch=0), replies.ProducerIdBlock)


def test_requests_that_only_the_controller_makes_are_not_taken_from_the_network() -> None:
    for internal in (Bootstrap(), FenceBroker(node_id=1, broker_epoch=1)):
        with pytest.raises(InvalidRequestError, match="no controller request"):
            requests.decode(requests.encode(internal))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        requests.decode(b"garbage")
    with pytest.raises(InvalidRequestError, match="no controller reply"):
        replies.decode(b"garbage")


def test_a_refusal_keeps_code_words_and_retriability_on_its_way() -> None:
    """I9."""
    for error in (TopicExistsError("t is there"), NotControllerError("ask another")):
        back = Refusal.of(error).to_error()
        assert (type(back), str(back)) == (type(error), str(error))
        assert back.retriable == error.retriable
    other = Refusal(int(ErrorCode.KAFKA_STORAGE_ERROR), "disk", retriable=True).to_error()
    assert (type(other), other.code, other.retriable) == (
        MetadataError,
        ErrorCode.KAFKA_STORAGE_ERROR,
        True,
    )
    assert Refusal(4711, "later").to_error().code is ErrorCode.UNKNOWN_SERVER_ERROR

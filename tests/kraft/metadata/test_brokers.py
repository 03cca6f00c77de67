"""Brokers: registration, fencing, controlled shutdown."""

from uuid import UUID

import pytest

from kraft.metadata import replies
from kraft.metadata.effective_config import topic_resource
from kraft.metadata.errors import (
    BrokerNotRegisteredError,
    DuplicateBrokerRegistrationError,
    InconsistentClusterIdError,
    InvalidRequestError,
    StaleBrokerEpochError,
    UnsupportedVersionError,
)
from kraft.metadata.records import Endpoint
from kraft.metadata.requests import (
    BrokerHeartbeat,
    FenceBroker,
    RegisterBrokerRequest,
    UnregisterBrokerRequest,
)
from tests.kraft.metadata.lab import Lab


def request(node_id: int = 9, **fields: object) -> RegisterBrokerRequest:
    told = {
        "cluster_id": "",
        "incarnation": UUID(int=1),
        "listeners": {"PEER": Endpoint("h", 1)},
        **fields,
    }
    return RegisterBrokerRequest(node_id=node_id, **told)  # type: ignore[arg-type]


def test_a_broker_begins_fenced_and_its_epoch_is_the_logs_offset() -> None:
    lab = Lab(0)
    offset = len(lab.log)
    assert lab.register(1) == offset
    assert lab.image.brokers[1].fenced
    assert lab.image.brokers[1].listeners["GRPC"] == Endpoint("host", 9001)


def test_a_broker_is_unfenced_once_it_has_applied_its_own_registration() -> None:
    lab = Lab(0)
    epoch = lab.register(1)
    behind = BrokerHeartbeat(node_id=1, broker_epoch=epoch, metadata_offset=epoch - 1)
    assert lab.ask(behind, replies.HeartbeatReply) == replies.HeartbeatReply(
        fenced=True, caught_up=False
    )
    reply = lab.heartbeat(1)
    assert (reply.fenced, reply.caught_up) == (False, True)


def test_a_broker_that_wants_to_stay_fenced_is_left_so() -> None:
    lab = Lab(0)
    lab.register(1)
    assert lab.heartbeat(1, wants_fence=True).fenced
    assert not lab.heartbeat(1).fenced
    assert lab.heartbeat(1, wants_fence=True).fenced


def test_each_incarnation_gets_a_higher_epoch_and_the_old_one_is_refused() -> None:
    lab = Lab(2)
    old = lab.epoch(1)
    lab.fence(1)
    assert lab.register(1) > old
    with pytest.raises(StaleBrokerEpochError, match="a later incarnation"):
        lab.ask(
            BrokerHeartbeat(node_id=1, broker_epoch=old, metadata_offset=99),
            replies.HeartbeatReply,
        )


def test_asking_twice_registers_once() -> None:
    """The first answer may have been lost on the way."""
    lab = Lab(0)
    incarnation = UUID(int=77)
    epoch = lab.register(1, incarnation=incarnation)
    lab.heartbeat(1)
    entries = len(lab.log)
    assert lab.register(1, incarnation=incarnation) == epoch
    assert len(lab.log) == entries
    assert not lab.image.brokers[1].fenced


def test_the_same_incarnation_may_move_its_listeners() -> None:
    lab = Lab(0)
    lab.ask(request(), replies.BrokerRegistered)
    lab.heartbeat(9)
    moved = request(listeners={"PEER": Endpoint("h", 2)})
    lab.ask(moved, replies.BrokerRegistered)
    assert lab.image.brokers[9].listeners == {"PEER": Endpoint("h", 2)}
    assert not lab.image.brokers[9].fenced


def test_a_node_id_in_use_is_refused_while_its_owner_lives() -> None:
    lab = Lab(1)
    with pytest.raises(DuplicateBrokerRegistrationError, match=r"node id 1 .*PEER://host:9101"):
        lab.register(1, directory_id=UUID(int=50))
    lab.fence(1)
    lab.register(1, directory_id=UUID(int=50))


def test_another_clusters_broker_is_refused() -> None:
    with pytest.raises(InconsistentClusterIdError, match="belongs to cluster elsewhere"):
        Lab(0).ask(request(cluster_id="elsewhere"), replies.BrokerRegistered)


def test_a_broker_that_does_not_know_the_level_is_refused() -> None:
    with pytest.raises(UnsupportedVersionError, match=r"levels 3 to 4, the cluster is at 2"):
        Lab(0).ask(request(min_metadata_level=3, max_metadata_level=4), replies.BrokerRegistered)


def test_a_negative_node_id_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="node id -1"):
        Lab(0).ask(request(-1), replies.BrokerRegistered)


def test_an_unknown_broker_is_told_to_register() -> None:
    with pytest.raises(BrokerNotRegisteredError, match="must register"):
        Lab(0).ask(
            BrokerHeartbeat(node_id=1, broker_epoch=0, metadata_offset=0), replies.HeartbeatReply
        )


def test_fencing_moves_leaderships_in_one_log_entry() -> None:
    lab = Lab(3)
    lab.create("t", (1, 2, 3), (2, 3, 1), (3, 1, 2))
    entries = len(lab.log)
    lab.fence(1)
    assert len(lab.log) == entries + 1
    assert [lab.partition("t", n).leader for n in range(3)] == [2, 2, 3]
    assert all(1 not in lab.partition("t", n).isr for n in range(3))


def test_fencing_an_earlier_incarnation_or_a_fenced_broker_does_nothing() -> None:
    lab = Lab(1)
    entries = len(lab.log)
    lab.ask(FenceBroker(node_id=1, broker_epoch=lab.epoch(1) - 1), replies.Done)
    lab.ask(FenceBroker(node_id=5, broker_epoch=0), replies.Done)
    assert len(lab.log) == entries
    lab.fence(1)
    entries = len(lab.log)
    lab.fence(1)
    assert len(lab.log) == entries


def test_a_broker_that_comes_back_leads_what_nobody_else_can() -> None:
    lab = Lab(2)
    lab.create("t", (1,))
    lab.fence(1)
    assert (lab.partition("t").leader, lab.partition("t").elr) == (-1, (1,))
    lab.heartbeat(1)
    assert (lab.partition("t").leader, lab.partition("t").isr) == (1, (1,))


# The last replica standing and its disk: I4, KIP-966


def test_an_fsynced_broker_is_trusted_after_a_crash() -> None:
    lab = Lab(1)
    lab.create("t", (1,))
    lab.fence(1)
    lab.register(1, clean_shutdown=False)
    lab.heartbeat(1)
    assert lab.partition("t").leader == 1


def test_a_page_cached_broker_is_trusted_only_after_a_clean_stop() -> None:
    for clean, leader in [(True, 1), (False, -1)]:
        lab = Lab(1)
        lab.create("t", (1,), configs={"flush.policy": "os"})
        lab.fence(1)
        lab.register(1, clean_shutdown=clean)
        lab.heartbeat(1)
        assert lab.partition("t").leader == leader
        assert lab.partition("t").last_known_elr == (() if clean else (1,))


def test_a_broker_on_a_new_disk_is_not_trusted_at_all() -> None:
    lab = Lab(1)
    lab.create("t", (1,))
    lab.fence(1)
    lab.register(1, directory_id=UUID(int=999), clean_shutdown=True)
    lab.heartbeat(1)
    partition = lab.partition("t")
    assert (partition.leader, partition.elr, partition.last_known_elr) == (-1, (), (1,))


# Controlled shutdown


def test_a_controlled_shutdown_moves_leaders_first_and_stops_when_all_know() -> None:
    lab = Lab(3)
    lab.create("t", (1, 2, 3))
    reply = lab.heartbeat(1, wants_shutdown=True)
    assert (reply.may_stop, reply.in_controlled_shutdown, reply.fenced) == (False, True, False)
    assert (lab.partition("t").leader, lab.partition("t").isr) == (2, (2, 3))
    moved_at = lab.image.brokers[1].shutdown_offset
    reply = lab.heartbeat(1, wants_shutdown=True, brokers_applied=moved_at - 1)
    assert not reply.may_stop, "clients may still be sent to it"
    reply = lab.heartbeat(1, wants_shutdown=True, brokers_applied=moved_at)
    assert (reply.may_stop, reply.fenced) == (True, True)


def test_a_fenced_broker_may_stop_at_once() -> None:
    lab = Lab(2)
    lab.fence(1)
    assert lab.heartbeat(1, wants_shutdown=True).may_stop


def test_a_broker_that_leaves_cannot_come_back_into_an_isr() -> None:
    lab = Lab(3)
    lab.create("t", (1, 2, 3))
    lab.heartbeat(1, wants_shutdown=True)
    lab.heartbeat(1)
    assert lab.propose_isr("t", (1, 2, 3)).refusal is not None


def test_a_stopped_broker_comes_back_as_a_new_incarnation() -> None:
    lab = Lab(3)
    lab.create("t", (1, 2, 3))
    lab.heartbeat(1, wants_shutdown=True)
    assert lab.heartbeat(1, wants_shutdown=True).may_stop
    assert lab.heartbeat(1).fenced, "it said that it stops"
    lab.start(1)
    assert not lab.image.brokers[1].in_controlled_shutdown


def test_the_whole_cluster_can_be_stopped_and_started() -> None:
    lab = Lab(3)
    lab.create("t", (1, 2, 3), configs={"min.insync.replicas": "2"})
    for node_id in (1, 2, 3):
        lab.heartbeat(node_id, wants_shutdown=True)
        assert lab.heartbeat(node_id, wants_shutdown=True).may_stop
    assert (lab.partition("t").leader, lab.partition("t").elr) == (-1, (2, 3))
    lab.start(1)
    assert lab.partition("t").leader == -1, "1 left while 2 and 3 could commit without it"
    lab.start(2)
    assert lab.partition("t").leader == 2


# Gone for good


def test_an_unregistered_broker_is_out_of_everything_but_assignments() -> None:
    lab = Lab(3)
    lab.create("t", (1, 2, 3))
    lab.create("alone", (1,))
    lab.ask(UnregisterBrokerRequest(node_id=1), replies.Done)
    assert 1 not in lab.image.brokers
    assert (lab.partition("t").leader, lab.partition("t").isr) == (2, (2, 3))
    assert (lab.partition("alone").isr, lab.partition("alone").elr) == ((), ())
    lab.start(1)
    assert lab.partition("alone").leader == -1
    with pytest.raises(BrokerNotRegisteredError):
        lab.ask(UnregisterBrokerRequest(node_id=7), replies.Done)


def test_unregistering_does_not_touch_configurations_of_topics() -> None:
    lab = Lab(2)
    lab.create("t", (1, 2), configs={"retention.ms": "5"})
    lab.ask(UnregisterBrokerRequest(node_id=1), replies.Done)
    assert lab.image.config(topic_resource("t")) == {"retention.ms": "5"}

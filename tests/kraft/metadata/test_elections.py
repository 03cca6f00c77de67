"""Elections that somebody asks for (I5: unclean ones only on purpose, and counted)."""

from kraft.metadata import replies
from kraft.metadata.effective_config import topic_resource
from kraft.metadata.records import CLUSTER
from kraft.metadata.requests import (
    AlterPartition,
    ElectLeaders,
    IsrMember,
    IsrProposal,
    RebalanceLeaders,
)
from storage.errors import ErrorCode
from tests.kraft.metadata.lab import EVERYBODY, Lab

UNCLEAN_KEY = "unclean.leader.election.enable"


def elect(
    lab: Lab, *partitions: tuple[str, int], unclean: bool = False
) -> list[tuple[str, int, int, ErrorCode]]:
    request = ElectLeaders(unclean=unclean, partitions=partitions)
    return [
        (one.topic, one.partition, one.leader, ErrorCode(one.refusal.code if one.refusal else 0))
        for one in lab.ask(request, replies.LeadersElected).partitions
    ]


def moved_leader() -> Lab:
    """A topic whose preferred leader came back into the ISR."""
    lab = Lab(3)
    lab.create("t", (1, 2, 3))
    lab.fence(1)
    lab.heartbeat(1)
    lab.propose_isr("t", (1, 2, 3))
    assert lab.partition("t").leader == 2
    return lab


def dead_isr() -> Lab:
    """A topic of which only a replica outside ISR and ELR is alive."""
    lab = Lab(2)
    lab.create("t", (1, 2))
    lab.fence(2, 1)
    lab.heartbeat(2)
    assert (lab.partition("t").leader, lab.partition("t").elr) == (-1, (1,))
    return lab


def test_the_preferred_leader_is_elected() -> None:
    lab = moved_leader()
    assert elect(lab, ("t", 0)) == [("t", 0, 1, ErrorCode.NONE)]
    assert (lab.partition("t").leader, lab.partition("t").leader_epoch) == (1, 2)
    assert elect(lab, ("t", 0)) == [("t", 0, -1, ErrorCode.ELECTION_NOT_NEEDED)]
    assert elect(lab) == []


def test_a_preferred_leader_that_is_not_in_sync_is_not_elected() -> None:
    lab = Lab(2)
    lab.create("t", (1, 2))
    lab.fence(1)
    lab.heartbeat(1)
    expected = [("t", 0, -1, ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE)]
    assert elect(lab, ("t", 0)) == expected
    assert elect(lab) == expected
    assert lab.partition("t").leader == 2


def test_elections_in_unknown_partitions_are_refused() -> None:
    lab = moved_leader()
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert elect(lab, ("u", 0), ("t", 1)) == [("u", 0, -1, unknown), ("t", 1, -1, unknown)]


def test_nobody_outside_isr_and_elr_leads_by_itself() -> None:
    """I5, KAFKA-4623: whatever happens around."""
    lab = dead_isr()
    lab.heartbeat(2)
    lab.ask(RebalanceLeaders(brokers=EVERYBODY), replies.LeadersRebalanced)
    elect(lab)
    lab.configure(topic_resource("t"), {"retention.ms": "5"})
    assert lab.partition("t").leader == -1
    assert lab.image.unclean_elections == 0


def test_the_operator_may_elect_uncleanly_and_it_is_counted() -> None:
    lab = dead_isr()
    assert elect(lab, ("t", 0), unclean=True) == [("t", 0, 2, ErrorCode.NONE)]
    assert lab.image.unclean_elections == 1
    assert (lab.partition("t").isr, lab.partition("t").elr) == ((2,), ())
    assert elect(lab, ("t", 0), unclean=True)[0][3] is ErrorCode.ELECTION_NOT_NEEDED
    assert elect(lab, unclean=True) == []


def test_an_unclean_election_takes_an_eligible_replica_where_there_is_one() -> None:
    lab = dead_isr()
    lab.heartbeat(1)
    assert lab.partition("t").leader == 1
    assert lab.image.unclean_elections == 0


def test_an_unclean_election_needs_somebody_alive() -> None:
    lab = dead_isr()
    lab.fence(2)
    assert elect(lab, unclean=True) == [("t", 0, -1, ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE)]


def test_a_topic_may_allow_it_for_good_and_it_is_counted_as_well() -> None:
    for resource in (topic_resource("t"), CLUSTER):
        lab = dead_isr()
        lab.configure(resource, {UNCLEAN_KEY: "true"})
        assert (lab.partition("t").leader, lab.image.unclean_elections) == (2, 1)
        lab.configure(resource, {UNCLEAN_KEY: "false"})
        lab.fence(2)
        lab.heartbeat(1)
        assert (lab.partition("t").leader, lab.image.unclean_elections) == (-1, 1)


def test_preferred_leaders_are_restored_a_bounded_number_at_a_time() -> None:
    lab = Lab(2)
    lab.create("t", *[(1, 2)] * 5)
    lab.create("lagging", (1, 2))
    lab.fence(1)
    lab.heartbeat(1)
    for number in range(5):
        topic = lab.image.topics_by_name["t"]
        partition = topic.partitions[number]
        proposal = IsrProposal(
            topic_id=topic.topic_id,
            partition=number,
            leader_epoch=partition.leader_epoch,
            partition_epoch=partition.partition_epoch,
            isr=(IsrMember(1, lab.epoch(1)), IsrMember(2, lab.epoch(2))),
        )
        lab.ask(
            AlterPartition(node_id=2, broker_epoch=lab.epoch(2), proposals=(proposal,)),
            replies.PartitionsAltered,
        )
    first = lab.ask(RebalanceLeaders(brokers=EVERYBODY, max_changes=3), replies.LeadersRebalanced)
    assert (first.moved, first.more) == (3, True)
    second = lab.ask(RebalanceLeaders(brokers=EVERYBODY, max_changes=3), replies.LeadersRebalanced)
    assert (second.moved, second.more) == (2, False)
    assert lab.partition("lagging").leader == 2


def test_a_leadership_does_not_go_back_to_a_broker_that_may_not_have_it_yet() -> None:
    lab = Lab(2)
    lab.create("t", (1, 2))
    lab.fence(1)
    lab.heartbeat(1)
    lab.propose_isr("t", (1, 2))
    assert lab.ask(RebalanceLeaders(brokers=(2,)), replies.LeadersRebalanced).moved == 0
    assert lab.ask(RebalanceLeaders(brokers=(1, 2)), replies.LeadersRebalanced).moved == 1


def test_preferred_leaders_are_left_alone_where_that_is_wanted() -> None:
    lab = Lab(2)
    lab.create("t", (1, 2))
    lab.fence(1)
    lab.heartbeat(1)
    lab.propose_isr("t", (1, 2))
    lab.configure(CLUSTER, {"auto.leader.rebalance.enable": "false"})
    assert lab.ask(RebalanceLeaders(brokers=EVERYBODY), replies.LeadersRebalanced).moved == 0
    lab.configure(CLUSTER, unset=("auto.leader.rebalance.enable",))
    assert lab.ask(RebalanceLeaders(brokers=EVERYBODY), replies.LeadersRebalanced).moved == 1


def test_how_often_leaders_are_looked_at_is_the_clusters_word_before_a_nodes_file() -> None:
    key = "leader.imbalance.check.interval.seconds"
    lab = Lab(1, static={key: "7"})
    assert lab.controller.rebalance_interval_s(lab.image) == 7
    lab.configure(CLUSTER, {key: "60"})
    assert lab.controller.rebalance_interval_s(lab.image) == 60

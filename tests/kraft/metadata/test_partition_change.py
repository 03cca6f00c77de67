"""One change of one partition: ISR, ELR, leader and epochs (KIP-455, KIP-841, KIP-966)."""

from uuid import UUID

from kraft.metadata.delta import merged
from kraft.metadata.image import PartitionRegistration
from kraft.metadata.leader_election import Election
from kraft.metadata.partition_change import (
    NOTHING_WANTED,
    Facts,
    Wanted,
    effective_min_isr,
    partition_change,
)
from kraft.metadata.records import PartitionChange

TOPIC = UUID(int=1)
HEALTHY = PartitionRegistration(
    replicas=(1, 2, 3), isr=(1, 2, 3), leader=1, leader_epoch=5, partition_epoch=9
)


def change(
    old: PartitionRegistration,
    eligible: set[int],
    wanted: Wanted = NOTHING_WANTED,
    *,
    min_isr: int = 2,
    unclean: bool = False,
) -> PartitionChange | None:
    return partition_change(TOPIC, 0, old, Facts(eligible, min_isr, unclean), wanted)


def after(
    old: PartitionRegistration,
    eligible: set[int],
    wanted: Wanted = NOTHING_WANTED,
    *,
    min_isr: int = 2,
    unclean: bool = False,
) -> PartitionRegistration:
    record = change(old, eligible, wanted, min_isr=min_isr, unclean=unclean)
    assert record is not None
    return merged(old, record)


def test_nothing_to_do_is_no_record() -> None:
    assert change(HEALTHY, {1, 2, 3}) is None
    assert change(HEALTHY, {1, 2, 3, 4}, Wanted(isr=(3, 2, 1))) is None


def test_only_what_changed_is_in_the_record() -> None:
    assert change(HEALTHY, {1, 2}) == PartitionChange(
        topic_id=TOPIC, partition=0, partition_epoch=10, isr=(1, 2)
    )


def test_the_leader_epoch_grows_with_the_leader_and_the_partition_epoch_with_everything() -> None:
    follower_lost = after(HEALTHY, {1, 2})
    assert (follower_lost.leader_epoch, follower_lost.partition_epoch) == (5, 10)
    leader_lost = after(HEALTHY, {2, 3})
    assert (leader_lost.leader, leader_lost.leader_epoch, leader_lost.partition_epoch) == (2, 6, 10)
    all_lost = after(leader_lost, set())
    assert (all_lost.leader, all_lost.leader_epoch, all_lost.partition_epoch) == (-1, 7, 11)


def test_members_become_eligible_only_when_the_isr_falls_below_its_minimum() -> None:
    two = after(HEALTHY, {1, 2})
    assert (two.isr, two.elr) == ((1, 2), ())
    one = after(two, {1})
    assert (one.isr, one.elr) == ((1,), (2,)), "3 left while the high watermark could move"


def test_the_last_member_standing_stays_eligible() -> None:
    """I4: and so does whoever left while the high watermark stood still."""
    nobody = after(after(after(HEALTHY, {1, 2}), {1}), set())
    assert (nobody.isr, nobody.elr, nobody.leader) == ((), (1, 2), -1)
    back = after(nobody, {2, 3})
    assert (back.isr, back.elr, back.leader) == ((2,), (1,), 2)
    whole = after(back, {1, 2, 3}, Wanted(isr=(1, 2)))
    assert (whole.isr, whole.elr, whole.leader) == ((1, 2), (), 2)


def test_an_eligible_replica_that_lost_its_disk_is_only_a_last_hope() -> None:
    nobody = after(after(HEALTHY, {1}), set())
    assert nobody.elr == (1, 2, 3)
    lost = after(nobody, set(), Wanted(lost=frozenset([1])))
    assert (lost.elr, lost.last_known_elr) == ((2, 3), (1,))
    lost = after(lost, set(), Wanted(lost=frozenset([2, 3])))
    assert (lost.elr, lost.last_known_elr) == ((), (1, 2, 3))
    assert change(lost, {1, 2, 3}) is None, "I5: not without the operator"
    forced = after(lost, {1, 2, 3}, Wanted(election=Election.UNCLEAN))
    assert (forced.leader, forced.isr, forced.last_known_elr) == (1, (1,), ())


def test_an_unclean_election_is_marked_and_voids_the_elr() -> None:
    nobody = after(after(HEALTHY, {2}), set())
    record = change(nobody, {3}, unclean=True, min_isr=3)
    assert record is not None
    assert not record.unclean, "3 is eligible"
    nobody = after(after(after(HEALTHY, {1, 2}), {1}), set())
    record = change(nobody, {3}, unclean=True)
    assert record is not None
    assert record.unclean
    new = merged(nobody, record)
    assert (new.leader, new.isr, new.elr) == (3, (3,), ())


def test_a_topic_cannot_ask_for_more_in_sync_replicas_than_it_has() -> None:
    assert effective_min_isr(3, 2) == 2
    pair = PartitionRegistration(replicas=(1, 2), isr=(1, 2), leader=1)
    one = after(pair, {1}, min_isr=3)
    assert one.elr == (2,)
    both = after(one, {1, 2}, Wanted(isr=(1, 2)), min_isr=3)
    assert both.elr == ()


def test_the_isr_takes_in_nobody_that_is_fenced() -> None:
    """KIP-841, I2: even if somebody asks for it."""
    one = after(HEALTHY, {1})
    assert change(one, {1}, Wanted(isr=(1, 2, 3))) is None


MOVING = PartitionRegistration(
    replicas=(4, 5, 1, 2),
    isr=(1, 2),
    leader=1,
    leader_epoch=5,
    partition_epoch=9,
    adding=(4, 5),
    removing=(1, 2),
)


def test_a_reassignment_completes_with_its_last_new_member() -> None:
    one = after(MOVING, {1, 2, 4, 5}, Wanted(isr=(1, 2, 4)))
    assert (one.replicas, one.leader, one.adding) == ((4, 5, 1, 2), 1, (4, 5))
    done = after(one, {1, 2, 4, 5}, Wanted(isr=(1, 2, 4, 5)))
    assert (done.replicas, done.isr, done.adding, done.removing) == ((4, 5), (4, 5), (), ())
    assert (done.leader, done.leader_epoch) == (4, 6)


def test_a_reassignment_does_not_complete_on_a_dead_member() -> None:
    one = after(MOVING, {1, 2, 4}, Wanted(isr=(1, 2, 4, 5)))
    assert (one.isr, one.adding) == ((4, 1, 2), (4, 5))


def test_dropping_replicas_waits_until_the_rest_is_in_sync() -> None:
    old = PartitionRegistration(replicas=(1, 2, 3), isr=(3,), elr=(), leader=3, leader_epoch=5)
    begun = after(old, {1, 2, 3}, Wanted(replicas=(1, 2, 3), removing=(3,)), min_isr=1)
    assert begun.replicas == (1, 2, 3)
    assert begun.leader == 3
    done = after(begun, {1, 2, 3}, Wanted(isr=(2, 3)), min_isr=1)
    assert (done.replicas, done.isr, done.leader, done.leader_epoch) == ((1, 2), (2,), 2, 6)


def test_a_replica_that_is_dropped_makes_a_new_leader_epoch() -> None:
    """Its fetches must be refused from then on."""
    done = after(HEALTHY, {1, 2, 3}, Wanted(replicas=(1, 2, 3), removing=(3,)))
    assert (done.replicas, done.leader, done.leader_epoch) == ((1, 2), 1, 6)

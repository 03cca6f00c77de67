"""The difference of two images as one broker sees it."""

import itertools
from dataclasses import dataclass
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from cluster.failover.local_changes import LocalChanges, local_changes
from cluster.replication.partition import TopicIdPartition
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage, PartitionRegistration, TopicImage

ME = 1
T = UUID(int=1)


def image(*topics: TopicImage) -> MetadataImage:
    return MetadataImage(
        topics_by_id={each.topic_id: each for each in topics},
        topics_by_name={each.name: each for each in topics},
    )


def topic(*partitions: PartitionRegistration, topic_id: UUID = T) -> TopicImage:
    return TopicImage("t", topic_id, dict(enumerate(partitions)))


def part(
    leader: int, epoch: int = 0, *, partition_epoch: int = 0, replicas: tuple[int, ...] = (1, 2, 3)
) -> PartitionRegistration:
    return PartitionRegistration(
        replicas=replicas,
        isr=replicas,
        leader=leader,
        leader_epoch=epoch,
        partition_epoch=partition_epoch,
    )


def test_nothing_changes_between_equal_images() -> None:
    one = image(topic(part(1)))
    assert not local_changes(one, one, ME)


def test_a_new_topic_is_led_or_followed() -> None:
    changes = local_changes(
        EMPTY_IMAGE, image(topic(part(1), part(2), part(2, replicas=(2, 3)))), ME
    )
    assert [each.identity.partition for each in changes.leaders] == [0]
    assert [each.identity.partition for each in changes.followers] == [1]


def test_a_new_leader_epoch_begins_anew_even_with_the_same_leader() -> None:
    changes = local_changes(image(topic(part(1, 3))), image(topic(part(1, 4))), ME)
    assert len(changes.leaders) == 1
    assert not changes.updated


def test_an_isr_change_only_updates_the_leader() -> None:
    old, new = image(topic(part(1, 3))), image(topic(part(1, 3, partition_epoch=1)))
    assert len(local_changes(old, new, ME).updated) == 1
    assert not local_changes(old, new, 2)


def test_a_partition_that_moves_away_is_removed_and_one_whose_topic_is_gone_deleted() -> None:
    old = image(topic(part(1)))
    assert local_changes(old, image(topic(part(2, 1, replicas=(2, 3)))), ME).removed == [(T, 0)]
    assert local_changes(old, image(), ME).deleted == [(T, 0)]


def test_a_recreated_topic_is_another_one() -> None:
    """I8: the name says nothing."""
    other = UUID(int=2)
    changes = local_changes(image(topic(part(1))), image(topic(part(1), topic_id=other)), ME)
    assert changes.deleted == [(T, 0)]
    assert [each.identity for each in changes.leaders] == [(other, 0)]


@dataclass
class Local:
    """What a broker has, as told by changes: identity -> (role, leader, epoch, what a leader knows)."""

    replicas: dict[TopicIdPartition, tuple[str, int, int, int]]

    def take(self, changes: LocalChanges) -> None:
        for identity in (*changes.deleted, *changes.removed):
            self.replicas.pop(identity, None)
        for role, replicas in (
            ("leader", (*changes.leaders, *changes.updated)),
            ("follower", changes.followers),
        ):
            for each in replicas:
                found = each.registration
                known = found.partition_epoch if role == "leader" else -1
                self.replicas[each.identity] = (role, found.leader, found.leader_epoch, known)


REPLICAS = st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True).map(tuple)
CHANGES = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.sampled_from(["lead", "isr", "assign", "delete"]),
        st.integers(-1, 2),
        REPLICAS,
    ),
    max_size=12,
)


def history(changes: list[tuple[int, str, int, tuple[int, ...]]]) -> list[MetadataImage]:
    """Images one record apart, each sharing with the one before what has not changed."""
    images = [EMPTY_IMAGE]
    for number, kind, leader, replicas in changes:
        topics = dict(images[-1].topics_by_id)
        topic_id = UUID(int=number)
        old = topics.pop(topic_id, None)
        if kind != "delete":
            before = old.partitions[0] if old is not None else part(-1, -1, partition_epoch=-1)
            fresh = part(
                replicas[leader % len(replicas)] if leader >= 0 else -1,
                before.leader_epoch + 1,
                partition_epoch=before.partition_epoch + 1,
                replicas=replicas,
            )
            if kind == "isr" and old is not None:
                fresh = part(
                    before.leader,
                    before.leader_epoch,
                    partition_epoch=before.partition_epoch + 1,
                    replicas=before.replicas,
                )
            topics[topic_id] = TopicImage(f"t{number}", topic_id, {0: fresh})
        images.append(image(*topics.values()))
    return images


@given(changes=CHANGES, node_id=st.integers(1, 3))
def test_a_jump_leads_to_where_the_single_steps_lead(
    changes: list[tuple[int, str, int, tuple[int, ...]]], node_id: int
) -> None:
    """A snapshot, or images taken in together, must mean the same as record by record."""
    images = history(changes)
    step, jump = Local({}), Local({})
    for old, new in itertools.pairwise(images):
        step.take(local_changes(old, new, node_id))
    jump.take(local_changes(images[0], images[-1], node_id))
    assert step == jump

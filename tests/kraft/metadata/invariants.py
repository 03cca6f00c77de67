"""What holds in every metadata image and in every step from one to the next, whoever made it. Usable by any test."""

from collections.abc import Iterable

from kraft.metadata.delta import MetadataDelta
from kraft.metadata.effective_config import floors, topic_value
from kraft.metadata.image import EMPTY_IMAGE, MetadataImage, PartitionRegistration, snapshot_records
from kraft.metadata.partition_change import effective_min_isr
from kraft.metadata.records import NO_LEADER, PartitionChange, Record


def check_image(image: MetadataImage) -> None:
    """The rules that one image must obey."""
    eligible = {node_id for node_id, broker in image.brokers.items() if broker.eligible}
    assert {topic.name: topic for topic in image.topics_by_id.values()} == image.topics_by_name
    for topic, number, partition in image.partitions():
        where = (topic.name, number, partition)
        _check_partition(partition, eligible, where)
        config = floors(image, topic=topic.name)
        needed = effective_min_isr(
            topic_value(config, "min.insync.replicas"), len(partition.replicas)
        )
        if len(partition.isr) >= needed:
            assert not partition.elr, ("the high watermark moves, an ELR is not safe", where)
            assert not partition.last_known_elr, where
    for topic in image.topics_by_id.values():
        assert list(topic.partitions) == list(range(len(topic.partitions)))
    for resource, values in image.configs.items():
        assert values, ("empty configurations are not kept", resource)


def _check_partition(partition: PartitionRegistration, eligible: set[int], where: object) -> None:
    isr, elr, replicas = set(partition.isr), set(partition.elr), set(partition.replicas)
    assert partition.replicas, where
    for named in (partition.replicas, partition.isr, partition.elr, partition.last_known_elr):
        assert len(set(named)) == len(named), where
    assert isr <= replicas, where
    assert elr <= replicas, where
    assert set(partition.last_known_elr) <= replicas, where
    assert not elr & isr, where
    assert isr <= eligible, ("KIP-841: nobody fenced or leaving is in an ISR", where)
    assert partition.leader in isr or partition.leader == NO_LEADER, where
    assert (partition.leader == NO_LEADER) == (not isr), where
    assert set(partition.adding) <= replicas, where
    assert set(partition.removing) <= replicas, where
    assert not set(partition.adding) & set(partition.removing), where
    assert set(partition.target_replicas), where


def check_step(old: MetadataImage, new: MetadataImage, records: Iterable[Record]) -> None:
    """The rules that the step from `old` to `new` by `records` must obey."""
    check_image(new)
    changes = [record for record in records if isinstance(record, PartitionChange)]
    assert new.unclean_elections == old.unclean_elections + sum(c.unclean for c in changes)
    unclean = {(c.topic_id, c.partition) for c in changes if c.unclean}
    assert new.next_producer_id >= old.next_producer_id
    assert new.metadata_level >= old.metadata_level
    assert old.cluster_id in ("", new.cluster_id)
    for node_id, broker in new.brokers.items():
        before = old.brokers.get(node_id)
        assert before is None or broker.broker_epoch >= before.broker_epoch
    for topic, number, partition in new.partitions():
        past = old.partition(topic.topic_id, number)
        if past is not None:
            clean = (topic.topic_id, number) not in unclean
            _check_partition_step(past, partition, clean=clean)


def _check_partition_step(
    old: PartitionRegistration, new: PartitionRegistration, *, clean: bool
) -> None:
    where = (old, new)
    if old == new:
        return
    assert new.partition_epoch > old.partition_epoch, where
    assert new.leader_epoch >= old.leader_epoch, where
    if new.leader != old.leader:
        assert new.leader_epoch > old.leader_epoch, where
        if clean and new.leader != NO_LEADER:
            completed = old.reassigning and not new.reassigning
            joined = old.target_replicas if completed else ()
            heirs = old.isr + old.elr + joined
            assert new.leader in heirs, ("I5: unclean, and not counted", where)
    grown = set(new.elr) - set(old.elr)
    assert grown <= set(old.isr), ("KIP-966: only ISR members become eligible", where)
    if set(old.replicas) - set(new.replicas):
        assert new.leader_epoch > old.leader_epoch, where


def check_snapshot(image: MetadataImage) -> None:
    """R10: a snapshot of the image is the image."""
    delta = MetadataDelta(EMPTY_IMAGE)
    delta.replay_all(snapshot_records(image))
    assert delta.apply(image.offset, image.term) == image

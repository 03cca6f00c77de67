"""DeleteRecords: by the leader, up to the high watermark, durable before it is answered (KIP-107)."""

from cluster.errors import InternalTopicError, NotLeaderError
from cluster.groups.placement import OFFSETS_TOPIC
from cluster.handlers.delete_records import DeleteRecordsHandler
from cluster.replication.partition import Partition
from kraft.metadata.errors import PolicyViolationError
from storage.errors import OffsetOutOfRangeError
from storage.log_config import LogConfig
from storage.partition_log import PartitionLog
from tests.cluster.replication.replicas import append, disk, lead, replica
from tests.simulation.disk import SimDisk
from tests.simulation.loop import simulate
from tests.storage.batches import NOW_MS


def leading(on: SimDisk | None = None) -> Partition:
    """Three records, two of them committed."""
    partition = replica(1, on=on)
    state = lead(partition, 1)
    append(partition, b"a")
    append(partition, b"b")
    state.follower_acked(2, 2, log_end_offset=2, broker_epoch=1, now_ms=0)
    append(partition, b"c")
    assert partition.high_watermark == 2
    return partition


def deleting(partition: Partition) -> DeleteRecordsHandler:
    return DeleteRecordsHandler(lambda _topic, _index: partition)


def test_records_are_deleted_up_to_the_high_watermark_and_not_beyond() -> None:
    handler = deleting(leading())
    assert simulate(handler.delete("t", 0, 1)) == (None, 1)
    refused = simulate(handler.delete("t", 0, 3))
    assert isinstance(refused.error, OffsetOutOfRangeError)
    assert refused.log_start_offset == -1
    assert simulate(handler.delete("t", 0, -1)).log_start_offset == 2


def test_what_groups_are_made_of_is_not_deleted() -> None:
    """The next coordinator would know of no position any more."""
    partition = leading()
    refused = simulate(deleting(partition).delete(OFFSETS_TOPIC, 0, 1))
    assert isinstance(refused.error, InternalTopicError)
    assert partition.log.log_start_offset == 0


def test_a_deletion_survives_a_power_loss() -> None:
    on = disk()
    partition = leading(on)
    assert simulate(deleting(partition).delete("t", 0, 1)).error is None
    on.crash()
    again = PartitionLog.open(on, "t-0", LogConfig(), clean=False, now_ms=NOW_MS)
    assert again.log_start_offset == 1


def test_a_follower_deletes_nothing_of_its_own() -> None:
    partition = leading()
    partition.become_follower(2, 2)
    refused = simulate(deleting(partition).delete("t", 0, 1))
    assert isinstance(refused.error, NotLeaderError)
    assert partition.log.log_start_offset == 0


def test_consumers_and_followers_are_told() -> None:
    partition = leading()
    told: list[int] = []
    partition.on_commit.add(lambda: told.append(partition.log.log_start_offset))
    simulate(deleting(partition).delete("t", 0, 1))
    assert told == [1]


def test_records_that_compaction_keeps_are_not_deleted() -> None:
    partition = leading()
    partition.log.reconfigure(LogConfig(cleanup_policy="compact"))
    assert isinstance(simulate(deleting(partition).delete("t", 0, 1)).error, PolicyViolationError)
    partition.log.reconfigure(LogConfig(cleanup_policy="compact,delete"))
    assert simulate(deleting(partition).delete("t", 0, 1)) == (None, 1)

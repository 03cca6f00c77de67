"""Which replica a consumer is sent to."""

from collections.abc import Callable

from cluster.replication.partition_state import LeaderState
from cluster.replication.read_replica import nearest_replica


def leader(*ends: tuple[int, int], isr: tuple[int, ...] = (1, 2, 3, 4)) -> LeaderState:
    """Node 1 leads; ends: (node, where its log ends) of those that have said something."""
    state = LeaderState.elected(
        node_id=1,
        leader_epoch=1,
        partition_epoch=1,
        replicas=(1, 2, 3, 4),
        isr=isr,
        log_end_offset=10,
        flushed_offset=10,
        high_watermark=0,
        min_insync_replicas=1,
        now_ms=0,
    )
    for node, end in ends:
        state.follower_acked(node, end, log_end_offset=10, broker_epoch=1, now_ms=node)
    return state


def among(*nodes: int) -> Callable[[int], bool]:
    return nodes.__contains__


def test_the_replica_of_the_same_rack_that_is_furthest() -> None:
    state = leader((2, 5), (3, 8), (4, 9))
    assert nearest_replica(state, 4, 0, among(2, 3)) == 3
    assert nearest_replica(state, 4, 0, among(2)) == 2
    assert nearest_replica(leader((2, 8), (3, 8)), 4, 0, among(2, 3)) == 3


def test_nobody_is_sent_away_from_a_leader_of_the_same_rack() -> None:
    assert nearest_replica(leader((2, 10)), 0, 0, among(1, 2)) is None


def test_nobody_is_sent_where_nothing_is_near() -> None:
    assert nearest_replica(leader((2, 10)), 0, 0, among()) is None
    assert nearest_replica(leader((2, 10)), 0, 0, among(9)) is None


def test_a_replica_that_lacks_the_offset_or_is_out_of_sync_serves_nobody() -> None:
    """Its readers would wait for it, or be sent back and forth."""
    assert nearest_replica(leader((2, 5)), 6, 0, among(2)) is None
    assert nearest_replica(leader((2, 5)), 5, 0, among(2)) == 2
    assert nearest_replica(leader(), 0, 0, among(2)) is None
    assert nearest_replica(leader((2, 10), isr=(1, 3)), 0, 0, among(2)) is None


def test_an_offset_before_the_log_is_for_the_leader_to_judge() -> None:
    assert nearest_replica(leader((2, 10)), 2, 3, among(2)) is None
    assert nearest_replica(leader((2, 10)), -1, 0, among(2)) is None

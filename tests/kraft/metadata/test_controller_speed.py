"""Nothing in the controller grows faster than the number of partitions: counted in calls, never in time."""

import sys
from types import FrameType
from typing import Any
from uuid import UUID

from kraft.metadata import replies
from kraft.metadata.requests import CreateTopics, FenceBroker, NewTopic
from tests.kraft.metadata.lab import Lab


def calls_to_fence(partitions: int) -> int:
    lab = Lab(3)
    lab.controller._rng.seed(UUID(int=1).int)
    topics = (NewTopic(name="t", partitions=partitions, replication_factor=3),)
    lab.ask(CreateTopics(topics=topics), replies.TopicsCreated)
    count = 0

    def counting(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        count += event == "call"

    request = FenceBroker(node_id=1, broker_epoch=lab.epoch(1))
    sys.setprofile(counting)
    try:
        result = lab.controller.handle(lab.image, request, next_offset=99)
    finally:
        sys.setprofile(None)
    assert len(result.records) == partitions + 1
    return count


def test_fencing_a_broker_costs_so_much_a_partition() -> None:
    small, large = calls_to_fence(100), calls_to_fence(1000)
    assert large < 11 * small
    assert large / 1000 < 80

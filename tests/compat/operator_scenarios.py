"""What Kafka's own tools ask for beside topics: producers, folders, settings of groups and of clients, quotas."""

from collections.abc import Callable
from typing import Any

from tests.compat.produce_scenarios import batch, producer_id, send
from tests.compat.read_scenarios import fetch, with_records
from tests.compat.target import Target, closed_or, code
from wire.messages.describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from wire.messages.describe_producers import DescribeProducersRequest, TopicRequest

CLIENT_METRICS, GROUP = 16, 32
SCENARIOS: dict[str, Callable[[Target], Any]] = {}


def describe_producers(target: Target) -> Any:
    """[error, [epoch, last sequence, whether there is a time, coordinator epoch, transaction start]]."""
    topic, me = target.topic(), producer_id(target)
    for sequence, count in ((0, 2), (2, 1)):
        data = batch(*[b"v"] * count, producer_id=me, producer_epoch=0, base_sequence=sequence)
        assert send(target, topic, data)[0] == "NONE"
    leader = target.leader(topic)

    def ask(name: str, *partitions: int, node: tuple[str, int] | None = None) -> Any:
        request = DescribeProducersRequest(
            topics=(TopicRequest(name=name, partition_indexes=partitions),)
        )

        def now() -> Any:
            return [
                [
                    each.partition_index,
                    code(each.error_code),
                    [
                        [
                            state.producer_id == me,
                            state.producer_epoch,
                            state.last_sequence,
                            state.last_timestamp > 0,
                            state.coordinator_epoch,
                            state.current_txn_start_offset,
                        ]
                        for state in each.active_producers
                    ],
                ]
                for found in target.call(request, 0, node or leader).topics
                for each in found.partitions
            ]

        return closed_or(now)

    def followed() -> bool:
        return bool(ask(topic, 0, node=target.follower(topic))[0][2])

    target.until(followed)
    return [
        ask(topic, 0),
        ask(topic, 0, node=target.follower(topic)),
        ask(topic, 9),
        ask(topic),
        ask(target.name(), 0),
        ask("a/b", 0),
    ]


def log_dirs(target: Target) -> Any:
    """Of one topic: [error, [error, cordoned, total above usable, [partition, size above 0, lag, future]]]."""
    topic = with_records(target)

    def ask(version: int, *topics: DescribableLogDirTopic) -> Any:
        found = target.call(DescribeLogDirsRequest(topics=topics), version, target.leader(topic))
        return [
            code(found.error_code),
            [
                [
                    code(each.error_code),
                    each.is_cordoned,
                    each.total_bytes >= each.usable_bytes,
                    sorted(
                        [
                            part.partition_index,
                            part.partition_size > 0,
                            part.offset_lag,
                            part.is_future_key,
                        ]
                        for here in each.topics
                        for part in here.partitions
                    ),
                ]
                for each in found.results
            ],
        ]

    return [
        ask(5, DescribableLogDirTopic(topic=topic, partitions=(0, 1))),
        ask(4, DescribableLogDirTopic(topic=topic, partitions=(0,))),
        ask(5, DescribableLogDirTopic(topic=topic, partitions=(9,))),
        ask(5, DescribableLogDirTopic(topic=target.name(), partitions=(0,))),
    ]


def follower_reads(target: Target) -> Any:
    """A follower serves a consumer that can be sent there (KIP-392): from version 11 on."""
    topic = with_records(target)
    node = target.follower(topic)
    served: dict[str, Any] = {"node": node, "version": 11, "max_wait_ms": 2000}

    def there() -> bool:
        return bool(fetch(target, topic, offset=2, **served)[1][3])

    target.until(there)
    return [
        fetch(target, topic, **served),
        fetch(target, topic, offset=3, **(served | {"max_wait_ms": 100})),
        fetch(target, topic, offset=4, **served),
        fetch(target, topic, offset=-1, **served),
        fetch(target, topic, epoch=0, **served),
        fetch(target, topic, epoch=1000, **served),
        fetch(target, topic, partition=9, **served),
    ]


SCENARIOS |= {
    "describe producers": describe_producers,
    "describe log dirs": log_dirs,
    "fetch: from a follower": follower_reads,
}

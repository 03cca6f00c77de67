"""What is said to readers: fetches, sessions, offsets, epochs, metadata."""

import struct
from collections.abc import Callable
from typing import Any
from uuid import UUID

from tests.compat.produce_scenarios import NOW_MS, batch, send
from tests.compat.target import CLIENT, HEAD, Target, closed_or, code
from wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, ForgottenTopic
from wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)

STRANGE_ID = UUID("12345678-1234-4234-8234-123456789abc")
NO_ID = UUID(int=0)
SCENARIOS: dict[str, Callable[[Target], Any]] = {}


def with_records(target: Target, count: int = 3) -> str:
    """A topic with records in partition 0."""
    topic = target.topic()
    for _ in range(count):
        assert send(target, topic, batch())[0] == "NONE"
    return topic


def fetch(
    target: Target, topic: str, *, offset: int = 0, partition: int = 0, **options: Any
) -> Any:
    """[error, [error, high watermark, log start, whether there are records]]."""
    epoch = options.pop("epoch", -1)
    node = options.pop("node", None) or target.leader(topic)
    version = options.pop("version", 12)
    topic_id = options.pop("topic_id", None)
    request = FetchRequest(
        max_wait_ms=options.pop("max_wait_ms", 100),
        min_bytes=1,
        topics=(
            FetchTopic(
                topic=topic,
                topic_id=topic_id,
                partitions=(
                    FetchPartition(
                        partition=partition,
                        current_leader_epoch=epoch,
                        fetch_offset=offset,
                        partition_max_bytes=options.pop("partition_max_bytes", 1 << 20),
                    ),
                ),
            ),
        ),
        **options,
    )

    def ask() -> Any:
        response = target.call(request, version, node)
        return [
            code(response.error_code),
            *(
                [
                    code(each.error_code),
                    each.high_watermark,
                    each.log_start_offset,
                    bool(each.records),
                ]
                for found in response.responses
                for each in found.partitions
            ),
        ]

    return closed_or(ask)


def _fetch(name: str, **options: Any) -> None:
    SCENARIOS[f"fetch: {name}"] = lambda target: fetch(target, with_records(target), **options)


_fetch("from the beginning")
_fetch("from the end", offset=3)
_fetch("beyond the end", offset=4)
_fetch("a negative offset", offset=-1)
_fetch("a partition that is not there", partition=9)
_fetch("a leader epoch of the future", epoch=1000)
_fetch("the leader epoch", epoch=0)
_fetch("an unknown session", session_id=4711, session_epoch=1)
_fetch("a session without an epoch", session_id=4711, session_epoch=0)
_fetch("no bytes", partition_max_bytes=0)
_fetch("one byte at most", max_bytes=1)
_fetch("committed only", isolation_level=1)
_fetch("an unknown topic id", version=13, topic_id=STRANGE_ID)
_fetch("no topic id", version=13, topic_id=NO_ID)
_fetch("version 4", version=4)


def fetch_unknown_topic(target: Target) -> Any:
    node = target.leader(with_records(target))
    return fetch(target, target.name(), node=node)


def fetch_from_follower(target: Target) -> Any:
    """A follower serves readers, too (KIP-392)."""
    topic = with_records(target)
    return fetch(target, topic, node=target.follower(topic), version=10)[:2][1][0]


def fetch_session(target: Target) -> Any:
    """Made, used, used with a wrong epoch, closed."""
    topic = with_records(target)
    node, topic_id = target.leader(topic), target.topic_id(topic)
    partition = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
    wanted = FetchTopic(topic=topic, topic_id=topic_id, partitions=(partition,))

    def ask(session: int, epoch: int, *topics: FetchTopic, forget: bool = False) -> Any:
        forgotten = (ForgottenTopic(topic=topic, topic_id=topic_id, partitions=(0,)),)
        request = FetchRequest(
            max_wait_ms=50,
            min_bytes=1,
            session_id=session,
            session_epoch=epoch,
            topics=topics,
            forgotten_topics_data=forgotten if forget else (),
        )
        return target.call(request, 13, node)

    made = ask(0, 0, wanted)
    session = made.session_id
    answers = [["made", code(made.error_code), session != 0, len(made.responses)]]
    for label, epoch, topics, forget in (
        ("next", 1, (), False),
        ("wrong epoch", 7, (), False),
        ("next again", 2, (), False),
        ("forget", 3, (), True),
    ):
        found = ask(session, epoch, *topics, forget=forget)
        answers.append([label, code(found.error_code), found.session_id == session])
    gone = ask(session, -1)
    after = ask(session, 5)
    return [*answers, ["close", code(gone.error_code)], ["after", code(after.error_code)]]


SCENARIOS |= {
    "fetch: an unknown topic": fetch_unknown_topic,
    "fetch: from a follower without a rack": fetch_from_follower,
    "fetch: a session": fetch_session,
}


def offsets(target: Target, topic: str, timestamp: int, **options: Any) -> Any:
    """[error, offset, timestamp, whether an epoch]."""
    node = options.pop("node", None) or target.leader(topic)
    version = options.pop("version", 8)
    partition = ListOffsetsPartition(
        partition_index=options.pop("partition", 0),
        current_leader_epoch=options.pop("epoch", -1),
        timestamp=timestamp,
    )
    request = ListOffsetsRequest(
        replica_id=-1, topics=(ListOffsetsTopic(name=topic, partitions=(partition,)),), **options
    )

    def ask() -> Any:
        found = target.call(request, version, node).topics[0].partitions[0]
        return [code(found.error_code), found.offset, found.timestamp, found.leader_epoch]

    return closed_or(ask)


def _offsets(name: str, timestamp: int, **options: Any) -> None:
    SCENARIOS[f"offsets: {name}"] = lambda target: offsets(
        target, with_records(target), timestamp, **options
    )


_offsets("the end", -1)
_offsets("the beginning", -2)
_offsets("the highest timestamp", -3)
_offsets("the local beginning", -4)
_offsets("tiered", -5, version=9)
_offsets("at a time", NOW_MS)
_offsets("after the last", NOW_MS + 1)
_offsets("a strange timestamp", -9)
_offsets("a strange timestamp, version 10", -9, version=10)
_offsets("a partition that is not there", -1, partition=9)
_offsets("a leader epoch of the future", -1, epoch=1000)
_offsets("version 1", -1, version=1)


def offsets_unknown_topic(target: Target) -> Any:
    return offsets(target, target.name(), -1, node=target.leader(target.topic()))


def offsets_follower(target: Target) -> Any:
    topic = target.topic()
    return offsets(target, topic, -1, node=target.follower(topic))


def epoch_end(target: Target) -> Any:
    """Where epochs end: [error, epoch, end offset]."""
    topic = with_records(target)
    answers = []
    for current, wanted, number in ((-1, 0, 0), (-1, 5, 0), (1000, 0, 0), (-1, -1, 0), (-1, 0, 9)):
        request = OffsetForLeaderEpochRequest(
            replica_id=-1,
            topics=(
                OffsetForLeaderTopic(
                    topic=topic,
                    partitions=(
                        OffsetForLeaderPartition(
                            partition=number, current_leader_epoch=current, leader_epoch=wanted
                        ),
                    ),
                ),
            ),
        )
        found = target.call(request, 4, target.leader(topic)).topics[0].partitions[0]
        answers.append([code(found.error_code), found.leader_epoch, found.end_offset])
    return answers


def metadata_of(target: Target, version: int, **topic: Any) -> Any:
    request = MetadataRequest(
        topics=(MetadataRequestTopic(**topic),), allow_auto_topic_creation=False
    )

    def ask() -> Any:
        found = target.call(request, version).topics[0]
        return [code(found.error_code), len(found.partitions), found.is_internal]

    return closed_or(ask)


def metadata_by_id(target: Target) -> Any:
    topic = target.topic()
    response = target.call(
        MetadataRequest(topics=(MetadataRequestTopic(topic_id=target.topic_id(topic)),)), 12
    )
    return [code(response.topics[0].error_code), response.topics[0].name == topic]


def brokers(target: Target) -> Any:
    found = target.metadata()
    return [
        sorted(each.node_id for each in found.brokers),
        found.controller_id in (1, 2, 3),
        bool(found.cluster_id),
        code(found.error_code),
    ]


def partitions(target: Target) -> Any:
    found = target.metadata(target.topic()).topics[0]
    return [
        [
            each.partition_index,
            each.leader_epoch,
            sorted(each.replica_nodes),
            sorted(each.isr_nodes),
            list(each.offline_replicas),
            each.leader_id == each.replica_nodes[0],
        ]
        for each in sorted(found.partitions, key=lambda each: each.partition_index)
    ]


def raw(target: Target, key: int, version: int, body: bytes = b"") -> Any:
    """A request of a version, or a kind, that nobody knows: the first bytes of what comes back."""
    data = HEAD.pack(key, version, 7, len(CLIENT)) + CLIENT + body
    return closed_or(lambda: struct.unpack_from(">ih", target.exchange(data)))


SCENARIOS |= {
    "offsets: an unknown topic": offsets_unknown_topic,
    "offsets: of a follower": offsets_follower,
    "epochs: their ends": epoch_end,
    "metadata: an unknown topic": lambda target: metadata_of(target, 12, name=target.name()),
    "metadata: an unknown topic, version 0": lambda t: metadata_of(t, 4, name=t.name()),
    "metadata: a bad name": lambda target: metadata_of(target, 12, name="a/b"),
    "metadata: a name that is too long": lambda target: metadata_of(target, 12, name="x" * 250),
    "metadata: an empty name": lambda target: metadata_of(target, 12, name=""),
    "metadata: an unknown id": lambda target: metadata_of(target, 12, topic_id=STRANGE_ID),
    "metadata: by id": metadata_by_id,
    "metadata: brokers": brokers,
    "metadata: partitions": partitions,
    "versions: ApiVersions of the future": lambda t: raw(t, 18, 99, b"\0\2a\2b\0"),
    "versions: Metadata of the future": lambda target: raw(target, 3, 99),
    "versions: Produce of old": lambda target: raw(target, 0, 2, bytes(20)),
    "versions: an unknown request": lambda target: raw(target, 999, 0),
    "versions: a negative one": lambda target: raw(target, 3, -1),
    "versions: a body that is cut off": lambda target: raw(target, 12, 0, b"\0"),
}

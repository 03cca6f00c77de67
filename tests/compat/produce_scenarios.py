"""What is said to batches that are wrong, late, doubled or too large."""

import struct
from collections.abc import Callable
from typing import Any

from crc32c import crc32c

from storage.records import BatchBuilder
from tests.compat.target import Target, closed_or, code
from wire.messages.init_producer_id import InitProducerIdRequest
from wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData

NOW_MS = 1_750_000_000_000
SCENARIOS: dict[str, Callable[[Target], Any]] = {}


def batch(*values: bytes, **identity: Any) -> bytes:
    """Records in one batch."""
    builder = BatchBuilder()
    for value in values or (b"v",):
        builder.append(NOW_MS, b"k", value)
    return builder.build(**identity)


def edited(data: bytes, at: int, form: str, value: int) -> bytes:
    """A batch with another field, and the CRC that belongs to it."""
    changed = bytearray(data)
    struct.pack_into(form, changed, at, value)
    struct.pack_into(">I", changed, 17, crc32c(bytes(changed[21:])))
    return bytes(changed)


def send(
    target: Target,
    topic: str,
    data: bytes | None,
    *,
    acks: int = -1,
    version: int = 9,
    partition: int = 0,
    transaction: str | None = None,
    node: tuple[str, int] | None = None,
) -> Any:
    """[error, base offset]."""
    request = ProduceRequest(
        transactional_id=transaction,
        acks=acks,
        timeout_ms=10_000,
        topic_data=(
            TopicProduceData(
                name=topic,
                partition_data=(PartitionProduceData(index=partition, records=data),),
            ),
        ),
    )
    where = node or target.leader(topic)

    def ask() -> Any:
        found = target.call(request, version, where).responses[0].partition_responses[0]
        return [code(found.error_code), found.base_offset]

    return closed_or(ask)


def _wrong(name: str, make: Callable[[], bytes | None], **options: Any) -> None:
    def scenario(target: Target) -> Any:
        return send(target, target.topic(), make(), **options)

    SCENARIOS[f"produce: {name}"] = scenario


_wrong("one record", batch)
_wrong("three records", lambda: batch(b"1", b"2", b"3"))
_wrong("a wrong CRC", lambda: batch()[:-1] + b"X")
_wrong("magic 0", lambda: edited(batch(), 16, ">b", 0))
_wrong("magic 1", lambda: edited(batch(), 16, ">b", 1))
_wrong("magic 3", lambda: edited(batch(), 16, ">b", 3))
_wrong("a count that is too high", lambda: edited(batch(b"1", b"2"), 57, ">i", 3))
_wrong("a count that is too low", lambda: edited(batch(b"1", b"2"), 57, ">i", 1))
_wrong("a last offset delta that is too high", lambda: edited(batch(b"1", b"2"), 23, ">i", 7))
_wrong("no records in the batch", lambda: edited(batch()[:61], 57, ">i", 0))
_wrong("nothing", lambda: b"")
_wrong("two batches", lambda: batch() + batch())
_wrong("a cut off batch", lambda: batch()[:-3])
_wrong("half a header", lambda: batch()[:30])
_wrong("a control batch", lambda: edited(batch(), 21, ">h", 0x20))
_wrong("an unknown compression", lambda: edited(batch(), 21, ">h", 7))
_wrong("zstd in version 6", lambda: edited(batch(), 21, ">h", 4), version=6)
_wrong("acks 2", batch, acks=2)
_wrong("acks -2", batch, acks=-2)
_wrong("acks 1", batch, acks=1)
_wrong("a partition that is not there", batch, partition=9)
_wrong("a partition below 0", batch, partition=-1)
_wrong("too large", lambda: batch(bytes(1_200_000)))
_wrong("an offset that is not 0", lambda: edited(batch(), 0, ">q", 5))
_wrong("a producer id without an epoch", lambda: batch(producer_id=9, producer_epoch=-1))
_wrong("an epoch without a sequence", lambda: batch(producer_id=9, producer_epoch=0))


def unknown_topic(target: Target) -> Any:
    known = target.topic()
    return send(target, target.name(), batch(), node=target.leader(known))


def bad_name(target: Target) -> Any:
    known = target.topic()
    return send(target, "a/b", batch(), node=target.leader(known))


def follower(target: Target) -> Any:
    topic = target.topic()
    return send(target, topic, batch(), node=target.follower(topic))


def small_topic(target: Target) -> Any:
    topic = target.topic(max_message_bytes="100")
    return [send(target, topic, batch(b"x" * 10)), send(target, topic, batch(b"x" * 100))]


def compacted_without_key(target: Target) -> Any:
    topic = target.topic(cleanup_policy="compact")
    builder = BatchBuilder()
    builder.append(NOW_MS, None, b"v")
    return send(target, topic, builder.build())


def too_few_replicas(target: Target) -> Any:
    topic = target.topic(min_insync_replicas="4")
    return [send(target, topic, batch()), send(target, topic, batch(), acks=1)]


def producer_id(target: Target) -> int:
    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
    found: list[int] = []

    def given() -> bool:
        response = target.call(request, 4)
        if response.error_code == 0:
            found.append(response.producer_id)
        return bool(found)

    target.until(given)
    return found[0]


def sequences(target: Target) -> Any:
    """A producer's batches: in order, doubled, with gaps, of older and newer epochs."""
    topic, me = target.topic(), producer_id(target)
    answers = []
    for epoch, sequence, count in (
        (0, 0, 2),
        (0, 2, 1),
        (0, 2, 1),
        (0, 0, 2),
        (0, 0, 1),
        (0, 5, 1),
        (0, 3, 1),
        (1, 3, 1),
        (1, 0, 1),
        (0, 4, 1),
        (1, 1, 1),
    ):
        values = [b"v"] * count
        data = batch(*values, producer_id=me, producer_epoch=epoch, base_sequence=sequence)
        answers.append([epoch, sequence, send(target, topic, data)])
    return answers


def old_duplicates(target: Target) -> Any:
    """Of the last five batches the answer is known still; of older ones it is not."""
    topic, me = target.topic(), producer_id(target)
    data = [batch(producer_id=me, producer_epoch=0, base_sequence=each) for each in range(7)]
    for each in data:
        assert send(target, topic, each)[0] == "NONE"
    return [send(target, topic, each) for each in data]


def first_sequence_is_not_0(target: Target) -> Any:
    topic, me = target.topic(), producer_id(target)
    data = batch(producer_id=me, producer_epoch=0, base_sequence=4)
    return send(target, topic, data)


def sequence_wraps(target: Target) -> Any:
    topic, me = target.topic(), producer_id(target)
    last = 2**31 - 1
    answers = []
    for sequence, count in ((last - 1, 2), (0, 1), (1, 1)):
        data = batch(*[b"v"] * count, producer_id=me, producer_epoch=0, base_sequence=sequence)
        answers.append(send(target, topic, data))
    return answers


SCENARIOS |= {
    "produce: an unknown topic": unknown_topic,
    "produce: a bad name": bad_name,
    "produce: to a follower": follower,
    "produce: more than max.message.bytes": small_topic,
    "produce: no key to a compacted topic": compacted_without_key,
    "produce: too few replicas": too_few_replicas,
    "produce: sequences and epochs": sequences,
    "produce: duplicates of long ago": old_duplicates,
    "produce: a first sequence that is not 0": first_sequence_is_not_0,
    "produce: a sequence that wraps": sequence_wraps,
}

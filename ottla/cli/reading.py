"""Reading a topic for the terminal: where to start and when to stop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ottla.client.consumer import Consumer
from ottla.client.errors import ClientError
from ottla.client.offsets import OffsetSpec
from ottla.client.records import ConsumerRecord, TopicPartition

POLL_S = 1.0

# "earliest", "latest", an offset, -N for the last N, ("timestamp", milliseconds)
Start = Any


async def read(
    bootstrap: str,
    topic: str,
    *,
    partitions: Sequence[int] | None,
    start: Start,
    max_messages: int | None,
    exit_at_end: bool,
    show: Callable[[ConsumerRecord], None],
) -> None:
    """Show records until `max_messages`, or with `exit_at_end` until the end as of now. Raises OttlaError."""
    async with Consumer(bootstrap, max_block_s=5.0) as consumer:
        where = await _chosen(consumer, topic, partitions)
        ends = {
            each: found.offset
            for each, found in (
                await consumer.offsets(dict.fromkeys(where, OffsetSpec.LATEST))
            ).items()
        }
        begins = await _begins(consumer, where, start, ends)
        consumer.assign(where)
        for each, offset in begins.items():
            consumer.seek(each, offset)
        left = max_messages
        while left is None or left > 0:
            if exit_at_end and _at_end(consumer, begins, ends):
                return
            for record in await consumer.poll(POLL_S, 500 if left is None else min(500, left)):
                show(record)
                left = None if left is None else left - 1


async def _chosen(
    consumer: Consumer, topic: str, partitions: Sequence[int] | None
) -> list[TopicPartition]:
    known = await consumer.partitions_of(topic)
    if not partitions:
        return known
    for partition in partitions:
        if not 0 <= partition < len(known):
            raise ClientError(
                f"{topic} has partitions 0 to {len(known) - 1}; there is no partition {partition}"
            )
    return [TopicPartition(topic, partition) for partition in partitions]


async def _begins(
    consumer: Consumer,
    where: Sequence[TopicPartition],
    start: Start,
    ends: Mapping[TopicPartition, int],
) -> dict[TopicPartition, int]:
    if start == "latest":
        return dict(ends)
    earliest = {
        each: found.offset
        for each, found in (
            await consumer.offsets(dict.fromkeys(where, OffsetSpec.EARLIEST))
        ).items()
    }
    if start == "earliest":
        return earliest
    if isinstance(start, tuple):
        found = await consumer.offsets({each: int(start[1]) for each in where})
        return {
            each: found[each].offset if found[each].offset >= 0 else ends[each] for each in where
        }
    if start < 0:
        return {each: max(earliest[each], ends[each] + start) for each in where}
    for each in where:
        if not earliest[each] <= start <= ends[each]:
            raise ClientError(
                f"offset {start} of {each.topic}-{each.partition} is outside {earliest[each]} (earliest) to "
                f"{ends[each]} (latest)"
            )
    return {each: int(start) for each in where}


def _at_end(
    consumer: Consumer, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> bool:
    return all((consumer.position(each) or begins[each]) >= end for each, end in ends.items())

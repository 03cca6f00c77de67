"""Batches and short cuts for the tests of storage."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from storage.compression import Compression
from storage.partition_log import PartitionLog
from storage.record_batch import iter_validated
from storage.records import BatchBuilder, decode_batch

T = TypeVar("T")
NOW_MS = 1_700_000_000_000


def batch(
    *values: bytes | None,
    key: bytes | None = None,
    timestamp_ms: int = NOW_MS,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    base_offset: int = 0,
    leader_epoch: int = -1,
    compression: Compression = Compression.NONE,
) -> bytes:
    """A batch with one record per value, a millisecond apart."""
    builder = BatchBuilder()
    for index, value in enumerate(values or (b"value",)):
        builder.append(timestamp_ms + index, key, value)
    return builder.build(
        producer_id=producer_id,
        producer_epoch=producer_epoch if producer_id < 0 or producer_epoch >= 0 else 0,
        base_sequence=base_sequence,
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        compression=compression,
    )


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """On a loop of its own."""
    return asyncio.run(coroutine)


async def flush(log: PartitionLog) -> None:
    """Make everything durable, as group commit does."""
    while log.flush_state.dirty:
        ticket = log.begin_flush()
        try:
            await log.disk.sync(ticket.files)
        except OSError as error:
            raise log.fail_flush(ticket, error) from error
        log.complete_flush(ticket)


def batches_of(log: PartitionLog, *, max_bytes: int = 1 << 20) -> list[tuple[int, int, bytes]]:
    """(base offset, leader epoch, bytes) of every batch that a reader gets, from the log's first batch on."""
    found: list[tuple[int, int, bytes]] = []
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        data = log.read(offset, max_bytes, end_offset=log.log_end_offset)
        if not data:
            break
        for position, header in iter_validated(data):
            found.append(
                (
                    header.base_offset,
                    header.partition_leader_epoch,
                    bytes(data[position : position + header.size]),
                )
            )
            offset = header.next_offset
    return found


def values_of(log: PartitionLog) -> list[bytes | None]:
    """The values of all records."""
    return [
        record.value
        for _, _, data in batches_of(log)
        for record in decode_batch(data)
        if record.offset >= log.log_start_offset
    ]


def epochs_in(found: Sequence[tuple[int, int, bytes]]) -> list[tuple[int, int]]:
    """(epoch, first offset) as the batches tell it."""
    starts: dict[int, int] = {}
    for base, epoch, _ in found:
        starts.setdefault(epoch, base)
    return sorted(starts.items())

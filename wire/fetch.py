"""Fetch's answer, by hand: a list of buffers, among them the record batches as the log handed them out.

The request is small and is read like every other (`wire.messages.fetch`). Versions 4 to 17; 12 and later are flexible,
13 and later name topics by id.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from wire.primitives import write_bytes, write_compact_bytes, write_uvarint
from wire.produce import NodeEndpoint, write_endpoints, write_leader

FLEXIBLE = 12
TOPIC_IDS = 13
LEADER_HINTS = 16
SESSIONS = 7
_CURRENT_LEADER_TAG = 1
_THROTTLE_ERROR_SESSION = struct.Struct(">ihi")
_INT32 = struct.Struct(">i")
_PARTITION = struct.Struct(">ihqq")
_INT64 = struct.Struct(">q")

Buffer = bytes | bytearray | memoryview


class PartitionFetched(NamedTuple):
    """One partition's share. leader_id, leader_epoch: who leads now, -1 when that is no news."""

    partition: int
    error_code: int
    high_watermark: int
    log_start_offset: int
    records: memoryview
    leader_id: int = -1
    leader_epoch: int = -1
    preferred_read_replica: int = -1


class TopicFetched(NamedTuple):
    """A topic's partitions. topic_id is None where the client asked by name."""

    topic: str
    topic_id: UUID | None
    partitions: Sequence[PartitionFetched]


def encode_fetched(
    topics: Sequence[TopicFetched],
    version: int,
    *,
    error_code: int = 0,
    session_id: int = 0,
    endpoints: Sequence[NodeEndpoint] = (),
    throttle_ms: int = 0,
) -> list[Buffer]:
    """The answer's body, in pieces; the records are the very buffers that were handed in."""
    flexible = version >= FLEXIBLE
    pieces: list[Buffer] = []
    out = bytearray()
    if version >= SESSIONS:
        out += _THROTTLE_ERROR_SESSION.pack(throttle_ms, error_code, session_id)
    else:
        out += _INT32.pack(throttle_ms)
    _write_count(out, len(topics), flexible)
    for topic in topics:
        if version >= TOPIC_IDS:
            out += bytes(16) if topic.topic_id is None else topic.topic_id.bytes
        else:
            (write_compact_bytes if flexible else write_bytes)(out, topic.topic.encode(), True)
        _write_count(out, len(topic.partitions), flexible)
        for each in topic.partitions:
            _write_head(out, each, version)
            if len(each.records):
                pieces += (out, each.records)
                out = bytearray()
            if flexible:
                _write_tagged(out, each, version)
        if flexible:
            out.append(0)
    if flexible:
        write_endpoints(out, endpoints if version >= LEADER_HINTS else ())
    pieces.append(out)
    return pieces


def _write_head(out: bytearray, each: PartitionFetched, version: int) -> None:
    """Everything of a partition before its records, and their length."""
    flexible = version >= FLEXIBLE
    # Without transactions everything committed is stable.
    out += _PARTITION.pack(
        each.partition, each.error_code, each.high_watermark, each.high_watermark
    )
    if version >= 5:
        out += _INT64.pack(each.log_start_offset)
    # No aborted transactions: null.
    out += b"\x00" if flexible else b"\xff\xff\xff\xff"
    if version >= 11:
        out += _INT32.pack(each.preferred_read_replica)
    if flexible:
        write_uvarint(out, len(each.records) + 1)
    else:
        out += _INT32.pack(len(each.records))


def _write_tagged(out: bytearray, each: PartitionFetched, version: int) -> None:
    if version >= FLEXIBLE and each.leader_epoch >= 0:
        write_leader(out, _CURRENT_LEADER_TAG, each.leader_id, each.leader_epoch)
    else:
        out.append(0)


def _write_count(out: bytearray, count: int, flexible: bool) -> None:
    if flexible:
        write_uvarint(out, count + 1)
    else:
        out += _INT32.pack(count)

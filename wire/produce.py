"""Produce, by hand: record batches stay where they came in. Versions 3 to 11; 9 and later are flexible."""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wire.errors import WireError
from wire.headers import skip_tagged
from wire.primitives import (
    read_bytes,
    read_compact_bytes,
    read_uvarint,
    write_bytes,
    write_compact_bytes,
    write_uvarint,
)

FLEXIBLE = 9
LEADER_HINTS = 10
"""From here on an answer may say who leads now (KIP-951)."""
_ACKS_TIMEOUT = struct.Struct(">hi")
_INT32 = struct.Struct(">i")
_PARTITION = struct.Struct(">ihqqq")
_LEADER = struct.Struct(">ii")


class PartitionRecords(NamedTuple):
    """Whole record batches for one partition; None when the client sent none."""

    topic: str
    partition: int
    records: memoryview | None


class ProduceRequest(NamedTuple):
    """timeout_ms: how long the in-sync replicas may take."""

    transactional_id: str | None
    acks: int
    timeout_ms: int
    partitions: Sequence[PartitionRecords]


class NodeEndpoint(NamedTuple):
    """Where a leader named in an answer is reached."""

    node_id: int
    host: str
    port: int
    rack: str | None = None


class PartitionProduced(NamedTuple):
    """What became of one partition's batches. leader_id, leader_epoch: who leads now, -1 when that is no news.
    bad_records: which records, from 0, are why the batch was refused (KIP-467).
    """

    topic: str
    partition: int
    error_code: int
    base_offset: int
    log_append_time_ms: int
    log_start_offset: int
    error_message: str | None = None
    leader_id: int = -1
    leader_epoch: int = -1
    bad_records: Sequence[int] = ()


def decode_produce(data: memoryview, version: int) -> ProduceRequest:
    """Raises WireError."""
    try:
        return _decode(data, version >= FLEXIBLE)
    except (struct.error, IndexError):
        raise WireError(f"Produce v{version} is cut off after {len(data)} bytes") from None
    except UnicodeDecodeError:
        raise WireError(f"Produce v{version}: a name is no UTF-8") from None


def _decode(data: memoryview, flexible: bool) -> ProduceRequest:
    read = read_compact_bytes if flexible else read_bytes
    raw, position = read(data, 0, True)
    transactional_id = None if raw is None else str(raw, "utf-8")
    acks, timeout_ms = _ACKS_TIMEOUT.unpack_from(data, position)
    topics, position = _count(data, position + _ACKS_TIMEOUT.size, flexible)
    partitions = []
    for _ in range(topics):
        name, position = read(data, position, True)
        if name is None:
            raise WireError("Produce names a topic null")
        topic = str(name, "utf-8")
        count, position = _count(data, position, flexible)
        for _ in range(count):
            (index,) = _INT32.unpack_from(data, position)
            records, position = read(data, position + 4, False)
            partitions.append(PartitionRecords(topic, index, records))
            if flexible:
                position = skip_tagged(data, position)
        if flexible:
            position = skip_tagged(data, position)
    if flexible:
        skip_tagged(data, position)
    return ProduceRequest(transactional_id, acks, timeout_ms, partitions)


def _count(data: memoryview, position: int, flexible: bool) -> tuple[int, int]:
    if flexible:
        raw, position = read_uvarint(data, position)
        count = raw - 1
    else:
        (count,) = _INT32.unpack_from(data, position)
        position += 4
    if not 0 <= count <= len(data) - position:
        raise WireError(f"Produce claims {count} items in {len(data) - position} bytes")
    return count, position


def encode_produced(
    results: Sequence[PartitionProduced],
    version: int,
    endpoints: Iterable[NodeEndpoint],
    throttle_ms: int = 0,
) -> bytearray:
    """The answer's body. `endpoints`: of the leaders that `results` name."""
    flexible = version >= FLEXIBLE
    write = write_compact_bytes if flexible else write_bytes
    by_topic: dict[str, list[PartitionProduced]] = {}
    for each in results:
        by_topic.setdefault(each.topic, []).append(each)
    out = bytearray()
    _write_count(out, len(by_topic), flexible)
    for topic, produced in by_topic.items():
        write(out, topic.encode(), True)
        _write_count(out, len(produced), flexible)
        for each in produced:
            _write_partition(out, each, version)
        if flexible:
            out.append(0)
    out += _INT32.pack(throttle_ms)
    if flexible:
        hints = list(endpoints) if version >= LEADER_HINTS else []
        write_endpoints(out, hints)
    return out


def _write_partition(out: bytearray, each: PartitionProduced, version: int) -> None:
    out += _PARTITION.pack(
        each.partition,
        each.error_code,
        each.base_offset,
        each.log_append_time_ms,
        each.log_start_offset if version >= 5 else 0,
    )
    if version < 5:
        del out[-8:]
    if version < 8:
        return
    flexible = version >= FLEXIBLE
    write = write_compact_bytes if flexible else write_bytes
    _write_count(out, len(each.bad_records), flexible)
    for index in each.bad_records:
        out += _INT32.pack(index)
        write(out, None, True)
        if flexible:
            out.append(0)
    message = None if each.error_message is None else each.error_message.encode()[:1024]
    write(out, message, True)
    if not flexible:
        return
    if version >= LEADER_HINTS and each.leader_epoch >= 0:
        write_leader(out, 0, each.leader_id, each.leader_epoch)
    else:
        out.append(0)


def _write_count(out: bytearray, count: int, flexible: bool) -> None:
    if flexible:
        write_uvarint(out, count + 1)
    else:
        out += _INT32.pack(count)


def write_leader(out: bytearray, tag: int, leader_id: int, leader_epoch: int) -> None:
    """A partition's tagged fields with nothing but who leads it (KIP-951)."""
    out += bytes((1, tag, _LEADER.size + 1))
    out += _LEADER.pack(leader_id, leader_epoch)
    out.append(0)


def write_endpoints(out: bytearray, endpoints: Sequence[NodeEndpoint]) -> None:
    """A response's tagged fields with nothing but where leaders are reached (KIP-951)."""
    if not endpoints:
        out.append(0)
        return
    part = bytearray()
    write_uvarint(part, len(endpoints) + 1)
    for each in endpoints:
        part += _INT32.pack(each.node_id)
        write_compact_bytes(part, each.host.encode(), True)
        part += _INT32.pack(each.port)
        write_compact_bytes(part, None if each.rack is None else each.rack.encode(), True)
        part.append(0)
    out += b"\x01\x00"
    write_uvarint(out, len(part))
    out += part

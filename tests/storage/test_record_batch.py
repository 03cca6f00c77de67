"""Batch headers: parsed, validated and patched without touching the records."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import CorruptBatchError, InvalidRecordError
from storage.record_batch import (
    CRC_FROM,
    HEADER,
    HEADER_BYTES,
    assign,
    batch_size,
    iter_headers,
    iter_validated,
    parse_header,
    set_log_append_time,
    validate_batch,
    whole_batches,
)
from storage.records import decode_batch
from tests.storage.batches import NOW_MS, batch

GOLDEN = bytes.fromhex(
    "0000000000000005"  # base offset
    "0000003a"  # length
    "00000002"  # partition leader epoch
    "02"  # magic
    "00000000"  # CRC, computed below
    "0000"  # attributes
    "00000000"  # last offset delta
    "0000018bcfe56800"  # base timestamp 1700000000000
    "0000018bcfe56800"  # max timestamp
    "ffffffffffffffff"  # producer id
    "ffff"  # producer epoch
    "ffffffff"  # base sequence
    "00000001"  # records count
    "10"  # record length 8
    "00"  # attributes
    "00"  # timestamp delta
    "00"  # offset delta
    "026b"  # key "k"
    "0276"  # value "v"
    "00"  # headers
)


def golden() -> bytes:
    """The bytes above with the checksum that an independent bitwise CRC-32C gives."""
    crc = 0xFFFFFFFF
    for byte in GOLDEN[CRC_FROM:]:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return GOLDEN[:17] + struct.pack(">I", crc ^ 0xFFFFFFFF) + GOLDEN[21:]


def test_a_batch_is_exactly_the_bytes_of_kafkas_documentation() -> None:
    """Field by field, written by hand."""
    ours = batch(b"v", key=b"k", base_offset=5, leader_epoch=2)
    assert ours == golden()
    (record,) = decode_batch(golden())
    assert record == (5, NOW_MS, b"k", b"v", ())


def test_the_header_is_61_bytes() -> None:
    assert HEADER_BYTES == 61


def test_offsets_and_epoch_are_patched_outside_the_checksum() -> None:
    data = bytearray(batch(b"a", b"b"))
    assign(data, 0, 1234567890123, 77)
    header = validate_batch(data)
    assert (header.base_offset, header.partition_leader_epoch) == (1234567890123, 77)
    assert header.next_offset == 1234567890125
    assert batch_size(data) == header.size == len(data)


def test_log_append_time_stamps_every_record_and_keeps_the_checksum_right() -> None:
    data = bytearray(batch(b"a") + batch(b"b", b"c"))
    second = parse_header(data).size
    set_log_append_time(data, second, NOW_MS + 5000)
    (_, first), (_, stamped) = iter_validated(data)
    assert not first.is_log_append_time
    assert stamped.is_log_append_time
    assert [r.timestamp_ms for r in decode_batch(data, second)] == [NOW_MS + 5000] * 2


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_any_flipped_bit_under_the_checksum_is_found(position: int, bit: int) -> None:
    """S3: damaged bytes are not served, not replicated, not appended."""
    data = bytearray(batch(b"some value", key=b"key"))
    position = CRC_FROM + position % (len(data) - CRC_FROM)
    data[position] ^= 1 << bit
    with pytest.raises(CorruptBatchError):
        validate_batch(data)


@given(st.binary(max_size=200))
def test_garbage_is_an_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises((CorruptBatchError, InvalidRecordError)):
        for _ in iter_validated(data + b"\0"):
            pass


@given(st.integers(0, 70))
def test_a_batch_cut_short_is_corrupt_and_left_out_of_the_headers(missing: int) -> None:
    data = batch(b"value")
    cut = data[: len(data) - 1 - missing % (len(data) - 1)]
    with pytest.raises(CorruptBatchError):
        list(iter_validated(cut))
    assert [position for position, _ in iter_headers(data + cut)] == [0]


@pytest.mark.parametrize("length", [-1, 0, 48, -(2**31), 2**31 - 1])
def test_a_length_that_cannot_be_is_refused_before_anything_is_allocated(length: int) -> None:
    data = bytearray(batch(b"v"))
    struct.pack_into(">i", data, 8, length)
    with pytest.raises(CorruptBatchError):
        validate_batch(data)


def test_only_magic_2_is_spoken() -> None:
    data = bytearray(batch(b"v"))
    data[16] = 1
    with pytest.raises(CorruptBatchError, match="magic 1"):
        parse_header(data)


def test_a_walk_stops_before_the_high_watermark() -> None:
    data = batch(b"a", b"b") + batch(b"c", base_offset=2)
    first = parse_header(data).size
    walk = whole_batches(data, end_offset=2, expected=0, epochs=(0, 0))
    assert walk == (first, 2, False)
    assert whole_batches(data, end_offset=1, expected=0, epochs=(0, 0)) == (0, -1, False)


def test_a_walk_notices_an_offset_or_epoch_that_lies() -> None:
    """Both are outside the CRC: a flipped bit there shows only against what the log knows."""
    data = bytearray(batch(b"a", leader_epoch=3) + batch(b"b", base_offset=1, leader_epoch=3))
    first = parse_header(data).size
    assert whole_batches(data, end_offset=9, expected=0, epochs=(3, 3)) == (len(data), 2, False)
    for position in (first + 7, first + 15):
        lying = bytearray(data)
        lying[position] ^= 4
        assert whole_batches(lying, end_offset=9, expected=0, epochs=(3, 3)) == (first, 1, True)


def test_the_attributes_are_kafkas_bits() -> None:
    raw = bytearray(batch(b"v"))
    fields = list(HEADER.unpack_from(raw))
    fields[5] = 0b0111_1011
    header = parse_header(HEADER.pack(*fields) + raw[61:])
    assert header.compression == 3
    assert header.is_log_append_time
    assert header.is_transactional
    assert header.is_control
    assert header.has_delete_horizon

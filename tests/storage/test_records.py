"""Records packed and unpacked."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.compression import Compression
from storage.errors import CorruptBatchError, InvalidRecordError
from storage.record_batch import HEADER, BatchHeader, parse_header, seal
from storage.records import BatchBuilder, decode_batch, decode_records, encode_batch, varint

HEADERS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2**41),
        st.none() | st.binary(max_size=300),
        st.none() | st.binary(max_size=9000),
        HEADERS,
    ),
    min_size=1,
    max_size=20,
)


@given(RECORDS, st.sampled_from(Compression))
def test_what_goes_in_comes_out(records: list, compression: Compression) -> None:  # type: ignore[type-arg]
    data = encode_batch(records, compression=compression, base_offset=100)
    found = [
        (r.timestamp_ms, r.key, r.value, [tuple(h) for h in r.headers]) for r in decode_batch(data)
    ]
    assert found == [(t, k, v, [tuple(h) for h in hs]) for t, k, v, hs in records]
    assert [r.offset for r in decode_batch(data)] == list(range(100, 100 + len(records)))
    assert parse_header(data).max_timestamp == max(r[0] for r in records)


@given(RECORDS)
def test_the_size_is_told_before_the_batch_is_built(records: list) -> None:  # type: ignore[type-arg]
    builder = BatchBuilder()
    for relative, record in enumerate(records):
        assert builder.append(*record) == relative
    assert builder.size == len(builder.build())


@given(st.integers(-(2**63), 2**63 - 1))
def test_varints_are_zigzag_as_in_protobuf(number: int) -> None:
    data = varint(number)
    value = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(data))
    assert (value >> 1) ^ -(value & 1) == number
    assert len(data) <= 10


@given(st.binary(max_size=300), st.integers(0, 50))
def test_garbage_records_are_an_error_and_nothing_else(data: bytes, count: int) -> None:
    header = parse_header(encode_batch([(0, None, b"", ())]))._replace(
        records_count=count, last_offset_delta=count
    )
    with contextlib.suppress(CorruptBatchError, InvalidRecordError):
        assert len(list(decode_records(header, data))) == count


@pytest.mark.parametrize("count", [1000, 2**31 - 1])
def test_a_count_of_records_that_cannot_be_there_is_refused_at_once(count: int) -> None:
    """L2: nothing is allocated by a number in the data."""
    data = encode_batch([(0, None, b"v", ())])
    header = parse_header(data)._replace(records_count=count, last_offset_delta=count - 1)
    with pytest.raises(InvalidRecordError, match="claims"):
        decode_batch(seal(header, data[61:]))


def test_a_count_of_headers_that_cannot_be_there_is_refused() -> None:
    body = b"\0\0\0" + varint(-1) + varint(0) + varint(2**31 - 1)
    header = parse_header(encode_batch([(0, None, b"v", ())]))
    with pytest.raises(InvalidRecordError, match="headers"):
        list(decode_batch(seal(header, varint(len(body)) + body)))


def test_bytes_after_the_last_record_are_refused() -> None:
    data = encode_batch([(0, None, b"v", ())])
    with pytest.raises(InvalidRecordError, match="after its last record"):
        list(decode_batch(seal(parse_header(data), data[61:] + b"\0")))


def test_a_batch_with_gaps_keeps_its_offsets() -> None:
    builder = BatchBuilder(base_timestamp_ms=50)
    builder.append(40, b"a", b"1", offset=3)
    builder.append(60, b"b", None, offset=8)
    header = BatchHeader(100, 0, 0, 2, 0, 0, 9, 50, 60, -1, -1, -1, 2)
    found = list(decode_batch(builder.build_with(header)))
    assert [(r.offset, r.timestamp_ms) for r in found] == [(103, 40), (108, 60)]


def test_producer_fields_and_flags_are_in_the_header() -> None:
    builder = BatchBuilder()
    builder.append(1, None, b"v")
    header = parse_header(
        builder.build(producer_id=9, producer_epoch=3, base_sequence=77, transactional=True)
    )
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (9, 3, 77)
    assert header.is_transactional
    assert not header.is_control


def test_a_batch_is_refused_when_a_record_lies_about_its_offset() -> None:
    builder = BatchBuilder()
    builder.append(1, None, b"v", offset=5)
    data = bytearray(builder.build())
    struct.pack_into(">i", data, 23, 0)
    header = BatchHeader(*HEADER.unpack_from(data))
    with pytest.raises(InvalidRecordError, match="offset delta 5"):
        list(decode_batch(seal(header, data[61:])))

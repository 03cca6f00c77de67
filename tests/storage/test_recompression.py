"""Topics that want a codec of their own."""

import pytest

from storage.compression import Compression
from storage.errors import CorruptBatchError
from storage.log_append import recompressed
from storage.log_config import CompressionType
from storage.record_batch import parse_header, validate_batch
from storage.records import BatchBuilder, decode_batch


def batch(kind: Compression, *values: bytes) -> bytes:
    builder = BatchBuilder()
    for value in values:
        builder.append(1000, b"k", value)
    return builder.build(compression=kind, producer_id=7, producer_epoch=1, base_sequence=3)


@pytest.mark.parametrize("came", list(Compression))
@pytest.mark.parametrize("wanted", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
def test_records_and_identity_stay_and_the_codec_is_the_topics(
    came: Compression, wanted: CompressionType
) -> None:
    data = bytearray(batch(came, b"a" * 500, b"b") + batch(came, b"c"))
    found = recompressed(data, wanted)
    kind = Compression.NONE if wanted == "uncompressed" else Compression[wanted.upper()]
    values: list[bytes | None] = []
    position = 0
    while position < len(found):
        header = validate_batch(found, position)
        assert header.compression == kind
        assert (header.producer_id, header.producer_epoch, header.base_sequence) == (7, 1, 3)
        values += [record.value for record in decode_batch(found, position)]
        position += header.size
    assert values == [b"a" * 500, b"b", b"c"]


def test_what_is_right_already_is_not_touched() -> None:
    data = bytearray(batch(Compression.ZSTD, b"a"))
    assert recompressed(data, "zstd") is data
    assert recompressed(data, "producer") is data


def test_damage_is_found_before_anything_is_unpacked() -> None:
    data = bytearray(batch(Compression.GZIP, b"a" * 100))
    data[-1] ^= 1
    assert parse_header(data).compression == Compression.GZIP
    with pytest.raises(CorruptBatchError):
        recompressed(data, "lz4")

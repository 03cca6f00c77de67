"""The codecs, their framings, and the lid on them."""

import contextlib
import gzip
from collections.abc import Callable

import cramjam
import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from storage import compression as module
from storage.compression import Compression, codec, compress, decompress
from storage.errors import CorruptBatchError, InvalidRecordError, UnsupportedCompressionError

PACKED = [kind for kind in Compression if kind is not Compression.NONE]
BOMB = bytes(64 * 1024 * 1024)


@given(st.binary(max_size=100_000), st.sampled_from(Compression))
def test_what_goes_in_comes_out(data: bytes, kind: Compression) -> None:
    assert decompress(kind, compress(kind, data)) == data


@pytest.mark.parametrize("kind", PACKED)
def test_large_data_of_every_kind_comes_out(kind: Compression) -> None:
    data = b"".join(b"%d," % number for number in range(500_000))
    assert decompress(kind, memoryview(compress(kind, data))) == data


def test_snappy_is_read_with_and_without_xerials_framing() -> None:
    """Java frames it, librdkafka does not."""
    data = b"hello " * 20_000
    assert decompress(Compression.SNAPPY, bytes(cramjam.snappy.compress_raw(data))) == data
    assert compress(Compression.SNAPPY, data)[:8] == b"\x82SNAPPY\0"


def test_zstd_without_a_size_in_its_frame_is_read() -> None:
    """Java streams it out and never knows the size."""
    packer = zstandard.ZstdCompressor().compressobj()
    packed = packer.compress(b"abc" * 1000) + packer.flush()
    assert decompress(Compression.ZSTD, packed) == b"abc" * 1000


@pytest.mark.parametrize("kind", PACKED)
def test_a_bomb_is_refused(kind: Compression) -> None:
    """L2, CVE-2023-34455: a few bytes that unpack to far more than allowed."""
    packers: dict[Compression, Callable[[bytes], bytes]] = {
        Compression.GZIP: gzip.compress,
        Compression.SNAPPY: lambda data: bytes(cramjam.snappy.compress_raw(data)),
        Compression.LZ4: lz4.frame.compress,
        Compression.ZSTD: zstandard.ZstdCompressor().compress,
    }
    packed = packers[kind](BOMB)
    with pytest.raises(InvalidRecordError, match="unpack to more than"):
        decompress(kind, packed, max_bytes=1024 * 1024)


def test_a_ratio_beyond_belief_is_refused_below_the_absolute_limit() -> None:
    packed = zstandard.ZstdCompressor().compress(BOMB)
    assert len(BOMB) < module.MAX_DECOMPRESSED_BYTES
    with pytest.raises(InvalidRecordError):
        decompress(Compression.ZSTD, packed)


def test_a_snappy_header_that_claims_gigabytes_allocates_nothing() -> None:
    with pytest.raises(InvalidRecordError):
        decompress(Compression.SNAPPY, b"\xff\xff\xff\xff\x0f" + b"x" * 100)


@pytest.mark.parametrize("kind", PACKED)
@given(st.data())
def test_damaged_data_is_an_error_of_ours(kind: Compression, data: st.DataObject) -> None:
    packed = bytearray(compress(kind, b"some data to be damaged " * 20))
    mutation = data.draw(st.integers(0, len(packed) - 1))
    if data.draw(st.booleans()):
        packed = packed[:mutation]
    else:
        packed[mutation] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(CorruptBatchError, InvalidRecordError):
        decompress(kind, bytes(packed))


def test_an_unknown_codec_names_the_known_ones() -> None:
    with pytest.raises(UnsupportedCompressionError, match="zstd"):
        codec(5)

"""Kafka's compression codecs, with a lid on what a few bytes may unpack to.

Codec libraries are imported when first used: a broker that never decodes records never loads them. Every
decompressor stops at the lid instead of trusting a length in the data (CVE-2023-34455).
"""

import zlib
from enum import IntEnum
from struct import Struct

from storage.errors import CorruptBatchError, InvalidRecordError, UnsupportedCompressionError

Buffer = bytes | bytearray | memoryview

MAX_DECOMPRESSED_BYTES = 128 * 1024 * 1024
RATIO_LIMIT = 1000
RATIO_FREE_BYTES = 8 * 1024 * 1024
"""Up to here any ratio is believed: a megabyte of one letter is a fair record."""

_ZSTD_WINDOW_BYTES_MAX = 1 << 25
_ZSTD_BITE_BYTES = 512
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
_XERIAL_BLOCK_BYTES = 32 * 1024
_INT = Struct(">i")


class Compression(IntEnum):
    """Kafka's codec numbers, the low three bits of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


def codec(number: int) -> Compression:
    """The codec of that number. Raises UnsupportedCompressionError."""
    try:
        return Compression(number)
    except ValueError:
        raise UnsupportedCompressionError(
            f"compression codec {number} is unknown; known are 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd"
        ) from None


def compress(kind: Compression, data: Buffer) -> bytes:
    """`data` in the framing that Kafka's Java clients read."""
    match kind:
        case Compression.NONE:
            return bytes(data)
        case Compression.GZIP:
            packer = zlib.compressobj(6, zlib.DEFLATED, 31)
            return packer.compress(data) + packer.flush()
        case Compression.SNAPPY:
            return _snappy_compress(data)
        case Compression.LZ4:
            import lz4.frame

            # Java reads only independent blocks.
            packed: bytes = lz4.frame.compress(bytes(data), block_linked=False, store_size=False)
            return packed
        case Compression.ZSTD:
            import zstandard

            return zstandard.ZstdCompressor(level=3).compress(data)


def decompress(
    kind: Compression, data: Buffer, *, max_bytes: int = MAX_DECOMPRESSED_BYTES
) -> bytes:
    """The bytes behind `data`, at most `max_bytes` and at most `RATIO_LIMIT` times its size beyond 8 MiB.

    Raises CorruptBatchError when the data is not of that codec, InvalidRecordError when it unpacks to too much.
    """
    if kind is Compression.NONE:
        return bytes(data)
    limit = min(max_bytes, max(RATIO_FREE_BYTES, RATIO_LIMIT * len(data)))
    match kind:
        case Compression.GZIP:
            unpacked = _gzip_decompress(data, limit)
        case Compression.SNAPPY:
            unpacked = _snappy_decompress(data, limit)
        case Compression.LZ4:
            unpacked = _lz4_decompress(data, limit)
        case Compression.ZSTD:
            unpacked = _zstd_decompress(data, limit)
    if len(unpacked) > limit:
        raise _too_large(kind.name.lower(), len(data), limit)
    return unpacked


def _too_large(name: str, size: int, limit: int) -> InvalidRecordError:
    return InvalidRecordError(
        f"{size} bytes of {name} unpack to more than the {limit} bytes allowed"
    )


def _gzip_decompress(data: Buffer, limit: int) -> bytes:
    unpacker = zlib.decompressobj(31)
    try:
        unpacked = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise CorruptBatchError(f"damaged gzip data: {error}") from error
    if len(unpacked) <= limit and not unpacker.eof:
        raise CorruptBatchError("damaged gzip data: it ends early")
    return unpacked


def _snappy_compress(data: Buffer) -> bytes:
    import cramjam

    view = memoryview(data)
    parts = [_XERIAL_MAGIC, _INT.pack(1), _INT.pack(1)]
    for start in range(0, len(view), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(view[start : start + _XERIAL_BLOCK_BYTES]))
        parts += (_INT.pack(len(block)), block)
    return b"".join(parts)


def _snappy_decompress(data: Buffer, limit: int) -> bytes:
    view = memoryview(data)
    if bytes(view[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return _snappy_block(view, limit)
    parts: list[bytes] = []
    total, position = 0, _XERIAL_HEADER_BYTES
    while position < len(view):
        if len(view) - position < _INT.size:
            raise CorruptBatchError("damaged snappy data: a block has no length")
        (length,) = _INT.unpack_from(view, position)
        position += _INT.size
        if not 0 < length <= len(view) - position:
            raise CorruptBatchError(f"damaged snappy data: a block claims {length} bytes")
        parts.append(_snappy_block(view[position : position + length], limit - total))
        total += len(parts[-1])
        position += length
    return b"".join(parts)


def _snappy_block(block: memoryview, limit: int) -> bytes:
    import cramjam

    # The claimed length is a varint in front; cramjam allocates by it, so it is judged first.
    claimed = shift = 0
    for byte in block[:5]:
        claimed |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise CorruptBatchError("damaged snappy data: its length never ends")
    if claimed > limit:
        raise _too_large("snappy", len(block), limit)
    try:
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise CorruptBatchError(f"damaged snappy data: {error}") from error


def _lz4_decompress(data: Buffer, limit: int) -> bytes:
    import lz4.frame

    unpacker = lz4.frame.LZ4FrameDecompressor()
    try:
        unpacked: bytes = unpacker.decompress(bytes(data), max_length=limit + 1)
    except (RuntimeError, EOFError) as error:
        raise CorruptBatchError(f"damaged lz4 data: {error}") from error
    if len(unpacked) <= limit and not unpacker.eof:
        raise CorruptBatchError("damaged lz4 data: it ends early")
    return unpacked


def _zstd_decompress(data: Buffer, limit: int) -> bytes:
    import zstandard

    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX).decompressobj()
    view, parts, total = memoryview(data), list[bytes](), 0
    try:
        # Small bites: the library returns everything that a bite unpacks to.
        for start in range(0, len(view), _ZSTD_BITE_BYTES):
            if unpacker.eof:
                raise CorruptBatchError("damaged zstd data: bytes after the end of the frame")
            parts.append(unpacker.decompress(view[start : start + _ZSTD_BITE_BYTES]))
            total += len(parts[-1])
            if total > limit:
                raise _too_large("zstd", len(data), limit)
    except zstandard.ZstdError as error:
        raise CorruptBatchError(f"damaged zstd data: {error}") from error
    if not unpacker.eof:
        raise CorruptBatchError("damaged zstd data: it ends early")
    return b"".join(parts)

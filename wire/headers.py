"""What stands before every request and every response (Kafka protocol guide, "Headers"; KIP-482)."""

import struct
from typing import NamedTuple

from wire.api_keys import ApiKey
from wire.errors import WireError
from wire.primitives import read_bytes, read_uvarint

_START = struct.Struct(">hhi")
_CORRELATION = struct.Struct(">i")
_KEY_VERSION = struct.Struct(">hh")


class RequestHeader(NamedTuple):
    """`body_at`: where the body begins in the frame."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str
    body_at: int


def key_and_version(frame: memoryview) -> tuple[int, int]:
    """The first thing to know of a request. Raises WireError."""
    if len(frame) < _START.size:
        raise WireError(f"a request of {len(frame)} bytes")
    key, version = _KEY_VERSION.unpack_from(frame)
    return key, version


def decode_request_header(frame: memoryview, *, flexible: bool) -> RequestHeader:
    """Raises WireError."""
    try:
        key, version, correlation_id = _START.unpack_from(frame)
        # The client id keeps its old form in flexible versions (KIP-511).
        client, position = read_bytes(frame, _START.size, narrow=True)
        if flexible:
            position = skip_tagged(frame, position)
        name = "" if client is None else str(client, "utf-8")
    except (struct.error, IndexError):
        raise WireError("a request header is cut off") from None
    except UnicodeDecodeError:
        raise WireError("a client id is no UTF-8") from None
    return RequestHeader(key, version, correlation_id, name, position)


def skip_tagged(data: memoryview, position: int) -> int:
    """Where the tagged fields that begin at `position` end. Raises WireError, IndexError."""
    count, position = read_uvarint(data, position)
    for _ in range(count):
        _, position = read_uvarint(data, position)
        size, position = read_uvarint(data, position)
        position += size
        if position > len(data):
            raise WireError("a tagged field reaches beyond its message")
    return position


def response_header(api_key: int, correlation_id: int, *, flexible: bool) -> bytes:
    """ApiVersions keeps the old form for ever: its reader does not know yet what this broker speaks (KIP-511)."""
    head = _CORRELATION.pack(correlation_id)
    return head + b"\x00" if flexible and api_key != ApiKey.API_VERSIONS else head

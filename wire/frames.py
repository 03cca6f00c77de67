"""Whole frames out of a stream of bytes: four bytes of length, then that many.

An idle connection holds no buffer: bytes come into a scratch buffer that all connections of a process share (they are
received one after the other), and only the rest of a frame that has begun gets memory of its own, in proportion to
what has arrived of it.
"""

import struct

from wire.errors import WireError

_LENGTH = struct.Struct(">i")
SCRATCH_BYTES = 256 * 1024
FIRST_BYTES = 64 * 1024
TRUST = 16
"""A frame gets at most so many times the bytes that have arrived of it."""


class FrameAssembler:
    """The receiving side of one connection. `scratch` is shared, `max_bytes` the longest frame that is taken."""

    __slots__ = ("_filled", "_frame", "_head", "_length", "_max_bytes", "_scratch")

    def __init__(self, scratch: bytearray, max_bytes: int) -> None:
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._head = b""
        self._frame: bytearray | None = None
        self._filled = 0
        self._length = 0

    @property
    def held_bytes(self) -> int:
        """Memory that the frame under way has."""
        return len(self._frame) if self._frame is not None else 0

    def buffer(self) -> memoryview:
        """Where the next bytes are to be received."""
        if self._frame is None:
            return memoryview(self._scratch)
        if self._filled == len(self._frame):
            # A new one: whoever was given the old one may still hold it, and then it cannot grow.
            grown = bytearray(min(self._length, TRUST * self._filled))
            grown[: self._filled] = self._frame
            self._frame = grown
        return memoryview(self._frame)[self._filled :]

    def received(self, count: int) -> list[memoryview]:
        """`count` bytes came into `buffer()`. Returns the frames that are whole now. Raises WireError."""
        if self._frame is None:
            data = memoryview(self._scratch)[:count]
            return self._cut(data if not self._head else memoryview(self._head + data))
        self._filled += count
        if self._filled < self._length:
            return []
        frame, self._frame = self._frame, None
        return [memoryview(frame)]

    def _cut(self, data: memoryview) -> list[memoryview]:
        frames: list[memoryview] = []
        position, end = 0, len(data)
        self._head = b""
        while end - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, position)
            if not 0 < length <= self._max_bytes:
                raise WireError(self._complaint(data[position : position + 4], length))
            position += _LENGTH.size
            if end - position < length:
                self._begin(data[position:], length)
                return frames
            frames.append(memoryview(bytearray(data[position : position + length])))
            position += length
        self._head = bytes(data[position:])
        return frames

    def _begin(self, part: memoryview, length: int) -> None:
        have = len(part)
        frame = bytearray(min(length, max(FIRST_BYTES, TRUST * have)))
        frame[:have] = part
        self._frame, self._filled, self._length = frame, have, length

    def _complaint(self, first: memoryview, length: int) -> str:
        raw = bytes(first)
        if raw[:2] == b"\x16\x03":
            return "this looks like TLS, and this listener speaks plain text"
        if raw in (b"GET ", b"POST", b"PUT ", b"HEAD"):
            return "this looks like HTTP, and this listener speaks the Kafka protocol"
        if raw == b"PRI ":
            return "this looks like gRPC, and this listener speaks the Kafka protocol"
        return f"a frame of {length} bytes; socket.request.max.bytes is {self._max_bytes}"

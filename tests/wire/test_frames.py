"""Frames out of bytes that come in any portions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import WireError
from wire.frames import FIRST_BYTES, SCRATCH_BYTES, TRUST, FrameAssembler


def feed(assembler: FrameAssembler, data: bytes, portion: int) -> list[bytes]:
    frames = []
    while data:
        room = assembler.buffer()
        size = min(len(room), portion, len(data))
        room[:size] = data[:size]
        data = data[size:]
        frames += [bytes(each) for each in assembler.received(size)]
    return frames


def packed(*frames: bytes) -> bytes:
    return b"".join(len(each).to_bytes(4, "big") + each for each in frames)


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    st.integers(1, 700),
    st.integers(1, 9),
)
def test_frames_come_out_as_they_went_in(frames: list[bytes], portion: int, factor: int) -> None:
    frames = [each * factor for each in frames]
    assembler = FrameAssembler(bytearray(512), 1 << 20)
    assert feed(assembler, packed(*frames), portion) == frames
    assert assembler.held_bytes == 0


def test_a_large_frame_is_received_in_place() -> None:
    frame = bytes(range(256)) * 8000
    assembler = FrameAssembler(bytearray(SCRATCH_BYTES), 1 << 24)
    assert feed(assembler, packed(frame, b"next"), 50_000) == [frame, b"next"]


def test_memory_follows_what_has_arrived_and_not_what_is_claimed() -> None:
    assembler = FrameAssembler(bytearray(SCRATCH_BYTES), 1 << 30)
    feed(assembler, (1 << 29).to_bytes(4, "big") + b"x", 5)
    assert assembler.held_bytes <= FIRST_BYTES
    feed(assembler, b"x" * FIRST_BYTES, FIRST_BYTES)
    assert assembler.held_bytes <= TRUST * (FIRST_BYTES + 1)


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"\x00\x00\x00\x00", "a frame of 0 bytes"),
        (b"\xff\xff\xff\xff", "a frame of -1 bytes"),
        (b"\x7f\xff\xff\xff", "2147483647 bytes; socket.request.max.bytes is 1000"),
        (b"\x16\x03\x01\x02", "looks like TLS"),
        (b"GET ", "looks like HTTP"),
        (b"PRI ", "looks like gRPC"),
    ],
)
def test_what_is_no_frame_is_named(first: bytes, says: str) -> None:
    with pytest.raises(WireError, match=says):
        feed(FrameAssembler(bytearray(64), 1000), first, 4)

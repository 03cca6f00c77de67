"""Small facts: atomic, checked, never guessed at."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import checkpoint
from storage.errors import UnreadableFileError
from tests.simulation.disk import SimDisk
from tests.storage.batches import run


@given(st.binary(max_size=50), st.integers(0, 65535))
def test_what_goes_in_comes_out(payload: bytes, version: int) -> None:
    assert checkpoint.decode(checkpoint.encode(payload, version), "f") == (version, payload)


@given(st.binary(max_size=50), st.data())
def test_any_flipped_bit_and_any_lost_byte_is_an_error_that_names_the_file(
    payload: bytes, data: st.DataObject
) -> None:
    """S2, S6: every kind of file, one byte anywhere."""
    good = checkpoint.encode(payload, 1)
    at = data.draw(st.integers(0, len(good) - 1))
    flipped = bytearray(good)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    for bad in (bytes(flipped), good[:at], b""):
        with pytest.raises(UnreadableFileError, match="some/file"):
            checkpoint.decode(bad, "some/file")


def test_missing_is_none_and_unreadable_is_an_error() -> None:
    disk = SimDisk(random.Random(0))
    assert checkpoint.read(disk, "f") is None
    run(checkpoint.write(disk, "f", b"facts", 1))
    disk.fail_reads = 5
    with pytest.raises(UnreadableFileError, match="f cannot be read"):
        checkpoint.read(disk, "f")


@given(st.integers(0, 1000))
def test_a_power_loss_leaves_the_old_or_the_new_facts(seed: int) -> None:
    """S4, KAFKA-16541; R2: term and vote are one record."""
    disk = SimDisk(random.Random(seed))
    run(checkpoint.write(disk, "f", b"old", 1))
    disk.on_step = lambda _: disk.crash()
    with pytest.raises(OSError, match="crashed"):
        run(checkpoint.write(disk, "f", b"new", 2))
    assert checkpoint.read(disk, "f") in ((1, b"old"), (2, b"new"))

"""The folder's id: the same for as long as the disk is the same (KIP-966)."""

import random

import pytest

from cluster import directory_id
from storage import checkpoint
from storage.errors import UnreadableFileError
from tests.cluster.replication.replicas import disk
from tests.simulation.loop import simulate


def test_an_id_survives_and_every_disk_has_its_own() -> None:
    on, other = disk(), disk()
    drawn = simulate(directory_id.read_or_draw(on, random.Random(1)))
    on.crash()
    assert simulate(directory_id.read_or_draw(on, random.Random(2))) == drawn
    assert simulate(directory_id.read_or_draw(other, random.Random(3))) != drawn


def test_a_damaged_id_is_not_replaced() -> None:
    """A new one would say that the disk lost what it holds."""
    on = disk()
    simulate(checkpoint.write(on, directory_id.FILE, b"short", directory_id.VERSION))
    with pytest.raises(UnreadableFileError, match=r"directory\.id holds 5 bytes"):
        simulate(directory_id.read_or_draw(on, random.Random(1)))

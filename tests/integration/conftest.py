"""Real processes on loopback, each test file with a cluster of its own."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes that serve."""
    yield from running(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes that serve, for one test alone."""
    yield from running(tmp_path / "cluster")


def running(folder: Path) -> Iterator[LocalCluster]:
    """Start, hand over, stop."""
    made = LocalCluster.init(folder, base_port=free_base_port(3, random.Random()))
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.down()

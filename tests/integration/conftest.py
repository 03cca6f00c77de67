"""Real processes on loopback, each test file with a cluster of its own."""

import asyncio
import random
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import pytest

from ottla.local import processes
from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port

LOG_LINES = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes that serve."""
    yield from running(tmp_path_factory.mktemp("cluster"))


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes that serve, for one test alone."""
    yield from running(tmp_path / "cluster")


def running(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[LocalCluster]:
    """Start, hand over, stop."""
    made = LocalCluster.init(
        folder, base_port=free_base_port(3, random.Random()), settings=settings or {}
    )
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is told with what the nodes said last."""
    report = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        for found in item.funcargs.values():
            if isinstance(found, LocalCluster):
                for node in found.nodes:
                    report.sections.append((node.log.name, processes.last_lines(node, LOG_LINES)))
    return report

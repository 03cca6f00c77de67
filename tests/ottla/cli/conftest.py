"""The command line against a cluster of real processes."""

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from ottla.cli.main import app
from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port


class Ran(NamedTuple):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.out)


Ottla = Callable[..., Ran]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Four nodes that serve: one more than a topic has replicas."""
    made = LocalCluster.init(
        tmp_path_factory.mktemp("cluster"), nodes=4, base_port=free_base_port(4, random.Random())
    )
    try:
        asyncio.run(made.up())
        yield made
    finally:
        made.down()


@pytest.fixture
def kafka(cluster: LocalCluster) -> str:
    """The option that every script for Kafka's tools has, with a Kafka listener."""
    return f"--bootstrap-server {cluster.nodes[1].kafka}"


@pytest.fixture
def ottla(cluster: LocalCluster) -> Ottla:
    """Runs a command line against the cluster."""

    def run(line: str, *words: str, stdin: str = "") -> Ran:
        environment = {
            "OTTLA_BOOTSTRAP": cluster.bootstrap,
            "OTTLA_LOCAL_DIR": str(cluster.folder),
        }
        done = CliRunner().invoke(app, [*line.split(), *words], input=stdin, env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run

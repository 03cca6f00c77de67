"""Other people's client tests (`../shared/suites`): all that pass on Apache Kafka pass here, less the exceptions in
README.md.
"""

import asyncio
import random
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port

LIMIT_S = 45 * 60.0
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(LIMIT_S)]

ROOT = Path(__file__).parents[2]
COMPARE = ROOT.parent / "shared" / "suites" / "compare"
SUITES = ("kcat", "kafka-python", "java-tools", "librdkafka")
# What the baselines were taken with, less what belongs to security and share groups.
SETTINGS = {
    "num.partitions": "4",
    "auto.create.topics.enable": "true",
    "default.replication.factor": "3",
    "min.insync.replicas": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
}
MISSING = "Kafka passes these, this broker does not:"
EXCEPTION = re.compile(
    r"^\| (?P<suite>[a-z-]+) \| `(?P<test>[^`]+)` \| (?P<why>.+) \|$", re.MULTILINE
)


@pytest.fixture
def bootstrap(tmp_path: Path) -> Iterator[str]:
    """Three fresh nodes: the suites' topics and groups have fixed names."""
    base_port = free_base_port(3, random.Random())
    made = LocalCluster.init(tmp_path / "cluster", base_port=base_port, settings=SETTINGS)
    try:
        asyncio.run(made.up())
        yield ",".join(node.kafka for node in made.nodes)
    finally:
        made.down()


class Exceptions(NamedTuple):
    """Patterns of tests: those that fail, and those that may."""

    fails: list[str]
    varies: list[str]


def exceptions(suite: str) -> Exceptions:
    """As README.md lists them, each with its reason."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    found = [match for match in EXCEPTION.finditer(text) if match["suite"] == suite]
    varies = [match["test"] for match in found if match["why"].startswith("varies")]
    return Exceptions([each["test"] for each in found if each["test"] not in varies], varies)


@pytest.mark.parametrize("suite", SUITES)
def test_what_passes_on_apache_kafka_passes_here(suite: str, bootstrap: str) -> None:
    if not COMPARE.exists():
        pytest.skip(f"{COMPARE} is not there")
    done = subprocess.run(
        [str(COMPARE), suite, bootstrap],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    print(done.stdout)
    assert done.returncode <= 1, f"the suite could not run: {done.stdout[-2000:]}"
    listed = done.stdout.partition(MISSING)[2].splitlines()
    failed = [line.strip() for line in listed if line.startswith("  ")]
    known = exceptions(suite)
    patterns = known.fails + known.varies
    assert [each for each in failed if not any(fnmatchcase(each, one) for one in patterns)] == []
    stale = [one for one in known.fails if not any(fnmatchcase(each, one) for each in failed)]
    assert stale == [], "these pass now: take them off the list in README.md"

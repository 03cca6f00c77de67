"""What Apache Kafka answers to right and wrong requests, Ottla answers, too (oracle.json; differences.py)."""

import asyncio
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port
from tests.compat.differences import DIFFERENCES
from tests.compat.oracle import SCENARIOS, ask, recorded

pytestmark = pytest.mark.integration

SETTINGS = {"group.initial.rebalance.delay.ms": "0"}


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Three nodes."""
    base_port = free_base_port(3, random.Random())
    made = LocalCluster.init(
        tmp_path_factory.mktemp("oracle") / "cluster", base_port=base_port, settings=SETTINGS
    )
    try:
        asyncio.run(made.up())
        yield ",".join(node.kafka for node in made.nodes)
    finally:
        made.down()


def different(answers: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {"expected": expected.get(name), "answered": answer}
        for name, answer in answers.items()
        if answer != expected.get(name)
    }


def test_everything_is_answered_as_apache_kafka_does(bootstrap: str) -> None:
    expected = recorded() | {name: answer for name, (answer, _) in DIFFERENCES.items()}
    assert len(SCENARIOS) > 100
    assert different(ask(bootstrap), expected) == {}


def test_differences_are_differences() -> None:
    """Whoever makes them vanish removes them from the list."""
    known = recorded()
    assert [name for name, (answer, _) in DIFFERENCES.items() if answer == known[name]] == []


@pytest.mark.slow
def test_the_recorded_answers_are_what_apache_kafka_says_today() -> None:
    """OTTLA_KAFKA_ORACLE: the address of an Apache Kafka of three nodes, `group.initial.rebalance.delay.ms=0`."""
    address = os.environ.get("OTTLA_KAFKA_ORACLE")
    if not address:
        pytest.skip("OTTLA_KAFKA_ORACLE names no Apache Kafka to ask")
    assert different(ask(address), recorded()) == {}

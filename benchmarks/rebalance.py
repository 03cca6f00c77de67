"""How long a group of many members takes to rebalance, with either protocol: `python -m benchmarks.rebalance`.

The clock runs from the moment at which members come or go until each has its part of what all have: everything is read,
by one member each, and everybody knows the newest generation or epoch. With `--bootstrap` any broker is measured.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from rich.console import Console
from rich.table import Table

from benchmarks.group_members import (
    ClassicMember,
    Connection,
    Member,
    NewMember,
    coordinator,
)
from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port
from wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from wire.messages.metadata import MetadataRequest, MetadataRequestTopic

KINDS = {"classic": ClassicMember, "KIP-848": NewMember}
LOOK_S = 0.005
LIMIT_S = 120.0
SETTINGS = {"group.initial.rebalance.delay.ms": "0"}


class Outcome(NamedTuple):
    """Seconds until all have their parts: all come at once, one more comes, one goes."""

    all_come_s: float
    one_comes_s: float
    one_goes_s: float


class Crowd:
    """The members of one group, and whether they have settled."""

    def __init__(
        self, made: Callable[[], Member], address: tuple[str, int], tasks: asyncio.TaskGroup
    ) -> None:
        self._made = made
        self._address = address
        self._tasks = tasks
        self._members: list[tuple[Member, asyncio.Event]] = []
        self._before = 0

    def come(self, count: int) -> None:
        """So many at once."""
        self._remember()
        for _ in range(count):
            member, leaving = self._made(), asyncio.Event()
            self._members.append((member, leaving))
            self._tasks.create_task(member.run(self._address, leaving))

    def go(self, count: int) -> None:
        """Those that came last."""
        self._remember()
        for _ in range(count):
            self._members.pop()[1].set()

    def _remember(self) -> None:
        self._before = max((member.epoch for member, _ in self._members), default=0)

    @property
    def settled(self) -> bool:
        """Whether each partition is read by one member, all as many, all at one epoch, which is a new one."""
        members = [member for member, _ in self._members]
        epochs = {each.epoch for each in members}
        if len(epochs) > 1 or max(epochs) <= self._before:
            return False
        shares = [len(each.share) for each in members]
        read = frozenset[int]().union(*(each.share for each in members))
        everything = members[0].partitions
        return len(read) == sum(shares) == everything and max(shares) - min(shares) <= 1

    async def settle(self) -> float:
        """Seconds from now. Raises TimeoutError."""
        began = time.perf_counter()
        async with asyncio.timeout(LIMIT_S):
            while not self.settled:  # noqa: ASYNC110 - members tell nobody
                await asyncio.sleep(LOOK_S)
        return time.perf_counter() - began


async def measure(
    bootstrap: tuple[str, int], kind: str, count: int, partitions: int, heartbeat_s: float
) -> Outcome:
    """A group of its own, on a topic of its own."""
    name = f"rebalance-{time.time_ns()}"
    topic_id = await _topic(bootstrap, name, partitions)
    address = await coordinator(bootstrap, name)
    async with asyncio.TaskGroup() as tasks:
        crowd = Crowd(
            lambda: KINDS[kind](name, name, topic_id, partitions, heartbeat_s), address, tasks
        )
        crowd.come(count)
        all_come_s = await crowd.settle()
        crowd.come(1)
        one_comes_s = await crowd.settle()
        crowd.go(1)
        one_goes_s = await crowd.settle()
        crowd.go(count)
    return Outcome(all_come_s, one_comes_s, one_goes_s)


async def _topic(bootstrap: tuple[str, int], name: str, partitions: int) -> UUID:
    connection = await Connection.to(bootstrap)
    try:
        wanted = CreatableTopic(name=name, num_partitions=partitions, replication_factor=-1)
        made = await connection.call(CreateTopicsRequest(topics=(wanted,), timeout_ms=30_000), 7)
        assert not made.topics[0].error_code, made
        async with asyncio.timeout(LIMIT_S):
            while True:
                request = MetadataRequest(topics=(MetadataRequestTopic(name=name),))
                found = (await connection.call(request, 12)).topics[0]
                if not found.error_code and all(each.leader_id >= 0 for each in found.partitions):
                    assert isinstance(found.topic_id, UUID)
                    return found.topic_id
                await asyncio.sleep(LOOK_S)
    finally:
        connection.close()


@contextmanager
def _brokers(bootstrap: str) -> Iterator[tuple[str, int]]:
    """Those that are named, or a cluster of three of its own."""
    if bootstrap:
        host, port = bootstrap.split(",", maxsplit=1)[0].rsplit(":", 1)
        yield host, int(port)
        return
    with tempfile.TemporaryDirectory(prefix="ottla-bench-") as folder:
        cluster = LocalCluster.init(
            Path(folder) / "cluster",
            base_port=free_base_port(3, random.Random()),
            settings=SETTINGS,
        )
        try:
            asyncio.run(cluster.up())
            host, port = str(cluster.nodes[0].kafka).rsplit(":", 1)
            yield host, int(port)
        finally:
            cluster.down()


def show(rows: Sequence[tuple[str, float, list[Outcome]]]) -> None:
    """A table for people: medians, and the worst."""
    table = Table("protocol", "heartbeats", "all come", "one more comes", "one goes")
    for kind, heartbeat_s, outcomes in rows:
        cells = (
            f"{statistics.median(times):.2f} s (worst {max(times):.2f})"
            for times in zip(*outcomes, strict=True)
        )
        table.add_row(kind, f"{heartbeat_s:g} s", *cells)
    Console().print(table)


def main() -> None:
    """Measure both protocols, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", default="", help="HOST:PORT of a Kafka listener")
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--partitions", type=int, default=300)
    parser.add_argument("--heartbeat-s", type=float, nargs="+", default=[1.0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=KINDS, default=None)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = []
    with _brokers(asked.bootstrap) as bootstrap:
        for kind in [asked.only] if asked.only else KINDS:
            for heartbeat_s in asked.heartbeat_s:
                outcomes = [
                    asyncio.run(
                        measure(bootstrap, kind, asked.members, asked.partitions, heartbeat_s)
                    )
                    for _ in range(asked.repeats)
                ]
                rows.append((kind, heartbeat_s, outcomes))
    if asked.json:
        print(json.dumps(rows))
    else:
        show(rows)


if __name__ == "__main__":
    main()

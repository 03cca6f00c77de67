"""All figures of benchmarks/README.md in one run, on a local cluster of its own: `make bench`.

The machine should be quiet. Figures of one run may be compared with each other and with the targets; machines differ.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ottla.local import processes
from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port

NODES = 3
IDLE_SETTLE_S = 10
IDLE_S = 30
TICKS = os.sysconf("SC_CLK_TCK")
PARTITIONS_FOR_MEMORY = 1000
IDLE_CONNECTIONS = 10_000


class Figure(NamedTuple):
    """One row: what was measured, what came out, what was wanted."""

    name: str
    value: float
    unit: str
    target: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether the target was reached."""
        return self.value <= self.target if self.at_most else self.value >= self.target


class Bench:
    """A cluster and the commands that measure it."""

    def __init__(self, cluster: LocalCluster, rounds: int) -> None:
        self._cluster = cluster
        self._rounds = rounds

    def ottla(self, *words: str) -> Mapping[str, Any]:
        """One `ottla bench` command's facts. Raises CalledProcessError."""
        done = subprocess.run(
            [sys.executable, "-m", "ottla", "bench", *words, "--json"],
            env={**os.environ, "OTTLA_BOOTSTRAP": self._cluster.bootstrap},
            capture_output=True,
            check=True,
        )
        facts: Mapping[str, Any] = json.loads(done.stdout)
        return facts

    def memory_mb(self) -> float:
        """The largest resident size of a node."""
        sizes = []
        for node in self._cluster.nodes:
            status = Path(f"/proc/{processes.pid(node)}/status").read_text(encoding="ascii")
            line = next(each for each in status.splitlines() if each.startswith("VmRSS"))
            sizes.append(int(line.split()[1]) / 1024)
        return max(sizes)

    def cpu_s(self) -> float:
        """Processor time of all nodes so far."""
        total = 0
        for node in self._cluster.nodes:
            fields = Path(f"/proc/{processes.pid(node)}/stat").read_text(encoding="ascii")
            user, system = fields.rpartition(")")[2].split()[11:13]
            total += int(user) + int(system)
        return total / TICKS

    def idle(self) -> Iterator[Figure]:
        """What it costs to do nothing."""
        time.sleep(IDLE_SETTLE_S)
        before = self.cpu_s()
        time.sleep(IDLE_S)
        percent = (self.cpu_s() - before) / IDLE_S * 100
        yield Figure("memory of an idle node", round(self.memory_mb()), "MB", 80, at_most=True)
        yield Figure("idle cluster of three", round(percent, 1), "% of a core", 3, at_most=True)

    def throughput(self) -> Iterator[Figure]:
        """One client process, acks from all, fsync before each."""
        for size, records, target in ((1024, 300_000, 40_000), (100, 1_000_000, 100_000)):
            facts = self.ottla("produce", "--size", str(size), "-n", str(records))
            yield Figure(
                f"produce {size} B", facts["records_per_s"], "records/s", target, at_most=False
            )

    def latency(self) -> Iterator[Figure]:
        """Unary calls at a steady rate."""
        facts = self.ottla("latency", "--seconds", "20")
        yield Figure("unary produce at 200/s, p50", facts["p50_ms"], "ms", 3, at_most=True)
        yield Figure("unary produce at 200/s, p99", facts["p99_ms"], "ms", 15, at_most=True)

    def failover(self) -> Iterator[Figure]:
        """Leaders die, fall silent, and are stopped."""
        for how, p50, worst in (("kill", 0.3, 1.0), ("pause", 2.0, None), ("stop", 0.2, 0.2)):
            words = (
                "--dir",
                str(self._cluster.folder),
                "--how",
                how,
                "--rounds",
                str(self._rounds),
            )
            facts = self.ottla("failover", *words)
            yield Figure(f"gap after {how}, p50", facts["gap_p50_s"], "s", p50, at_most=True)
            if worst is not None:
                yield Figure(
                    f"gap after {how}, worst", facts["gap_max_s"], "s", worst, at_most=True
                )
            wrong = facts["failed"] + facts["lost"] + facts["duplicates"] + facts["out_of_order"]
            yield Figure(f"records failed or wrong after {how}", wrong, "", 0, at_most=True)

    def connections(self) -> Iterator[Figure]:
        """What Kafka clients cost that are there and say nothing: all at one node."""
        kafka = self._cluster.nodes[0].kafka
        assert kafka is not None
        host, _, port = kafka.rpartition(":")
        quiet = self.ottla("latency", "--seconds", "20")["p99_ms"]
        before = self.memory_mb()
        many = [sys.executable, "-m", "benchmarks.idle_connections", host, port]
        with subprocess.Popen(
            [*many, str(IDLE_CONNECTIONS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as clients:
            assert clients.stdin is not None
            assert clients.stdout is not None
            assert clients.stdout.readline() == b"open\n"
            more = self.memory_mb() - before
            busy = self.ottla("latency", "--seconds", "20")["p99_ms"]
            clients.stdin.close()
        name = f"{IDLE_CONNECTIONS:,} idle connections"
        yield Figure(f"memory of {name}", round(more), "MB", 60, at_most=True)
        ratio = round(busy / quiet, 2)
        yield Figure(f"p99 of unary produce with {name}", ratio, "times as long", 2, at_most=True)

    def partitions(self) -> Iterator[Figure]:
        """Memory with many replicas; it comes last, the topic stays."""
        subprocess.run(
            [
                *(sys.executable, "-m", "ottla", "topics", "create", "many"),
                *("--partitions", str(PARTITIONS_FOR_MEMORY), "--replication-factor", str(NODES)),
            ],
            env={**os.environ, "OTTLA_BOOTSTRAP": self._cluster.bootstrap},
            check=True,
            capture_output=True,
        )
        time.sleep(IDLE_SETTLE_S)
        name = f"memory of a node with {PARTITIONS_FOR_MEMORY} replicas"
        yield Figure(name, round(self.memory_mb()), "MB", 200, at_most=True)


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[LocalCluster, float]]:
    """A running cluster, and the seconds from its start to the first acknowledged record."""
    import asyncio

    from ottla import Admin, Producer

    cluster = LocalCluster.init(
        folder, nodes=NODES, base_port=free_base_port(NODES, random.Random())
    )

    async def first_ack() -> float:
        began = time.perf_counter()
        await cluster.up(wait=False)
        await cluster.wait_serving([node.node_id for node in cluster.nodes])
        async with Admin(cluster.bootstrap) as admin, Producer(cluster.bootstrap) as producer:
            await admin.create_topic("first", partitions=1, replication_factor=NODES)
            await producer.send_and_wait("first", b"hello")
            return time.perf_counter() - began

    try:
        yield cluster, asyncio.run(first_ack())
    finally:
        cluster.down()


def show(figures: Sequence[Figure]) -> None:
    """A table for people."""
    table = Table("figure", "measured", "target", "")
    for each in figures:
        sign = "<=" if each.at_most else ">="
        table.add_row(
            each.name,
            f"{each.value:,} {each.unit}",
            f"{sign} {each.target:,}",
            "" if each.met else "MISS",
        )
    Console().print(table)


def main() -> None:
    """Measure all, or what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("idle", "latency", "throughput", "connections", "failover", "partitions")
    parser.add_argument("only", nargs="*", help=f"of {', '.join(names)}; by default all")
    parser.add_argument("--rounds", type=int, default=20, help="deaths of each kind")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    figures = []
    with (
        tempfile.TemporaryDirectory(prefix="ottla-bench-") as folder,
        _cluster(Path(folder) / "cluster") as started,
    ):
        cluster, first_ack_s = started
        figures.append(Figure("start to first ack", round(first_ack_s, 2), "s", 2.5, at_most=True))
        bench = Bench(cluster, wanted.rounds)
        for name in wanted.only or names:
            measure: Callable[[], Iterator[Figure]] = getattr(bench, name)
            for figure in measure():
                figures.append(figure)
                print(f"{figure.name}: {figure.value:,} {figure.unit}", file=sys.stderr, flush=True)
    if wanted.json:
        print(json.dumps([each._asdict() | {"met": each.met} for each in figures], indent=2))
    else:
        show(figures)


if __name__ == "__main__":
    main()

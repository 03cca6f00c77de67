"""Ottla and Apache Kafka side by side: the same client, the same machine, one after the other, again and again.

`make compare` (or `python -m benchmarks.compare --repeats 3`). Kafka comes from `../shared/tools/real-kafka`, the
measuring stick is `../shared/tools/kbench.py`; without them there is nothing to compare with. What counts are the
ratios within one run. Kafka keeps records in the page cache; ours are fsynced on all replicas before the ack.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ottla.local import processes
from ottla.local.cluster import LocalCluster
from ottla.local.ports import free_base_port

TOOLS = Path(__file__).parents[2] / "shared" / "tools"
NODES = 3
RUN_LIMIT_S = 600

Facts = Mapping[str, Any]


class Row(NamedTuple):
    """One comparison. target: of ours divided by Kafka's; at_most: whether less is better."""

    name: str
    take: Callable[[Facts], float]
    target: float
    at_most: bool

    def met(self, ratio: float) -> bool:
        """Whether a ratio is what we want."""
        return ratio <= self.target if self.at_most else ratio >= self.target


def _of(*path: str) -> Callable[[Facts], float]:
    def take(facts: Facts) -> float:
        found: Any = facts
        for name in path:
            found = found[name]
        return float(found)

    return take


ROWS = (
    Row("produce 100 B, msg/s", _of("produce_100B", "msg_s"), 1.5, False),
    Row(
        "produce 100 B, broker CPU s per million",
        _of("produce_100B", "broker_cpu_s_per_M"),
        0.5,
        True,
    ),
    Row("produce 1 KB, msg/s", _of("produce_1024B", "msg_s"), 2.0, False),
    Row(
        "produce 1 KB, broker CPU s per million",
        _of("produce_1024B", "broker_cpu_s_per_M"),
        0.4,
        True,
    ),
    Row("produce 10 KB, MB/s", _of("produce_10240B", "MB_s"), 1.5, False),
    Row(
        "produce 10 KB, broker CPU s per million",
        _of("produce_10240B", "broker_cpu_s_per_M"),
        0.6,
        True,
    ),
    Row("produce unbatched, msg/s", _of("produce_unbatched_100B", "msg_s"), 8.0, False),
    Row("consume 1 KB, msg/s", _of("consume_1024B", "msg_s"), 1.2, False),
    Row("ack at 200 msg/s, p50 ms", _of("latency", "ack_p50_ms"), 2.0, True),
    Row("ack at 200 msg/s, p99 ms", _of("latency", "ack_p99_ms"), 1.75, True),
    Row("end to end at 200 msg/s, p50 ms", _of("latency", "e2e_p50_ms"), 1.5, True),
    Row("end to end at 200 msg/s, p99 ms", _of("latency", "e2e_p99_ms"), 1.5, True),
    Row("memory after the run, MB", _of("rss_end_MB"), 0.3, True),
)
"""The targets of acks are Kafka's own figures with fsync as ratios to those without: 1.9 / 0.95 and 12.5 / 7.2 ms."""
SINGLE = (
    Row("one node, RF 1, 1 KB, msg/s", _of("produce_1024B", "msg_s"), 1.2, False),
    Row(
        "one node, RF 1, 1 KB, broker CPU s per million",
        _of("produce_1024B", "broker_cpu_s_per_M"),
        0.6,
        True,
    ),
)


@contextmanager
def kafka(nodes: int) -> Iterator[tuple[str, str]]:
    """Bootstrap addresses and process ids of Apache Kafka."""
    tool = str(TOOLS / "real-kafka")
    subprocess.run([tool, "down"], check=False, capture_output=True)
    subprocess.run([tool, "up", str(nodes)], check=True, capture_output=True)
    try:
        pids = subprocess.run([tool, "pids"], check=True, capture_output=True, text=True)
        yield ",".join(f"127.0.0.1:{29091 + node}" for node in range(nodes)), pids.stdout.strip()
    finally:
        subprocess.run([tool, "down"], check=True, capture_output=True)


@contextmanager
def ours(nodes: int) -> Iterator[tuple[str, str]]:
    """Bootstrap addresses and process ids of a local cluster."""
    with tempfile.TemporaryDirectory() as folder:
        base_port = free_base_port(nodes, random.Random())
        cluster = LocalCluster.init(Path(folder) / "cluster", nodes=nodes, base_port=base_port)
        try:
            asyncio.run(cluster.up())
            pids = ",".join(str(processes.pid(node)) for node in cluster.nodes)
            yield ",".join(node.kafka for node in cluster.nodes), pids
        finally:
            cluster.down()


def measure(bootstrap: str, pids: str, replicas: int, seconds: float) -> Facts:
    """kbench's facts."""
    done = subprocess.run(
        [
            sys.executable,
            str(TOOLS / "kbench.py"),
            *("--bootstrap", bootstrap, "--pids", pids, "--rf", str(replicas)),
            *("--secs", str(seconds)),
        ],
        check=True,
        stdout=subprocess.PIPE,
        timeout=RUN_LIMIT_S,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    facts: Facts = json.loads(done.stdout)
    return facts


def compared(rows: tuple[Row, ...], theirs: list[Facts], mine: list[Facts]) -> list[dict[str, Any]]:
    """Medians and the median of the ratios of neighbouring runs."""
    found = []
    for row in rows:
        pairs = [(row.take(a), row.take(b)) for a, b in zip(theirs, mine, strict=True)]
        ratio = statistics.median(b / a for a, b in pairs)
        found.append(
            {
                "what": row.name,
                "kafka": statistics.median(a for a, _ in pairs),
                "ottla": statistics.median(b for _, b in pairs),
                "ratio": round(ratio, 2),
                "target": row.target,
                "at_most": row.at_most,
                "met": row.met(ratio),
            }
        )
    return found


def show(found: list[dict[str, Any]], console: Console) -> None:
    """A table."""
    table = Table("", "Kafka", "Ottla", "ratio", "target", "")
    for each in found:
        sign = "<=" if each["at_most"] else ">="
        table.add_row(
            each["what"],
            f"{each['kafka']:,.5g}",
            f"{each['ottla']:,.5g}",
            f"{each['ratio']:g}",
            f"{sign} {each['target']:g}",
            "" if each["met"] else "missed",
        )
    console.print(table)


def main() -> None:
    """Both, in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--single", action="store_true", help="one node without replicas, too")
    parser.add_argument("--json", type=Path, help="write all facts to this file")
    options = parser.parse_args()
    if not (TOOLS / "real-kafka").exists():
        raise SystemExit(f"{TOOLS} is not there: nothing to compare with")
    console = Console(stderr=True)
    runs: dict[str, list[Facts]] = {"kafka": [], "ottla": [], "kafka1": [], "ottla1": []}
    kinds = [(NODES, "kafka", "ottla")] + ([(1, "kafka1", "ottla1")] if options.single else [])
    for repeat in range(options.repeats):
        for nodes, theirs, mine in kinds:
            for name, start in ((theirs, kafka), (mine, ours)):
                console.print(f"run {repeat + 1} of {options.repeats}: {name}, {nodes} nodes")
                with start(nodes) as (bootstrap, pids):
                    runs[name].append(measure(bootstrap, pids, nodes, options.seconds))
    found = compared(ROWS, runs["kafka"], runs["ottla"])
    if options.single:
        found += compared(SINGLE, runs["kafka1"], runs["ottla1"])
    show(found, Console(width=110))
    if options.json:
        options.json.write_text(json.dumps({"compared": found, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

"""`ottla bench`: figures of a cluster, as a client sees them."""

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ottla.cli import common
from ottla.cli.records import Codec

app = typer.Typer(
    no_args_is_help=True,
    help="Measure a cluster from this machine: throughput, latency, failover. Compare figures of one run with each "
    "other; machines differ.",
)

TopicOption = Annotated[
    str, typer.Option("--topic", help="By default a new one, with 3 replicas, deleted afterwards.")
]
Records = Annotated[int, typer.Option("--records", "-n")]
Size = Annotated[int, typer.Option("--size", help="Bytes of a record's value.")]
Partitions = Annotated[int, typer.Option("--partitions", help="Of a new topic.")]
Replicas = Annotated[int, typer.Option("--replication-factor", help="Of a new topic.")]
Rate = Annotated[int, typer.Option("--rate", help="Records a second.")]


class How(StrEnum):
    """What happens to the leader."""

    KILL = "kill"
    PAUSE = "pause"
    STOP = "stop"


@app.command()
def produce(
    records: Records = 200_000,
    size: Size = 1024,
    partitions: Partitions = 3,
    replication_factor: Replicas = 3,
    compression: Annotated[Codec, typer.Option("--compression", "-z")] = Codec.NONE,
    linger_ms: Annotated[float, typer.Option(help="How long a batch waits for company.")] = 5,
    topic: TopicOption = "",
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Records a second that one client process gets acknowledged by all in-sync replicas."""
    from ottla.bench.throughput import produce

    async def work(name: str, progress: Callable[[int], None]) -> Mapping[str, Any]:
        found = await produce(
            bootstrap,
            name,
            records=records,
            size=size,
            compression=compression.value,
            linger_ms=linger_ms,
            progress=progress,
        )
        return found.facts()

    _measure(bootstrap, topic, partitions, replication_factor, records, work, json)


@app.command()
def consume(
    records: Records = 200_000,
    size: Size = 1024,
    partitions: Partitions = 3,
    replication_factor: Replicas = 3,
    topic: TopicOption = "",
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Records a second that one client process reads; a new topic is filled first."""
    from ottla.bench.throughput import consume, produce

    async def work(name: str, progress: Callable[[int], None]) -> Mapping[str, Any]:
        if not topic:
            await produce(
                bootstrap,
                name,
                records=records,
                size=size,
                compression="none",
                linger_ms=5,
                progress=progress,
            )
        return (await consume(bootstrap, name, records=records, progress=progress)).facts()

    total = records if topic else 2 * records
    _measure(bootstrap, topic, partitions, replication_factor, total, work, json)


@app.command()
def latency(
    rate: Rate = 200,
    seconds: Annotated[float, typer.Option()] = 10,
    size: Size = 100,
    replication_factor: Replicas = 3,
    sdk: Annotated[
        bool, typer.Option("--sdk", help="Through the SDK's producer, not unary calls.")
    ] = False,
    topic: TopicOption = "",
    bootstrap: common.Bootstrap = common.DEFAULT_BOOTSTRAP,
    json: common.Json = False,
) -> None:
    """Time from sending a record to its acknowledgement by all in-sync replicas, at a steady rate."""
    from ottla.bench import latency

    async def work(name: str, progress: Callable[[int], None]) -> Mapping[str, Any]:
        measure = latency.sdk if sdk else latency.unary
        found = await measure(
            bootstrap, name, rate=rate, seconds=seconds, size=size, progress=progress
        )
        return {
            "records": int(rate * seconds),
            "rate_per_s": rate,
            **{f"p{each:g}_ms": found.ms(each) for each in (50, 90, 99, 99.9)},
            "max_ms": found.ms(100),
        }

    _measure(bootstrap, topic, 1, replication_factor, int(rate * seconds), work, json)


@app.command()
def failover(
    directory: Annotated[
        Path,
        typer.Option(
            "--dir", envvar="OTTLA_LOCAL_DIR", help="A cluster of `ottla local`, which must be up."
        ),
    ] = Path("ottla-data"),
    how: Annotated[
        How, typer.Option(help="kill: SIGKILL, pause: SIGSTOP, stop: SIGTERM.")
    ] = How.KILL,
    rounds: Annotated[int, typer.Option(help="How many leaders die, one after the other.")] = 20,
    rate: Rate = 200,
    json: common.Json = False,
) -> None:
    """Let the partition's leader die under a steady load, over and over; tell the gap in acknowledgements, and whether
    anything was lost, doubled or out of order. Exit code 1 if anything was.
    """
    from ottla.bench.failover import failover
    from ottla.local.cluster import LocalCluster

    cluster = common.guarded(lambda: LocalCluster(directory))

    async def work(name: str, progress: Callable[[int], None]) -> Mapping[str, Any]:
        found = await failover(
            cluster, name, how=how.value, rounds=rounds, rate=rate, progress=progress
        )
        return found.facts()

    facts = _measure(cluster.bootstrap, "", 1, 3, rounds, work, json)
    if facts["lost"] or facts["duplicates"] or facts["out_of_order"]:
        raise typer.Exit(1)


def _measure(
    bootstrap: str,
    topic: str,
    partitions: int,
    replication_factor: int,
    total: int,
    work: Callable[[str, Callable[[int], None]], Any],
    json: bool,
) -> Mapping[str, Any]:
    """Make a topic if none is given, measure, show, clean up."""
    from ottla.client.admin import Admin

    async def measure() -> Mapping[str, Any]:
        name = topic or f"bench-{time.time_ns() // 1_000_000}"
        async with Admin(bootstrap) as admin:
            if not topic:
                await admin.create_topic(
                    name, partitions=partitions, replication_factor=replication_factor
                )
            try:
                with common.progress_bar("measuring", total) as progress:
                    found: Mapping[str, Any] = await work(name, progress)
                    return found
            finally:
                if not topic:
                    await admin.delete_topic(name)

    import uvloop

    facts = common.run_with(uvloop.run, measure())
    if json:
        common.print_json(dict(facts))
    else:
        common.print_table(["FIGURE", "VALUE"], list(facts.items()))
    return facts

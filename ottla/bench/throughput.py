"""How many records go in and come out."""

import asyncio
import time
from collections.abc import Callable

from ottla.bench.figures import Latencies, Throughput
from ottla.client.batches import Batch, Delivery
from ottla.client.consumer import Consumer
from ottla.client.errors import ClientError
from ottla.client.producer import CompressionName, Producer

Progress = Callable[[int], None]
# Records between two looks at the clock and the loop.
TURN_RECORDS = 500
PATIENCE_S = 30.0


async def produce(
    bootstrap: str,
    topic: str,
    *,
    records: int,
    size: int,
    compression: CompressionName,
    linger_ms: float,
    progress: Progress,
) -> Throughput:
    """As fast as acknowledgements from all in-sync replicas allow. Raises OttlaError."""
    value = bytes(range(256)) * (size // 256 + 1)
    value = value[:size]
    latencies = Latencies()
    watched: dict[Batch, float] = {}

    def watch(delivery: Delivery) -> None:
        batch = delivery.batch
        if batch not in watched:
            began_s = watched[batch] = time.perf_counter()
            batch.done.add_done_callback(lambda _: latencies.add(time.perf_counter() - began_s))

    async with Producer(bootstrap, compression=compression, linger_ms=linger_ms) as producer:
        await producer.partitions_for(topic)
        began_s = time.perf_counter()
        for start in range(0, records, TURN_RECORDS):
            count = min(TURN_RECORDS, records - start)
            for _ in range(count):
                delivery = await producer.send(topic, value)
            watch(delivery)
            await asyncio.sleep(0)
            progress(count)
        await producer.flush()
        seconds = time.perf_counter() - began_s
        for batch in watched:
            batch.done.result()
    return Throughput(records, records * size, seconds, latencies.ms(50), latencies.ms(99))


async def consume(bootstrap: str, topic: str, *, records: int, progress: Progress) -> Throughput:
    """Read what is there from the beginning. Raises OttlaError, also when there is too little."""
    size = found = 0
    async with Consumer(bootstrap, max_buffer_bytes=32 << 20) as consumer:
        consumer.assign(await consumer.partitions_of(topic))
        began_s = time.perf_counter()
        while found < records:
            got = await consumer.poll(timeout_s=PATIENCE_S, max_records=5000)
            if not got:
                raise ClientError(
                    f"{topic} gave {found} of {records} records and then nothing for {PATIENCE_S:g} s"
                )
            found += len(got)
            size += sum(len(record.value or b"") for record in got)
            progress(len(got))
        seconds = time.perf_counter() - began_s
    return Throughput(found, size, seconds)

"""How long one record takes from send to acknowledgement, at a steady rate."""

import asyncio
import time
from collections.abc import Callable

from ottla.bench.figures import Latencies
from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError, NoBrokerError
from ottla.client.producer import Producer
from ottla.v1 import log_pb2 as pb
from ottla.v1 import log_pb2_grpc

Progress = Callable[[int], None]
Send = Callable[[], "asyncio.Future[None]"]
TIMEOUT_S = 30.0


async def unary(
    bootstrap: str, topic: str, *, rate: int, seconds: float, size: int, progress: Progress
) -> Latencies:
    """One unary Produce call a record, acks from all in-sync replicas. Raises OttlaError."""
    view = ClusterView(bootstrap)
    try:
        await view.refresh([topic])
        leader = view.leader(topic, 0)
        if leader.node_id < 0:
            raise view.errors.get(topic) or NoBrokerError(f"{topic}-0 has no leader")
        stub = log_pb2_grpc.LogServiceStub(view.channel_to(leader.node_id))
        part = pb.PartitionProduce(topic=topic, partition=0, records=[pb.Record(value=bytes(size))])
        request = pb.ProduceRequest(acks=pb.ACKS_ALL, partitions=[part])

        async def send() -> None:
            reply = await stub.Produce(request, timeout=TIMEOUT_S)
            if reply.partitions[0].HasField("error"):
                raise BrokerError(reply.partitions[0].error)

        return await _steadily(send, rate, seconds, progress)
    finally:
        await view.close()


async def sdk(
    bootstrap: str, topic: str, *, rate: int, seconds: float, size: int, progress: Progress
) -> Latencies:
    """The SDK's idempotent producer without linger. Raises OttlaError."""
    value = bytes(size)
    async with Producer(bootstrap, linger_ms=0) as producer:
        await producer.send_and_wait(topic, value, partition=0)

        async def send() -> None:
            await producer.send_and_wait(topic, value, partition=0)

        return await _steadily(send, rate, seconds, progress)


async def _steadily(
    send: Callable[[], "asyncio.Future[None] | object"],
    rate: int,
    seconds: float,
    progress: Progress,
) -> Latencies:
    """Open loop: a slow answer does not hold back the next record, so that it is not hidden.

    A record's clock starts when it is handed over: the loop's timers are coarse, and that is not the cluster's.
    """
    latencies = Latencies()

    async def one(handed_s: float) -> None:
        await send()  # type: ignore[misc]
        latencies.add(time.perf_counter() - handed_s)
        progress(1)

    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began_s + number / rate - time.perf_counter()))
            tasks.create_task(one(time.perf_counter()))
    return latencies

"""One StreamFetch stream from one broker."""

import asyncio
from collections.abc import Callable

import grpc
import grpc.aio

from cluster.together import cancelled_by_us, until_first_ends
from ottla.client.errors import NoBrokerError, plain_reason
from ottla.v1 import common_pb2, log_pb2_grpc
from ottla.v1 import log_pb2 as pb

Call = grpc.aio.StreamStreamCall[pb.StreamFetchRequest, pb.StreamFetchResponse]
Fetched = Callable[["FetchLink", pb.PartitionFetched, int], None]
Broken = Callable[["FetchLink", Exception], None]


class FetchLink:
    """Subscriptions go out, records come in, no more than there is credit for."""

    def __init__(
        self,
        node_id: int,
        channel: grpc.aio.Channel,
        credit_bytes: int,
        fetched: Fetched,
        broken: Broken,
    ) -> None:
        self.node_id = node_id
        self._stub: log_pb2_grpc.LogServiceAsyncStub = log_pb2_grpc.LogServiceStub(channel)
        self._credit_bytes = credit_bytes
        self._fetched = fetched
        self._broken = broken
        self._subscribe: dict[tuple[str, int], pb.FetchPartition] = {}
        self._unsubscribe: list[common_pb2.TopicPartition] = []
        self._returned_bytes = 0
        self._wake = asyncio.Event()
        self._call: Call | None = None

    def subscribe(self, topic: str, partition: int, offset: int, leader_epoch: int) -> None:
        """Begin to read a partition, or begin again at another offset."""
        self._subscribe[topic, partition] = pb.FetchPartition(
            topic=topic, partition=partition, offset=offset, leader_epoch=leader_epoch
        )
        self._wake.set()

    def unsubscribe(self, topic: str, partition: int) -> None:
        """Read a partition no more."""
        self._subscribe.pop((topic, partition), None)
        self._unsubscribe.append(common_pb2.TopicPartition(topic=topic, partition=partition))
        self._wake.set()

    def give_back(self, credit_bytes: int) -> None:
        """Records of so many bytes were consumed: as many more may come."""
        self._returned_bytes += credit_bytes
        # Half a window at a time, so that credit does not cost a message per response.
        if self._returned_bytes * 2 >= self._credit_bytes:
            self._wake.set()

    def break_off(self) -> None:
        """Give the stream up."""
        if self._call is not None:
            self._call.cancel()

    async def run(self) -> None:
        """Speak until the stream breaks, then say so."""
        error: Exception = NoBrokerError(f"node {self.node_id} ended the stream")
        try:
            self._call = self._stub.StreamFetch()
            await until_first_ends(self._write(self._call), self._read(self._call))
        except grpc.aio.AioRpcError as cause:
            error = NoBrokerError(
                f"the connection to node {self.node_id} broke: {plain_reason(cause)}"
            )
        except (NoBrokerError, asyncio.InvalidStateError) as cause:
            error = NoBrokerError(f"the connection to node {self.node_id} broke: {cause}")
        finally:
            if self._call is not None:
                self._call.cancel()
        self._broken(self, error)

    async def _write(self, call: Call) -> None:
        credit = self._credit_bytes
        while True:
            await self._wake.wait()
            self._wake.clear()
            message = pb.StreamFetchRequest(
                subscribe=self._subscribe.values(),
                unsubscribe=self._unsubscribe,
                credit_bytes=credit + self._returned_bytes,
            )
            credit = self._returned_bytes = 0
            self._subscribe = {}
            self._unsubscribe = []
            await call.write(message)

    async def _read(self, call: Call) -> None:
        while True:
            try:
                message = await call.read()
            except asyncio.CancelledError:
                if cancelled_by_us():
                    raise
                raise NoBrokerError("the call was cancelled") from None
            if not isinstance(message, pb.StreamFetchResponse):
                raise NoBrokerError(f"node {self.node_id} ended the stream")
            for partition in message.partitions:
                self._fetched(self, partition, len(partition.batches))

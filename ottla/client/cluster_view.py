"""What a client knows of the cluster: its brokers, its partitions' leaders, and a channel to each node."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
import grpc.aio

from ottla.client.errors import BrokerError, ClosedError, NoBrokerError, is_refusal, plain_reason
from ottla.v1 import admin_pb2 as pb
from ottla.v1 import admin_pb2_grpc, groups_pb2_grpc, log_pb2_grpc
from storage.errors import ErrorCode

MAX_MESSAGE_BYTES = 64 << 20
ATTEMPT_TIMEOUT_S = 1.0
RETRY_PAUSE_S = 0.03

ADDRESS = re.compile(r"(\[[^\]\s]+\]|[^:\s]+):\d{1,5}")
CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 1000),
    # A restarted container may be back under its name long before the default of 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 100),
    ("grpc.enable_retries", 0),
    ("grpc.http2.write_buffer_size", 1 << 20),
    # Without it a stream has 64 KiB on its way at most, and a batch several round trips.
    ("grpc.http2.lookahead_bytes", 4 << 20),
    ("grpc.use_local_subchannel_pool", 1),
]

Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads a partition; node_id -1: nobody at the moment."""

    node_id: int
    epoch: int


@dataclass(slots=True)
class TopicView:
    """A topic as last heard of."""

    topic_id: str
    leaders: list[Leader] = field(default_factory=list)

    @property
    def available(self) -> list[int]:
        """Partitions that have a leader; all of them when none has."""
        return [index for index, leader in enumerate(self.leaders) if leader.node_id >= 0] or list(
            range(len(self.leaders))
        )


class ClusterView:
    """Finds leaders and speaks to nodes. Everything heard is kept until something newer is heard."""

    def __init__(self, bootstrap: str | Sequence[str]) -> None:
        parts = bootstrap.split(",") if isinstance(bootstrap, str) else bootstrap
        self._bootstrap = [part.strip() for part in parts if part.strip()]
        if not self._bootstrap:
            raise NoBrokerError("no bootstrap address given; pass host:port[,host:port]")
        for address in self._bootstrap:
            if not ADDRESS.fullmatch(address):
                raise NoBrokerError(
                    f"the bootstrap address {address!r} is not like host:port, as in 127.0.0.1:9090"
                )
        self.topics: dict[str, TopicView] = {}
        self.errors: dict[str, BrokerError] = {}
        self.addresses: dict[int, str] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._metadata_offset = -1
        self._failed_at: dict[str, float] = {}
        self._refreshing: asyncio.Future[None] | None = None
        self._closed = False

    def leader(self, topic: str, partition: int) -> Leader:
        """The leader as last heard of; node_id -1 when none is known."""
        view = self.topics.get(topic)
        if view is None or partition >= len(view.leaders):
            return Leader(-1, -1)
        return view.leaders[partition]

    def learn(self, topic: str, partition: int, hint: BrokerError) -> bool:
        """Take a broker's word for who leads now, if it is news (KIP-951). Returns whether it was."""
        view = self.topics.get(topic)
        if view is None or partition >= len(view.leaders) or hint.leader_id < 0:
            return False
        if hint.leader_epoch <= view.leaders[partition].epoch:
            return False
        view.leaders[partition] = Leader(hint.leader_id, hint.leader_epoch)
        if hint.leader_address:
            self.addresses[hint.leader_id] = hint.leader_address
        return True

    def channel_to(self, node_id: int) -> grpc.aio.Channel:
        """A channel to a node. Raises NoBrokerError when its address is unknown."""
        address = self.addresses.get(node_id)
        if address is None:
            raise NoBrokerError(f"the address of node {node_id} is not known yet")
        return self.channel(address)

    def channel(self, address: str) -> grpc.aio.Channel:
        """A channel to an address, made when first needed."""
        if self._closed:
            raise ClosedError("this client was closed")
        channel = self._channels.get(address)
        if channel is None:
            channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
            self._channels[address] = channel
        return channel

    async def refresh(self, topics: Sequence[str]) -> None:
        """Ask any node how things stand. Callers at the same time share one request. Raises NoBrokerError."""
        if self._refreshing is not None and not self._refreshing.done():
            await asyncio.shield(self._refreshing)
            if all(topic in self.topics or topic in self.errors for topic in topics):
                return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refreshing = done
        try:
            wanted = sorted({*self.topics, *topics})
            request = pb.GetMetadataRequest(topics=wanted or [""])
            self._take(
                await self.ask(lambda stub, timeout: stub.GetMetadata(request, timeout=timeout))
            )
        finally:
            done.set_result(None)

    async def ask(
        self,
        attempt: Callable[["admin_pb2_grpc.AdminServiceAsyncStub", float], Awaitable[Reply]],
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        node_id: int | None = None,
    ) -> Reply:
        """One admin call at the first node that answers, those that failed lately last; see `_first_answer`."""

        async def on_channel(channel: grpc.aio.Channel) -> Reply:
            return await attempt(admin_pb2_grpc.AdminServiceStub(channel), timeout_s)

        return await self._first_answer(on_channel, node_id)

    async def ask_log(
        self,
        attempt: Callable[["log_pb2_grpc.LogServiceAsyncStub", float], Awaitable[Reply]],
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        node_id: int | None = None,
    ) -> Reply:
        """One call of the log service at the first node that answers, or at `node_id`; see `_first_answer`."""

        async def on_channel(channel: grpc.aio.Channel) -> Reply:
            return await attempt(log_pb2_grpc.LogServiceStub(channel), timeout_s)

        return await self._first_answer(on_channel, node_id)

    async def ask_groups(
        self,
        attempt: Callable[["groups_pb2_grpc.GroupServiceAsyncStub", float], Awaitable[Reply]],
        *,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
        node_id: int | None = None,
    ) -> Reply:
        """One call of the group service at the first node that answers, or at `node_id`; see `_first_answer`."""

        async def on_channel(channel: grpc.aio.Channel) -> Reply:
            return await attempt(groups_pb2_grpc.GroupServiceStub(channel), timeout_s)

        return await self._first_answer(on_channel, node_id)

    async def topic_names(self) -> list[str]:
        """All topics that there are, those of the system left out. Raises NoBrokerError."""
        request = pb.GetMetadataRequest()
        reply = await self.ask(lambda stub, timeout: stub.GetMetadata(request, timeout=timeout))
        return sorted(each.name for each in reply.topics if not each.internal)

    async def _first_answer(
        self, attempt: Callable[[grpc.aio.Channel], Awaitable[Reply]], node_id: int | None
    ) -> Reply:
        """Raises NoBrokerError when nobody answers, or none that can help: UNAVAILABLE and DEADLINE_EXCEEDED mean
        another node. Any other refusal is raised as grpc.aio.AioRpcError.
        """
        refusals: list[str] = []
        silent: dict[str, list[str]] = {}
        addresses = [self.addresses[node_id]] if node_id is not None else self._by_trust()
        loop = asyncio.get_running_loop()
        for address in addresses:
            try:
                return await attempt(self.channel(address))
            except grpc.aio.AioRpcError as error:
                if error.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    raise
                self._failed_at[address] = loop.time()
                if is_refusal(error):
                    refusals.append(f"{address} says: {error.details()}")
                else:
                    silent.setdefault(plain_reason(error), []).append(address)
        told = "; ".join(f"{', '.join(each)}: {reason}" for reason, each in silent.items())
        if refusals:
            absent = f"; no answer from {told}" if silent else ""
            others = f"; {len(refusals) - 1} more cannot help either" if len(refusals) > 1 else ""
            raise NoBrokerError(refusals[0] + others + absent)
        raise NoBrokerError(
            f"no broker answers ({told}): are these the gRPC listeners, not Kafka's, and the nodes up?"
        )

    async def close(self) -> None:
        """Close all channels."""
        self._closed = True
        for channel in self._channels.values():
            await channel.close()

    def _by_trust(self) -> list[str]:
        known = list(dict.fromkeys([*self.addresses.values(), *self._bootstrap]))
        return sorted(known, key=lambda address: self._failed_at.get(address, 0.0))

    def _take(self, response: pb.GetMetadataResponse) -> None:
        for broker in response.brokers:
            self.addresses[broker.node_id] = f"{broker.host}:{broker.port}"
        for topic in response.topics:
            if topic.HasField("error"):
                # A node that is behind does not know yet what others know already.
                if response.metadata_offset >= self._metadata_offset:
                    self._take_error(topic)
                continue
            self.errors.pop(topic.name, None)
            self._take_topic(topic)
        self._metadata_offset = max(self._metadata_offset, response.metadata_offset)

    def _take_error(self, topic: pb.Topic) -> None:
        self.errors[topic.name] = BrokerError(topic.error)
        if int(topic.error.code) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            self.topics.pop(topic.name, None)

    def _take_topic(self, topic: pb.Topic) -> None:
        view = self.topics.get(topic.name)
        if view is None or view.topic_id != topic.topic_id:
            view = self.topics[topic.name] = TopicView(topic.topic_id)
        for partition in sorted(topic.partitions, key=lambda each: each.partition):
            leader = Leader(partition.leader_id, partition.leader_epoch)
            if partition.partition >= len(view.leaders):
                view.leaders.append(leader)
            elif leader.epoch >= view.leaders[partition.partition].epoch:
                # An answer from a node that is behind must not undo what is known already.
                view.leaders[partition.partition] = leader

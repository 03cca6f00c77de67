"""A cluster that speaks the Kafka protocol, ours or Apache Kafka's, asked over plain sockets."""

import itertools
import socket
import struct
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar
from uuid import UUID

from storage.errors import ErrorCode
from wire.codec import decode, encode
from wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from wire.messages.describe_groups import DescribeGroupsRequest
from wire.messages.find_coordinator import FindCoordinatorRequest
from wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from wire.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseTopic,
)
from wire.schema import Request

T = TypeVar("T")
CALL_S = 20.0
WAIT_S = 20.0
LENGTH = struct.Struct(">i")
HEAD = struct.Struct(">hhih")
CLIENT = b"oracle"
CLOSED = "the connection is closed"
PARTITIONS = 2
MOVING = (
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
)


class ClosedError(Exception):
    """The other side hung up."""


class Target:
    """Names of topics and groups are used once: `topic`, `name` make them."""

    def __init__(self, bootstrap: str, run: str) -> None:
        self.bootstrap = bootstrap
        self._run = run
        self._numbers = itertools.count(1)
        self._connections: dict[tuple[str, int], socket.socket] = {}

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def name(self) -> str:
        """Something that has not been there before."""
        return f"oracle-{self._run}-{next(self._numbers)}"

    def exchange(self, data: bytes, address: tuple[str, int] | None = None) -> bytes:
        """Bytes there, one answer back, both without their length. Raises ClosedError."""
        where = address or self._first()
        connection = self._connections.get(where)
        if connection is None:
            connection = self._connections[where] = socket.create_connection(where, CALL_S)
        try:
            connection.sendall(LENGTH.pack(len(data)) + data)
            (size,) = LENGTH.unpack(_receive(connection, LENGTH.size))
            return _receive(connection, size)
        except (ConnectionError, ClosedError):
            connection.close()
            del self._connections[where]
            raise ClosedError(CLOSED) from None

    def _first(self) -> tuple[str, int]:
        host, port = self.bootstrap.split(",")[0].split(":")
        return host, int(port)

    def call(self, request: Request, version: int, node: tuple[str, int] | None = None) -> Any:
        """A request and its answer. Raises ClosedError."""
        flexible = version >= request.FLEXIBLE
        head = HEAD.pack(request.API_KEY, version, 7, len(CLIENT)) + CLIENT
        body = encode(request, version, flexible)
        answer = self.exchange(head + (b"\0" if flexible else b"") + body, node)
        response = _response_of(type(request))
        skip = 5 if flexible and request.API_KEY != 18 else 4
        return decode(response, version, version >= response.FLEXIBLE, memoryview(answer)[skip:])

    def metadata(self, topic: str | None = None) -> MetadataResponse:
        """All brokers, and one topic."""
        topics = () if topic is None else (MetadataRequestTopic(name=topic),)
        request = MetadataRequest(topics=topics, allow_auto_topic_creation=False)
        response = self.call(request, 12)
        assert isinstance(response, MetadataResponse)
        return response

    def all_topics(self) -> tuple[MetadataResponseTopic, ...]:
        """Every topic with its partitions."""
        response = self.call(MetadataRequest(topics=None), 12)
        assert isinstance(response, MetadataResponse)
        return response.topics

    def topic(self, **configs: str) -> str:
        """A new topic with PARTITIONS partitions on all nodes, once it has leaders everywhere."""
        name = self.name()
        wanted = CreatableTopic(
            name=name,
            num_partitions=PARTITIONS,
            replication_factor=3,
            configs=tuple(
                CreatableTopicConfig(name=key.replace("_", "."), value=value)
                for key, value in configs.items()
            ),
        )
        request = CreateTopicsRequest(topics=(wanted,), timeout_ms=10_000)
        assert self.call(request, 7, self.controller()).topics[0].error_code == 0
        self.until(lambda: self._is_everywhere(name))
        self.until(lambda: all(self._is_served(name, each) for each in range(PARTITIONS)))
        return name

    def _is_served(self, topic: str, partition: int) -> bool:
        """A leader that is named may not know it yet."""
        wanted = ListOffsetsPartition(partition_index=partition, timestamp=-1)
        request = ListOffsetsRequest(
            replica_id=-1, topics=(ListOffsetsTopic(name=topic, partitions=(wanted,)),)
        )
        found = self.call(request, 8, self.leader(topic, partition))
        return bool(found.topics[0].partitions[0].error_code == 0)

    def _is_everywhere(self, name: str) -> bool:
        for broker in self.metadata().brokers:
            request = MetadataRequest(topics=(MetadataRequestTopic(name=name),))
            found = self.call(request, 12, (broker.host, broker.port)).topics[0]
            if found.error_code or any(
                each.leader_id < 0 or len(each.isr_nodes) < 3 for each in found.partitions
            ):
                return False
        return True

    def topic_id(self, name: str) -> UUID:
        """A topic's id."""
        found = self.metadata(name).topics[0].topic_id
        assert found is not None
        return found

    def controller(self) -> tuple[str, int]:
        """A broker that passes on what changes the cluster."""
        return self._first()

    def leader(self, topic: str, partition: int = 0) -> tuple[str, int]:
        """Who leads a partition."""
        found = self.metadata(topic)
        leads = next(
            each.leader_id
            for each in found.topics[0].partitions
            if each.partition_index == partition
        )
        return next((each.host, each.port) for each in found.brokers if each.node_id == leads)

    def follower(self, topic: str) -> tuple[str, int]:
        """Somebody who does not lead partition 0."""
        leads = self.leader(topic)
        return next(
            (each.host, each.port)
            for each in self.metadata().brokers
            if (each.host, each.port) != leads
        )

    def coordinator(self, group: str) -> tuple[str, int]:
        """Who coordinates a group, once somebody does."""
        found: list[tuple[str, int]] = []

        def known() -> bool:
            response = self.call(FindCoordinatorRequest(key=group), 3)
            if response.error_code:
                return False
            node = response.host, response.port
            described = self.call(DescribeGroupsRequest(groups=(group,)), 5, node).groups[0]
            if described.error_code not in MOVING:
                found.append(node)
            return bool(found)

        self.until(known)
        return found[0]

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        """Wait for it. Raises AssertionError."""
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline_s, "it did not come about"
            time.sleep(0.02)


def code(number: int) -> str:
    """An error code's name."""
    try:
        return ErrorCode(number).name
    except ValueError:
        return str(number)


def closed_or(ask: Callable[[], T]) -> T | str:
    """What it answers, or that it hangs up."""
    try:
        return ask()
    except ClosedError as error:
        return str(error)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ClosedError(CLOSED)
        data += part
    return bytes(data)


def _response_of(request: type[Request]) -> Any:
    return getattr(import_module(request.__module__), request.__name__[:-7] + "Response")

"""The administrator's client: topics, configs, offsets, the cluster and its quorum."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError
from ottla.v1 import admin_pb2 as pb

TIMEOUT_S = 15.0


class Admin:
    """Use it as `async with Admin("host:port") as admin`. Answers are ottla.v1 messages.

    Every call raises BrokerError when it is refused, NoBrokerError when nobody answers.
    """

    def __init__(self, bootstrap: str | Sequence[str]) -> None:
        self._view = ClusterView(bootstrap)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._view.close()

    async def create_topic(
        self,
        name: str,
        *,
        partitions: int = -1,
        replication_factor: int = -1,
        configs: Mapping[str, str] | None = None,
    ) -> pb.CreatedTopic:
        """Make a topic; -1 leaves the number to the cluster's default."""
        topic = pb.NewTopic(
            name=name,
            partitions=partitions,
            replication_factor=replication_factor,
            configs=configs or {},
        )
        request = pb.CreateTopicsRequest(topics=[topic])
        reply = await self._view.ask(
            lambda stub, timeout: stub.CreateTopics(request, timeout=timeout), timeout_s=TIMEOUT_S
        )
        created = reply.topics[0]
        if created.HasField("error"):
            raise BrokerError(created.error)
        return created

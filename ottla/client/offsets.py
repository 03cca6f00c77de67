"""Looking up offsets: by name or by time, at the partitions' leaders."""

import asyncio
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from ottla.client.cluster_view import ClusterView
from ottla.client.errors import BrokerError, ClientError, NoBrokerError
from ottla.v1 import log_pb2 as pb


class OffsetSpec(Enum):
    """Offsets with a name."""

    EARLIEST = "earliest"
    LATEST = "latest"
    MAX_TIMESTAMP = "max-timestamp"


class OffsetAndTime(NamedTuple):
    """offset -1: no record matches. timestamp_ms -1: not asked for by time."""

    offset: int
    timestamp_ms: int


# While leaders are changing.
PATIENCE_S = 5.0
PAUSE_S = 0.05

_SPECS = {
    OffsetSpec.EARLIEST: pb.OFFSET_SPEC_EARLIEST,
    OffsetSpec.LATEST: pb.OFFSET_SPEC_LATEST,
    OffsetSpec.MAX_TIMESTAMP: pb.OFFSET_SPEC_MAX_TIMESTAMP,
}


async def find_offsets(
    view: ClusterView, queries: Mapping[tuple[str, int], OffsetSpec | int]
) -> dict[tuple[str, int], OffsetAndTime]:
    """One look-up at each leader concerned, and again while leaders are changing.

    Raises BrokerError with the first refusal, NoBrokerError.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + PATIENCE_S
    while True:
        try:
            return await _find_once(view, queries)
        except ClientError as error:
            if not error.retriable or loop.time() > deadline_s:
                raise
        await asyncio.sleep(PAUSE_S)
        await view.refresh(sorted({topic for topic, _ in queries}))


async def _find_once(
    view: ClusterView, queries: Mapping[tuple[str, int], OffsetSpec | int]
) -> dict[tuple[str, int], OffsetAndTime]:
    by_node: dict[int, pb.ListOffsetsRequest] = {}
    for (topic, partition), wanted in queries.items():
        leader = view.leader(topic, partition)
        if leader.node_id < 0:
            raise view.errors.get(topic) or NoBrokerError(
                f"{topic}-{partition} has no leader at the moment"
            )
        request = by_node.setdefault(leader.node_id, pb.ListOffsetsRequest())
        query = request.queries.add(topic=topic, partition=partition)
        if isinstance(wanted, OffsetSpec):
            query.spec = _SPECS[wanted]
        else:
            query.timestamp_ms = wanted
    found: dict[tuple[str, int], OffsetAndTime] = {}
    for node_id, request in by_node.items():
        reply = await _ask(view, node_id, request)
        for each in reply.offsets:
            if each.HasField("error"):
                raise BrokerError(each.error)
            found[each.topic, each.partition] = OffsetAndTime(each.offset, each.timestamp_ms)
    return found


async def _ask(
    view: ClusterView, node_id: int, request: pb.ListOffsetsRequest
) -> pb.ListOffsetsResponse:
    return await view.ask_log(
        lambda stub, timeout: stub.ListOffsets(request, timeout=timeout), node_id=node_id
    )

"""Scripts name Kafka listeners; Ottla's own clients speak gRPC. A node's Kafka door tells where its gRPC door is."""

import asyncio
import struct
from typing import TypeVar

from ottla.client.errors import NoBrokerError
from wire.codec import decode, encode
from wire.errors import WireError
from wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResponse,
)
from wire.messages.metadata import MetadataRequest, MetadataResponse
from wire.schema import Request, Response

TOLD_AS = "ottla.grpc.advertised.listeners"
TIMEOUT_S = 3.0
MAX_RESPONSE_BYTES = 8 << 20
METADATA_VERSION, CONFIGS_VERSION = 1, 1
BROKER = 4
_LENGTH = struct.Struct(">i")
_HEAD = struct.Struct(">hhi")
_CORRELATION = 7

R = TypeVar("R", bound=Response)


async def grpc_doors(bootstrap: str) -> str:
    """The gRPC addresses of the nodes behind Kafka addresses; an address that is none is taken for a gRPC door's.

    Raises NoBrokerError when nobody listens.
    """
    found: list[str] = []
    silent: list[str] = []
    for address in (each.strip() for each in bootstrap.split(",") if each.strip()):
        try:
            async with asyncio.timeout(TIMEOUT_S):
                found.append(await _ask(address))
        except OSError as error:
            silent.append(f"{address}: {error.strerror or error}")
        except (WireError, TimeoutError, asyncio.IncompleteReadError, struct.error, ValueError):
            found.append(address)
    if not found:
        raise NoBrokerError(f"no broker answers ({'; '.join(silent)})")
    return ",".join(found)


async def _ask(address: str) -> str:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        metadata = await _call(
            reader, writer, MetadataRequest(topics=()), MetadataResponse, METADATA_VERSION
        )
        resources = tuple(
            DescribeConfigsResource(
                resource_type=BROKER,
                resource_name=str(each.node_id),
                configuration_keys=(TOLD_AS,),
            )
            for each in metadata.brokers
        )
        answer = await _call(
            reader,
            writer,
            DescribeConfigsRequest(resources=resources),
            DescribeConfigsResponse,
            CONFIGS_VERSION,
        )
    finally:
        writer.close()
    told = [entry.value for result in answer.results for entry in result.configs if entry.value]
    if not told:
        raise NoBrokerError(
            f"{address} speaks the Kafka protocol, but is no Ottla node: use Kafka's own tools there"
        )
    return told[0].split(",")[0].split("://", 1)[1]


async def _call(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    request: Request,
    response: type[R],
    version: int,
) -> R:
    head = _HEAD.pack(request.API_KEY, version, _CORRELATION) + b"\x00\x05ottla"
    body = head + encode(request, version, flexible=False)
    writer.write(_LENGTH.pack(len(body)) + body)
    await writer.drain()
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if not _LENGTH.size <= size <= MAX_RESPONSE_BYTES:
        raise WireError(f"an answer of {size} bytes")
    frame = await reader.readexactly(size)
    if _LENGTH.unpack_from(frame)[0] != _CORRELATION:
        raise WireError("an answer to something else")
    return decode(response, version, False, memoryview(frame)[_LENGTH.size :])

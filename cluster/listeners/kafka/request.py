"""One request, from the frame it came in to the bytes of its answer."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

from wire.codec import decode, encode
from wire.headers import RequestHeader, response_header
from wire.schema import Request, Response

Buffer = bytes | bytearray | memoryview
RequestT = TypeVar("RequestT", bound=Request)


class Connection(Protocol):
    """What a client asks over; one is not another."""

    @property
    def gone(self) -> bool:
        """Whether nobody is there any more."""


class Client(NamedTuple):
    """Who asks, and how. listener: the name of the door, which decides which addresses the client is told."""

    client_id: str
    host: str
    listener: str
    api_version: int
    connection: Connection | None = None


class Software(NamedTuple):
    """What a client says it is, in ApiVersions (KIP-511); empty when it does not say."""

    name: str
    version: str


class Api(NamedTuple):
    """How one kind of request is answered."""

    request: type[Request]
    answer: Callable[[Client, Request], Awaitable[Response]]


def api(
    request: type[RequestT], answer: Callable[[Client, RequestT], Awaitable[Response]]
) -> tuple[int, Api]:
    """An entry of the table of APIs."""
    return request.API_KEY, Api(request, answer)  # type: ignore[arg-type]  # the table gives each its own request


async def serve(entry: Api, client: Client, header: RequestHeader, frame: memoryview) -> Buffer:
    """Read, answer, write. Raises WireError."""
    version = header.api_version
    flexible = version >= entry.request.FLEXIBLE
    request = decode(entry.request, version, flexible, frame[header.body_at :])
    response = await entry.answer(client, request)
    return answer_bytes(response, header)


def answer_bytes(response: Response, header: RequestHeader) -> Buffer:
    """Header and body of an answer, without the length in front."""
    flexible = header.api_version >= response.FLEXIBLE
    head = response_header(header.api_key, header.correlation_id, flexible=flexible)
    return head + encode(response, header.api_version, flexible)

"""OttlaError on the wire: `ottla.v1.Error` in results, status with google.rpc details for whole calls."""

import typing
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import to_status

from kraft.metadata.errors import Refusal
from ottla.v1 import common_pb2 as pb
from storage.errors import ErrorCode, OttlaError

DOMAIN = "ottla"
RETRY_AFTER_MS = 20

T = TypeVar("T")

# Finds the address of the leader named in an error, as one listener advertises it.
HintOf = Callable[[OttlaError], "pb.LeaderHint | None"]

_STATUS = {
    ErrorCode.OFFSET_OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
    ErrorCode.CORRUPT_MESSAGE: grpc.StatusCode.DATA_LOSS,
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: grpc.StatusCode.NOT_FOUND,
    ErrorCode.UNKNOWN_TOPIC_ID: grpc.StatusCode.NOT_FOUND,
    ErrorCode.VOTER_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorCode.BROKER_ID_NOT_REGISTERED: grpc.StatusCode.NOT_FOUND,
    ErrorCode.TOPIC_ALREADY_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    ErrorCode.DUPLICATE_VOTER: grpc.StatusCode.ALREADY_EXISTS,
    ErrorCode.GROUP_ID_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorCode.REQUEST_TIMED_OUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    ErrorCode.MESSAGE_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.KAFKA_STORAGE_ERROR: grpc.StatusCode.UNAVAILABLE,
}


def status_code(error: OttlaError) -> grpc.StatusCode:
    """The gRPC status that fits: what may be retried is UNAVAILABLE, what the caller did is INVALID_ARGUMENT."""
    found = _STATUS.get(error.code)
    if found is not None:
        return found
    if error.retriable:
        return grpc.StatusCode.UNAVAILABLE
    if error.code == ErrorCode.UNKNOWN_SERVER_ERROR:
        return grpc.StatusCode.INTERNAL
    return grpc.StatusCode.INVALID_ARGUMENT


def to_proto(error: OttlaError, leader: pb.LeaderHint | None = None) -> pb.Error:
    """The error of one partition, topic or resource."""
    return pb.Error(
        code=pb.ErrorCode.ValueType(max(error.code.value, 0)),
        message=str(error),
        retriable=error.retriable,
        retry_after_ms=RETRY_AFTER_MS if error.retriable else 0,
        leader=leader,
    )


def of_refusal(refusal: Refusal | None) -> pb.Error | None:
    """The error of one thing that the controller refused or, with None, did."""
    return None if refusal is None else to_proto(refusal.to_error())


def of_code(code: int, what: str) -> pb.Error | None:
    """A refusal of which only Kafka's number is known, None for no error. `what` was refused."""
    if not code:
        return None
    refusal = ErrorCode(code)
    retriable = refusal in _RETRIABLE_CODES
    return pb.Error(
        code=pb.ErrorCode.ValueType(max(refusal.value, 0)),
        message=f"{what}: {_SENTENCES.get(refusal, 'refused')}",
        retriable=retriable,
        retry_after_ms=RETRY_AFTER_MS if retriable else 0,
    )


_RETRIABLE_CODES = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.REQUEST_TIMED_OUT,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
    }
)
_SENTENCES = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "there is no such partition",
    ErrorCode.OFFSET_METADATA_TOO_LARGE: "the note beside the offset is longer than offset.metadata.max.bytes",
    ErrorCode.MESSAGE_TOO_LARGE: "the group is larger than a batch of its log may be",
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS: "the coordinator is still reading what was: try again",
    ErrorCode.COORDINATOR_NOT_AVAILABLE: "there is no coordinator at the moment: try again",
    ErrorCode.NOT_COORDINATOR: "another node is the coordinator: ask FindCoordinator",
    ErrorCode.ILLEGAL_GENERATION: "the group is at another generation: join again",
    ErrorCode.UNKNOWN_MEMBER_ID: "the group does not know this member (any more)",
    ErrorCode.REBALANCE_IN_PROGRESS: "the group is rebalancing: join again",
    ErrorCode.MEMBER_ID_REQUIRED: "join with the member id of this answer",
    ErrorCode.FENCED_INSTANCE_ID: "another process has joined as this static member",
}


async def abort(
    context: "grpc.aio.ServicerContext[typing.Any, typing.Any]", error: OttlaError
) -> NoReturn:
    """End a call with status and details."""
    details = [_pack(ErrorInfo(reason=error.code.name, domain=DOMAIN))]
    if error.retriable:
        details.append(_pack(RetryInfo(retry_delay=Duration(nanos=RETRY_AFTER_MS * 1_000_000))))
    rich = to_status(Status(code=status_code(error).value[0], message=str(error), details=details))
    await context.abort(rich.code, rich.details or "", rich.trailing_metadata or ())
    raise AssertionError("abort does not return")


async def or_abort(
    work: Awaitable[T], context: "grpc.aio.ServicerContext[typing.Any, typing.Any]"
) -> T:
    """What comes of `work`; a refusal ends the call."""
    try:
        return await work
    except OttlaError as error:
        await abort(context, error)


def _pack(message: ErrorInfo | RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed

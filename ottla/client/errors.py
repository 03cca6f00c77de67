"""What a client can be told. Broker errors keep Kafka's code; `retriable` says whether trying again can help."""

from typing import Any, cast

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status.rpc_status import from_call

from ottla.v1 import common_pb2
from storage.errors import ErrorCode, OttlaError


class ClientError(OttlaError):
    """The root of what the SDK raises."""


class BrokerError(ClientError):
    """A broker refused. `leader_id` and `leader_address` are its hint where to go, -1 and "" without one."""

    def __init__(self, error: common_pb2.Error) -> None:
        super().__init__(
            f"{error.message} ({code_name(error.code)})" if error.code else error.message
        )
        self.code = ErrorCode(error.code) if error.code else ErrorCode.UNKNOWN_SERVER_ERROR
        self.retriable = error.retriable
        hint = error.leader if error.HasField("leader") else None
        self.leader_id = hint.leader_id if hint else -1
        self.leader_epoch = hint.leader_epoch if hint else -1
        self.leader_address = f"{hint.host}:{hint.port}" if hint and hint.host else ""

    @classmethod
    def of_call(cls, error: grpc.aio.AioRpcError) -> "BrokerError":
        """The refusal of a whole call, from its status and google.rpc details."""
        found = common_pb2.Error(message=plain_reason(error))
        status = from_call(cast("Any", error))
        for packed in status.details if status is not None else ():
            info, retry = ErrorInfo(), RetryInfo()
            if packed.Unpack(info):
                found.code = common_pb2.ErrorCode.Value(f"ERROR_CODE_{info.reason}")
            elif packed.Unpack(retry):
                found.retriable = True
        return cls(found)


def plain_reason(error: grpc.aio.AioRpcError) -> str:
    """Why a call failed, without gRPC's internals."""
    details = error.details() or ""
    for sign, words in _SIGNS:
        if sign in details:
            return words
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "what listens there does not know this call: is it an Ottla node of this release?"
    return details or error.code().name


# In gRPC's texts, and what they mean.
_SIGNS = (
    ("Connection refused", "connection refused"),
    ("lookup failed", "unknown host"),
    ("hostname lookup error", "unknown host"),
    ("No route to host", "no route to host"),
    ("Network is unreachable", "network unreachable"),
    ("Deadline Exceeded", "no answer in time"),
    ("Socket closed", "the connection was closed"),
    ("Connection reset", "the connection was closed"),
    ("Trying to connect an http1.x server", "what listens there does not speak gRPC"),
)


class NoBrokerError(ClientError):
    """No broker answers, or none that can help: wrong addresses, the cluster is down or has no controller."""

    code = ErrorCode.BROKER_NOT_AVAILABLE
    retriable = True


class DeliveryTimeoutError(ClientError):
    """A record was not acknowledged within `delivery_timeout_s`; the cause says what stood in the way."""

    code = ErrorCode.REQUEST_TIMED_OUT


class BufferFullError(ClientError):
    """`buffer_memory_bytes` were full for `max_block_s`: records come faster than the cluster takes them."""

    code = ErrorCode.REQUEST_TIMED_OUT
    retriable = True


class NoOffsetError(ClientError):
    """The group has no position in a partition, and `auto_offset_reset` is "error"."""

    code = ErrorCode.OFFSET_OUT_OF_RANGE


class NotMemberError(ClientError):
    """The consumer is no member of its group at the moment; the next poll joins again."""

    code = ErrorCode.UNKNOWN_MEMBER_ID


class ClosedError(ClientError):
    """The client was closed."""

    code = ErrorCode.INVALID_REQUEST


def is_refusal(error: grpc.aio.AioRpcError) -> bool:
    """Whether a broker said so, not the way to it: brokers give google.rpc details."""
    return from_call(cast("Any", error)) is not None


def code_name(code: int) -> str:
    """Kafka's name of an error number."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code}"

"""What clients are told, pinned (I9): a wrong code or flag makes them give up what may be retried, or double what was
taken (redpanda #5355, KAFKA-14034).
"""

import grpc
import pytest

import cluster.errors
import cluster.groups.errors
import storage.errors
from cluster.failover.controller_client import ControllerUnavailableError
from cluster.handlers.quorum import VoterError
from cluster.listeners.grpc_errors import RETRY_AFTER_MS, of_code, status_code, to_proto
from ottla.v1 import common_pb2 as pb
from storage.errors import OttlaError

CODE = grpc.StatusCode
# Error -> (its code, whether a client may simply try again, the status of a call that ends with it)
TABLE = {
    "OffsetOutOfRangeError": (1, False, CODE.OUT_OF_RANGE),
    "CorruptBatchError": (2, True, CODE.DATA_LOSS),
    "UnknownTopicOrPartitionError": (3, True, CODE.NOT_FOUND),
    "OffsetNotAvailableError": (5, True, CODE.UNAVAILABLE),
    "NotLeaderError": (6, True, CODE.UNAVAILABLE),
    "ReplicasTimedOutError": (7, True, CODE.DEADLINE_EXCEEDED),
    "ControllerUnavailableError": (7, True, CODE.DEADLINE_EXCEEDED),
    "NotCaughtUpError": (8, True, CODE.UNAVAILABLE),
    "BatchTooLargeError": (10, False, CODE.INVALID_ARGUMENT),
    "InternalTopicError": (17, False, CODE.INVALID_ARGUMENT),
    "NotEnoughReplicasError": (19, True, CODE.UNAVAILABLE),
    "InvalidRequiredAcksError": (21, False, CODE.INVALID_ARGUMENT),
    "InvalidTimestampError": (32, False, CODE.INVALID_ARGUMENT),
    "ConfigurationError": (40, False, CODE.INVALID_ARGUMENT),
    "InvalidRequestError": (42, False, CODE.INVALID_ARGUMENT),
    "OutOfOrderSequenceError": (45, False, CODE.INVALID_ARGUMENT),
    "InvalidProducerEpochError": (47, False, CODE.INVALID_ARGUMENT),
    "LogOfflineError": (56, True, CODE.UNAVAILABLE),
    "DiskFullError": (56, True, CODE.UNAVAILABLE),
    "LogDamagedError": (56, False, CODE.UNAVAILABLE),
    "UnreadableFileError": (56, False, CODE.UNAVAILABLE),
    "DataDirectoryError": (56, False, CODE.UNAVAILABLE),
    "UnknownProducerIdError": (59, False, CODE.INVALID_ARGUMENT),
    "FencedLeaderEpochError": (74, True, CODE.UNAVAILABLE),
    "UnknownLeaderEpochError": (75, True, CODE.UNAVAILABLE),
    "UnsupportedCompressionError": (76, False, CODE.INVALID_ARGUMENT),
    "InvalidRecordError": (87, False, CODE.INVALID_ARGUMENT),
    "VoterError": (127, False, CODE.NOT_FOUND),
}
KINDS = {
    kind.__name__: kind
    for found in (
        vars(cluster.errors),
        vars(storage.errors),
        {"": VoterError, " ": ControllerUnavailableError},
    )
    for kind in found.values()
    if isinstance(kind, type) and issubclass(kind, OttlaError) and kind is not OttlaError
}


def test_every_error_that_clients_may_see_is_in_the_table() -> None:
    assert KINDS.keys() == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_an_error_is_told_with_its_code_and_whether_to_try_again(name: str) -> None:
    code, retriable, status = TABLE[name]
    error = KINDS[name]("what happened")
    told = to_proto(error)
    assert (told.code, told.retriable, status_code(error)) == (code, retriable, status)
    assert told.retry_after_ms == (RETRY_AFTER_MS if retriable else 0)
    assert told.message == "what happened"


def test_the_leader_is_told_with_the_error() -> None:
    hint = pb.LeaderHint(leader_id=2, leader_epoch=3, host="h", port=1)
    told = to_proto(cluster.errors.NotLeaderError("elsewhere", 2, 3), hint)
    assert told.leader == hint


@pytest.mark.parametrize("name", TABLE)
def test_every_code_that_is_told_has_a_name_for_clients(name: str) -> None:
    code = KINDS[name].code
    assert pb.ErrorCode.Name(pb.ErrorCode.ValueType(code.value)).endswith(code.name)


@pytest.mark.parametrize(
    "kind",
    [
        each
        for each in vars(cluster.groups.errors).values()
        if isinstance(each, type)
        and issubclass(each, cluster.groups.errors.GroupError)
        and each is not cluster.groups.errors.GroupError
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_coordinators_number_says_what_its_error_says(kind: type[OttlaError]) -> None:
    whole, number = to_proto(kind("said")), of_code(kind.code, "group g")
    assert number is not None
    assert int(number.code) == int(whole.code) == kind.code.value
    assert pb.ErrorCode.Name(number.code) == f"ERROR_CODE_{kind.code.name}"
    assert (number.retriable, number.retry_after_ms) == (whole.retriable, whole.retry_after_ms)
    assert number.message.startswith("group g: ")


def test_no_number_is_no_error() -> None:
    assert of_code(0, "group g") is None

"""Errors that name the thing and carry Kafka's wire code.

`OttlaError` is the root of everything the world can do to us; our own bugs are assertions. The codes are Kafka's
(org.apache.kafka.common.protocol.Errors); they stand in the lowest room so that every room above can use them.
"""

from enum import IntEnum


class ErrorCode(IntEnum):
    """Kafka's error numbers."""

    UNKNOWN_SERVER_ERROR = -1
    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_OR_FOLLOWER = 6
    REQUEST_TIMED_OUT = 7
    BROKER_NOT_AVAILABLE = 8
    REPLICA_NOT_AVAILABLE = 9
    MESSAGE_TOO_LARGE = 10
    OFFSET_METADATA_TOO_LARGE = 12
    NETWORK_EXCEPTION = 13
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    INVALID_TOPIC_EXCEPTION = 17
    RECORD_LIST_TOO_LARGE = 18
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    INVALID_REQUIRED_ACKS = 21
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    INVALID_GROUP_ID = 24
    UNKNOWN_MEMBER_ID = 25
    INVALID_SESSION_TIMEOUT = 26
    REBALANCE_IN_PROGRESS = 27
    INVALID_COMMIT_OFFSET_SIZE = 28
    INVALID_TIMESTAMP = 32
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    INVALID_REPLICATION_FACTOR = 38
    INVALID_REPLICA_ASSIGNMENT = 39
    INVALID_CONFIG = 40
    NOT_CONTROLLER = 41
    INVALID_REQUEST = 42
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
    POLICY_VIOLATION = 44
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    DUPLICATE_SEQUENCE_NUMBER = 46
    INVALID_PRODUCER_EPOCH = 47
    INVALID_PRODUCER_ID_MAPPING = 49
    INVALID_TRANSACTION_TIMEOUT = 50
    KAFKA_STORAGE_ERROR = 56
    LOG_DIR_NOT_FOUND = 57
    UNKNOWN_PRODUCER_ID = 59
    REASSIGNMENT_IN_PROGRESS = 60
    NON_EMPTY_GROUP = 68
    GROUP_ID_NOT_FOUND = 69
    FETCH_SESSION_ID_NOT_FOUND = 70
    INVALID_FETCH_SESSION_EPOCH = 71
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    UNSUPPORTED_COMPRESSION_TYPE = 76
    STALE_BROKER_EPOCH = 77
    OFFSET_NOT_AVAILABLE = 78
    MEMBER_ID_REQUIRED = 79
    PREFERRED_LEADER_NOT_AVAILABLE = 80
    GROUP_MAX_SIZE_REACHED = 81
    FENCED_INSTANCE_ID = 82
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83
    ELECTION_NOT_NEEDED = 84
    NO_REASSIGNMENT_IN_PROGRESS = 85
    GROUP_SUBSCRIBED_TO_TOPIC = 86
    INVALID_RECORD = 87
    UNSTABLE_OFFSET_COMMIT = 88
    RESOURCE_NOT_FOUND = 91
    INVALID_UPDATE_VERSION = 95
    FEATURE_UPDATE_FAILED = 96
    UNKNOWN_TOPIC_ID = 100
    DUPLICATE_BROKER_REGISTRATION = 101
    BROKER_ID_NOT_REGISTERED = 102
    INCONSISTENT_TOPIC_ID = 103
    INCONSISTENT_CLUSTER_ID = 104
    FETCH_SESSION_TOPIC_ID_ERROR = 106
    INELIGIBLE_REPLICA = 107
    NEW_LEADER_ELECTED = 108
    FENCED_MEMBER_EPOCH = 110
    UNRELEASED_INSTANCE_ID = 111
    UNSUPPORTED_ASSIGNOR = 112
    STALE_MEMBER_EPOCH = 113
    MISMATCHED_ENDPOINT_TYPE = 114
    UNSUPPORTED_ENDPOINT_TYPE = 115
    INVALID_VOTER_KEY = 125
    DUPLICATE_VOTER = 126
    VOTER_NOT_FOUND = 127
    INVALID_REGULAR_EXPRESSION = 128


class OttlaError(Exception):
    """Something in the world went wrong. The message names the thing, the value and the way out."""

    code: ErrorCode = ErrorCode.UNKNOWN_SERVER_ERROR
    retriable: bool = False


class OffsetOutOfRangeError(OttlaError):
    """The offset lies before the log's start or beyond its end."""

    code = ErrorCode.OFFSET_OUT_OF_RANGE


class CorruptBatchError(OttlaError):
    """Bytes that are not a whole, undamaged record batch of magic 2.

    Kafka calls it retriable: the damage may have happened on the way.
    """

    code = ErrorCode.CORRUPT_MESSAGE
    retriable = True


class InvalidRecordError(OttlaError):
    """A whole batch whose content breaks a rule (counts, offsets, timestamps, compacted topic without key).

    records: which of its records do, from 0; empty when it is the batch itself (KIP-467).
    """

    code = ErrorCode.INVALID_RECORD

    def __init__(self, message: str, records: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.records = records


class InvalidTimestampError(OttlaError):
    """A record stamped further in the future than `message.timestamp.after.max.ms` allows."""

    code = ErrorCode.INVALID_TIMESTAMP


class BatchTooLargeError(OttlaError):
    """A record batch above `max.message.bytes`."""

    code = ErrorCode.MESSAGE_TOO_LARGE


class UnsupportedCompressionError(OttlaError):
    """A codec that this build does not know."""

    code = ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


class OutOfOrderSequenceError(OttlaError):
    """An idempotent producer's batch does not follow its last one: a batch in between was lost."""

    code = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


class InvalidProducerEpochError(OttlaError):
    """A newer incarnation of this producer has written already."""

    code = ErrorCode.INVALID_PRODUCER_EPOCH


class UnknownProducerIdError(OttlaError):
    """A sequence above zero from a producer of which the log knows nothing."""

    code = ErrorCode.UNKNOWN_PRODUCER_ID


class LogOfflineError(OttlaError):
    """The log met an IO error and is fenced: no append, no acknowledgement, until it is opened anew."""

    code = ErrorCode.KAFKA_STORAGE_ERROR
    retriable = True


class DiskFullError(LogOfflineError):
    """No space left. Nothing was appended; the log is whole, reads go on and writes work again once there is room."""


class LogDamagedError(OttlaError):
    """Damage in the middle of a log, which is never cut away by itself."""

    code = ErrorCode.KAFKA_STORAGE_ERROR


class UnreadableFileError(OttlaError):
    """A small file of facts is there but damaged. It is neither guessed at nor taken for empty, and nothing is
    deleted because of it (NATS #7556)."""

    code = ErrorCode.KAFKA_STORAGE_ERROR


class DataDirectoryError(OttlaError):
    """The data folder cannot be used: locked, not writable, or another node's or cluster's."""

    code = ErrorCode.KAFKA_STORAGE_ERROR

"""Refusals that only a broker can give."""

from storage.errors import ErrorCode, OttlaError


class NotLeaderError(OttlaError):
    """This node does not lead the partition; the leader it knows is in the hint (-1: none)."""

    code = ErrorCode.NOT_LEADER_OR_FOLLOWER
    retriable = True

    def __init__(self, message: str, leader_id: int = -1, leader_epoch: int = -1) -> None:
        super().__init__(message)
        self.leader_id = leader_id
        self.leader_epoch = leader_epoch


class UnknownTopicOrPartitionError(OttlaError):
    """No such topic or partition, as far as this node knows. Kafka calls it retriable: it may be on its way."""

    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    retriable = True


class InternalTopicError(OttlaError):
    """A topic of the system's own, which no client writes to."""

    code = ErrorCode.INVALID_TOPIC_EXCEPTION


class OffsetNotAvailableError(OttlaError):
    """A new leader cannot say yet what the latest offset is: any answer could go back behind an earlier one (KIP-207).

    Kafka answers clients that do not know its newer code with this one.
    """

    code = ErrorCode.LEADER_NOT_AVAILABLE
    retriable = True


class NotCaughtUpError(OttlaError):
    """This node has just started and does not know what the others know."""

    code = ErrorCode.BROKER_NOT_AVAILABLE
    retriable = True


class FencedLeaderEpochError(OttlaError):
    """The caller knows an older leader epoch than this node: it must refresh its metadata."""

    code = ErrorCode.FENCED_LEADER_EPOCH
    retriable = True


class UnknownLeaderEpochError(OttlaError):
    """The caller knows a newer leader epoch than this node: this node is behind, try again."""

    code = ErrorCode.UNKNOWN_LEADER_EPOCH
    retriable = True


class NotEnoughReplicasError(OttlaError):
    """Fewer in-sync replicas than `min.insync.replicas`: nothing was appended."""

    code = ErrorCode.NOT_ENOUGH_REPLICAS
    retriable = True


class ReplicasTimedOutError(OttlaError):
    """Appended, but not acknowledged by the in-sync replicas in time. It may still be committed."""

    code = ErrorCode.REQUEST_TIMED_OUT
    retriable = True


class InvalidRequestError(OttlaError):
    """A request that makes no sense whatever the state of the cluster."""

    code = ErrorCode.INVALID_REQUEST


class InvalidRequiredAcksError(InvalidRequestError):
    """`acks` that Kafka does not know."""

    code = ErrorCode.INVALID_REQUIRED_ACKS


class ConfigurationError(OttlaError):
    """A node's own configuration is wrong."""

    code = ErrorCode.INVALID_CONFIG

"""The controller's refusals. Each carries Kafka's code; the message names the thing, the value and the way out.

`Refusal` is the same thing as a struct, for replies that answer many things at once and for the way between nodes.
"""

from msgspec import Struct

from storage.errors import ErrorCode, OttlaError


class MetadataError(OttlaError):
    """The root of what the controller refuses; raised itself for codes that this build has no class for."""


class Refusal(Struct, frozen=True):
    """An error as it travels in a reply."""

    code: int
    message: str
    retriable: bool = False

    @classmethod
    def of(cls, error: OttlaError) -> "Refusal":
        """The struct that says what `error` says."""
        return cls(int(error.code), str(error), error.retriable)

    def to_error(self) -> OttlaError:
        """The exception that says what this struct says; unknown codes become a MetadataError with that code."""
        kind = _BY_CODE.get(self.code)
        if kind is not None:
            return kind(self.message)
        error = MetadataError(self.message)
        if self.code in ErrorCode._value2member_map_:
            error.code = ErrorCode(self.code)
        error.retriable = self.retriable
        return error


class TopicExistsError(MetadataError):
    """A topic of that name is there already."""

    code = ErrorCode.TOPIC_ALREADY_EXISTS


class UnknownTopicError(MetadataError):
    """No topic of that name, or no such partition of it."""

    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


class UnknownTopicIdError(MetadataError):
    """No topic has that id: it was deleted, or this controller has not heard of it yet."""

    code = ErrorCode.UNKNOWN_TOPIC_ID
    retriable = True


class InvalidTopicNameError(MetadataError):
    """A name that breaks Kafka's rules for topic names, or collides with another topic's."""

    code = ErrorCode.INVALID_TOPIC_EXCEPTION


class InvalidPartitionsError(MetadataError):
    """A number of partitions that cannot be."""

    code = ErrorCode.INVALID_PARTITIONS


class InvalidReplicationFactorError(MetadataError):
    """More replicas asked for than there are brokers to hold them, or fewer than one."""

    code = ErrorCode.INVALID_REPLICATION_FACTOR


class InvalidReplicaAssignmentError(MetadataError):
    """An assignment by hand that names unknown or repeated brokers, or differs in length."""

    code = ErrorCode.INVALID_REPLICA_ASSIGNMENT


class InvalidConfigError(MetadataError):
    """An unknown configuration key or a value outside its range."""

    code = ErrorCode.INVALID_CONFIG


class InvalidRequestError(MetadataError):
    """A request that makes no sense whatever the state of the cluster."""

    code = ErrorCode.INVALID_REQUEST


class PolicyViolationError(MetadataError):
    """A request larger than the controller takes in one piece."""

    code = ErrorCode.POLICY_VIOLATION


class NotControllerError(MetadataError):
    """This node is not the active controller, or knows less than the caller does."""

    code = ErrorCode.NOT_CONTROLLER
    retriable = True


class StaleBrokerEpochError(MetadataError):
    """The caller is an incarnation that was replaced by a later one of the same node."""

    code = ErrorCode.STALE_BROKER_EPOCH


class BrokerNotRegisteredError(MetadataError):
    """No broker is registered under that node id."""

    code = ErrorCode.BROKER_ID_NOT_REGISTERED


class DuplicateBrokerRegistrationError(MetadataError):
    """Another incarnation of the same node id is alive. It is retriable: that one may be dead but not yet noticed."""

    code = ErrorCode.DUPLICATE_BROKER_REGISTRATION
    retriable = True


class InconsistentClusterIdError(MetadataError):
    """The caller belongs to another cluster."""

    code = ErrorCode.INCONSISTENT_CLUSTER_ID


class FencedLeaderEpochError(MetadataError):
    """The caller led in an older leader epoch than the present one."""

    code = ErrorCode.FENCED_LEADER_EPOCH
    retriable = True


class InvalidUpdateVersionError(MetadataError):
    """The caller's picture of the partition is older than the controller's; it will hear of the newer one."""

    code = ErrorCode.INVALID_UPDATE_VERSION


class IneligibleReplicaError(MetadataError):
    """A proposed ISR member is fenced, shutting down or another incarnation than the leader saw (KIP-841, KIP-903)."""

    code = ErrorCode.INELIGIBLE_REPLICA
    retriable = True


class NewLeaderElectedError(MetadataError):
    """The ISR change completed a reassignment that moved the leadership away from the caller."""

    code = ErrorCode.NEW_LEADER_ELECTED


class ElectionNotNeededError(MetadataError):
    """The partition has the leader that was asked for."""

    code = ErrorCode.ELECTION_NOT_NEEDED


class PreferredLeaderNotAvailableError(MetadataError):
    """The first replica of the assignment is not in sync or not alive."""

    code = ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE


class EligibleLeadersNotAvailableError(MetadataError):
    """No replica that may lead is alive."""

    code = ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE


class NoReassignmentInProgressError(MetadataError):
    """There is nothing to cancel."""

    code = ErrorCode.NO_REASSIGNMENT_IN_PROGRESS


class UnsupportedVersionError(MetadataError):
    """A broker that does not understand the cluster's metadata level."""

    code = ErrorCode.UNSUPPORTED_VERSION


class FeatureUpdateFailedError(MetadataError):
    """The metadata level cannot be moved to the level asked for."""

    code = ErrorCode.FEATURE_UPDATE_FAILED


class UnreadableMetadataError(MetadataError):
    """Bytes of the metadata log or a snapshot that this build cannot read. Nothing is skipped, nothing deleted."""

    code = ErrorCode.UNSUPPORTED_VERSION


_BY_CODE: dict[int, type[MetadataError]] = {
    int(kind.code): kind
    for kind in MetadataError.__subclasses__()
    if kind is not UnreadableMetadataError
}

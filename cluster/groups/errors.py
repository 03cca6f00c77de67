"""What a coordinator refuses with; Kafka's codes, pinned in tests/cluster/groups/test_errors.py."""

from storage.errors import ErrorCode, OttlaError


class GroupError(OttlaError):
    """The root of a coordinator's refusals."""


class NotCoordinatorError(GroupError):
    """Another broker is the group's coordinator."""

    code = ErrorCode.NOT_COORDINATOR
    retriable = True


class CoordinatorLoadInProgressError(GroupError):
    """This broker has just become the coordinator and is still reading what was."""

    code = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    retriable = True


class CoordinatorNotAvailableError(GroupError):
    """There is no coordinator at the moment."""

    code = ErrorCode.COORDINATOR_NOT_AVAILABLE
    retriable = True


class GroupTooLargeError(GroupError):
    """What is to be kept of the group does not fit into a batch of its log. Kafka's code, UNKNOWN_SERVER_ERROR, says
    less, and clients treat both alike.
    """

    code = ErrorCode.MESSAGE_TOO_LARGE


class InvalidGroupIdError(GroupError):
    """A group needs a name."""

    code = ErrorCode.INVALID_GROUP_ID


class InvalidSessionTimeoutError(GroupError):
    """A session timeout outside of what the broker allows."""

    code = ErrorCode.INVALID_SESSION_TIMEOUT


class InconsistentGroupProtocolError(GroupError):
    """The member shares no protocol with the others."""

    code = ErrorCode.INCONSISTENT_GROUP_PROTOCOL


class UnknownMemberIdError(GroupError):
    """The group does not know this member (any more)."""

    code = ErrorCode.UNKNOWN_MEMBER_ID


class IllegalGenerationError(GroupError):
    """The member is of an older generation."""

    code = ErrorCode.ILLEGAL_GENERATION


class RebalanceInProgressError(GroupError):
    """The member has to join again."""

    code = ErrorCode.REBALANCE_IN_PROGRESS


class MemberIdRequiredError(GroupError):
    """A new member is told its id first and joins with it (KIP-394)."""

    code = ErrorCode.MEMBER_ID_REQUIRED


class FencedInstanceIdError(GroupError):
    """Another process has taken this static member's place (KIP-345)."""

    code = ErrorCode.FENCED_INSTANCE_ID


class GroupMaxSizeReachedError(GroupError):
    """The group has `group.max.size` members."""

    code = ErrorCode.GROUP_MAX_SIZE_REACHED


class NonEmptyGroupError(GroupError):
    """A group with members cannot be deleted."""

    code = ErrorCode.NON_EMPTY_GROUP


class GroupIdNotFoundError(GroupError):
    """There is no such group."""

    code = ErrorCode.GROUP_ID_NOT_FOUND


class GroupSubscribedToTopicError(GroupError):
    """Offsets of a topic that the group reads are not deleted."""

    code = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC


class OffsetMetadataTooLargeError(GroupError):
    """The note beside a committed offset is too long."""

    code = ErrorCode.OFFSET_METADATA_TOO_LARGE


class FencedMemberEpochError(GroupError):
    """The member's epoch is not the one that it was told: it has to let everything go and join again (KIP-848)."""

    code = ErrorCode.FENCED_MEMBER_EPOCH


class StaleMemberEpochError(GroupError):
    """Offsets are asked for or committed with an epoch that the member does not have (KIP-848)."""

    code = ErrorCode.STALE_MEMBER_EPOCH


class UnreleasedInstanceIdError(GroupError):
    """Another process is this static member and has not left (KIP-848)."""

    code = ErrorCode.UNRELEASED_INSTANCE_ID


class UnsupportedAssignorError(GroupError):
    """This broker does not have that assignor."""

    code = ErrorCode.UNSUPPORTED_ASSIGNOR


class InvalidRegularExpressionError(GroupError):
    """What a member subscribed to is no regular expression."""

    code = ErrorCode.INVALID_REGULAR_EXPRESSION


class InvalidGroupRequestError(GroupError):
    """A request whose fields do not fit together."""

    code = ErrorCode.INVALID_REQUEST

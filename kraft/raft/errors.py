"""What the consensus core refuses, and why."""

from storage.errors import ErrorCode, OttlaError


class NotLeaderError(OttlaError):
    """Only the leader can do this; `leader_id` is the leader this node knows of, None when it knows of none."""

    code = ErrorCode.NOT_CONTROLLER
    retriable = True

    def __init__(self, message: str, leader_id: int | None = None, term: int = 0) -> None:
        super().__init__(message)
        self.leader_id = leader_id
        self.term = term


class ProposalRefusedError(OttlaError):
    """The leader takes nothing new just now: it hands leadership over, or too much waits to be committed."""

    code = ErrorCode.REQUEST_TIMED_OUT
    retriable = True


class ProposalTooLargeError(OttlaError):
    """A command, or commands proposed together, above the limit of the log."""

    code = ErrorCode.RECORD_LIST_TOO_LARGE


class MembershipChangeError(OttlaError):
    """A change of the members that makes no sense: unknown member, duplicate, the last voter."""

    code = ErrorCode.INVALID_REQUEST


class MembershipBusyError(OttlaError):
    """A change of the members that must wait: another is under way, or the learner has not caught up."""

    code = ErrorCode.REASSIGNMENT_IN_PROGRESS
    retriable = True

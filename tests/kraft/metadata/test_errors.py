"""The controller's codes are pinned (I9): a wrong one makes clients retry what is final, or give up what is not."""

from kraft.metadata import errors
from storage.errors import ErrorCode

RETRIABLE = {
    "UnknownTopicIdError",
    "NotControllerError",
    "DuplicateBrokerRegistrationError",
    "FencedLeaderEpochError",
    "IneligibleReplicaError",
}


def test_every_refusal_has_a_code_of_its_own() -> None:
    kinds = [
        kind
        for kind in errors.MetadataError.__subclasses__()
        if kind is not errors.UnreadableMetadataError
    ]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert all(kind.code is not ErrorCode.UNKNOWN_SERVER_ERROR for kind in kinds)
    assert {kind.__name__ for kind in kinds if kind.retriable} == RETRIABLE

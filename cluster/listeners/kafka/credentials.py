"""DescribeUserScramCredentials (KIP-554): clients have no names and no passwords here, and so nobody has any.

Kafka's `kafka-configs --describe --entity-type users` asks for them beside the users' quotas.
"""

from cluster.listeners.kafka.request import Client
from storage.errors import ErrorCode
from wire.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
)


async def describe_credentials(
    _client: Client, request: DescribeUserScramCredentialsRequest
) -> DescribeUserScramCredentialsResponse:
    """Of all users none; each that is named is not there."""
    return DescribeUserScramCredentialsResponse(
        results=tuple(
            DescribeUserScramCredentialsResult(
                user=each.name,
                error_code=ErrorCode.RESOURCE_NOT_FOUND,
                error_message=f"user {each.name!r} has no SCRAM credentials: clients have none here",
            )
            for each in request.users or ()
        )
    )

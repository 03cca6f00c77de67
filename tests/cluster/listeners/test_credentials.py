"""Nobody has credentials, and who asks for them is told so rather than sent away."""

import asyncio

from cluster.listeners.kafka.credentials import describe_credentials
from cluster.listeners.kafka.request import Client
from storage.errors import ErrorCode
from wire.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    UserName,
)

CLIENT = Client("a", "somewhere", "KAFKA", 0)


def test_of_all_users_none_and_of_each_that_is_named_that_it_is_not_there() -> None:
    for users in (None, ()):
        everybody = DescribeUserScramCredentialsRequest(users=users)
        found = asyncio.run(describe_credentials(CLIENT, everybody))
        assert (found.error_code, found.results) == (ErrorCode.NONE, ())
    named = DescribeUserScramCredentialsRequest(users=(UserName(name="bob"),))
    (bob,) = asyncio.run(describe_credentials(CLIENT, named)).results
    assert (bob.user, bob.error_code) == ("bob", ErrorCode.RESOURCE_NOT_FOUND)

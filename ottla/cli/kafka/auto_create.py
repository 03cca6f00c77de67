"""Kafka's console tools make a topic by asking for it, as `auto.create.topics.enable` says; over gRPC nobody does."""

from typing import TYPE_CHECKING

from ottla.client.errors import BrokerError
from storage.errors import ErrorCode

if TYPE_CHECKING:
    from ottla.client.admin import Admin

AUTO_CREATE = "auto.create.topics.enable"


async def make_missing(doors: str, topic: str) -> None:
    """Create a topic that is not there, when the brokers would. Raises BrokerError, NoBrokerError."""
    from ottla.client.admin import Admin
    from ottla.v1 import admin_pb2 as pb

    async with Admin(doors) as admin:
        if await _is_there(admin, topic):
            return
        cluster = await admin.configs(pb.ConfigResource(type=pb.RESOURCE_TYPE_BROKER))
        if any(each.name == AUTO_CREATE and each.value == "true" for each in cluster):
            try:
                await admin.create_topic(topic)
            except BrokerError as error:
                if error.code != ErrorCode.TOPIC_ALREADY_EXISTS:
                    raise


async def _is_there(admin: "Admin", topic: str) -> bool:
    try:
        await admin.topics([topic])
    except BrokerError as error:
        if error.code != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            raise
        return False
    return True

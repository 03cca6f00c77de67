"""Which topics the members of a classic consumer group read: Kafka's ConsumerProtocolSubscription, as far as needed."""

import struct
from collections.abc import Iterable

from wire.errors import WireError
from wire.primitives import read_bytes

CONSUMER = "consumer"
_VERSION_COUNT = struct.Struct(">hi")


def subscribed_topics(
    protocol_type: str | None, subscriptions: Iterable[bytes]
) -> frozenset[str] | None:
    """All topics of all members; None when that cannot be told, as with protocols that are not consumers'."""
    if protocol_type != CONSUMER:
        return None
    topics: set[str] = set()
    for data in subscriptions:
        try:
            topics |= _topics(memoryview(data))
        except (struct.error, WireError, UnicodeDecodeError):
            return None
    return frozenset(topics)


def _topics(data: memoryview) -> set[str]:
    _, count = _VERSION_COUNT.unpack_from(data)
    position = _VERSION_COUNT.size
    if not 0 <= count <= len(data):
        raise WireError(f"a subscription claims {count} topics")
    found = set()
    for _ in range(count):
        name, position = read_bytes(data, position, narrow=True)
        if name is None:
            raise WireError("a subscription names a topic null")
        found.add(str(name, "utf-8"))
    return found

"""How a message is described: its fields, and the versions in which each is there.

The descriptions stand in the generated classes of `wire.messages`; `wire.codec` turns them into readers and writers.
Source of the format: Kafka's protocol guide, KIP-482 (tagged fields) and KIP-893 (nullable structs).
"""

from typing import ClassVar, NamedTuple

import msgspec

NEVER = 32767
"""A version that does not exist: later than every other."""


class Field(NamedTuple):
    """One field. `kind`: a primitive's name, or "struct"; `item` is then its class.

    since, until: the versions that have it, both included. nullable_since: the first in which it may be null. tag: its
    number when it travels among the tagged fields, -1 otherwise. array: whether it is a list of `kind`.
    """

    name: str
    kind: str
    since: int
    until: int
    nullable_since: int = NEVER
    tag: int = -1
    array: bool = False
    item: "type[Message] | None" = None


class Message(msgspec.Struct, kw_only=True):
    """A message, or a part of one. Fields of versions that the peer does not speak keep their defaults."""

    FIELDS: ClassVar[tuple[Field, ...]] = ()


class Request(Message):
    """A request's body. VERSIONS: the first and the last that is understood; FLEXIBLE: from here on with KIP-482."""

    API_KEY: ClassVar[int] = -1
    VERSIONS: ClassVar[tuple[int, int]] = (0, 0)
    FLEXIBLE: ClassVar[int] = NEVER


class Response(Message):
    """A response's body."""

    API_KEY: ClassVar[int] = -1
    VERSIONS: ClassVar[tuple[int, int]] = (0, 0)
    FLEXIBLE: ClassVar[int] = NEVER

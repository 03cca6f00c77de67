"""Random messages: every field that a version has, filled with something."""

import random
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any
from uuid import UUID

from kio.index import load_payload_module
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.schema.index import PayloadEntityType, api_key_map
from kio.static.constants import EntityType

from wire.api_versions import MESSAGES
from wire.schema import Field, Message, Request, Response

ERROR_CODES = [int(each) for each in KioErrorCode]


def messages() -> Iterator[tuple[type[Request] | type[Response], int]]:
    """(class, version) of every request and response."""
    for key in MESSAGES:
        module = import_module(f"wire.messages.{api_key_map[key]}")
        for found in vars(module).values():
            if isinstance(found, type) and issubclass(found, Request | Response) and found.FIELDS:
                first, last = found.VERSIONS
                for version in range(first, last + 1):
                    yield found, version


@cache
def kio_entity(message: type[Request] | type[Response], version: int) -> Any:
    """The oracle's class for a message in a version."""
    kind: PayloadEntityType = (
        EntityType.request if issubclass(message, Request) else EntityType.response
    )
    module = load_payload_module(message.API_KEY, version, kind)
    return next(
        each
        for each in vars(module).values()
        if getattr(each, "__type__", None) is kind and each.__module__ == module.__name__
    )


def sample(message: type[Message], version: int, rng: random.Random) -> Message:
    """One message with what `version` has of it."""
    return message(
        **{
            field.name: _value(field, version, rng)
            for field in message.FIELDS
            if field.since <= version <= field.until
        }
    )


def _value(field: Field, version: int, rng: random.Random) -> Any:
    if version >= field.nullable_since and field.tag < 0 and rng.random() < 0.2:
        return None
    if field.array:
        return tuple(_item(field, version, rng) for _ in range(rng.randrange(4)))
    return _item(field, version, rng)


def _item(field: Field, version: int, rng: random.Random) -> Any:
    if field.kind == "struct":
        assert field.item is not None
        return sample(field.item, version, rng)
    if field.name.endswith("error_code"):
        return rng.choice(ERROR_CODES)
    match field.kind:
        case "bool":
            return rng.random() < 0.5
        case "string":
            return "".join(rng.choices("aZ0.-_äß漢", k=rng.choice((0, 3, 20, 130))))
        case "bytes" | "records":
            return rng.randbytes(rng.choice((0, 5, 200)))
        case "uuid":
            return UUID(int=rng.getrandbits(128) | 1)
        case "float64":
            return rng.random()
        case "uint16":
            return rng.randrange(1 << 16)
        case "uint32":
            return rng.randrange(1 << 32)
        case _:
            bits = {"int8": 7, "int16": 15, "int32": 31, "int64": 40}[field.kind]
            return rng.randrange(1 << bits)

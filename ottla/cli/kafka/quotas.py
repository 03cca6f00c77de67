"""Quotas of clients, users and addresses in `kafka-configs`."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING

import typer

from ottla.cli.kafka.entities import CLIENTS, IPS, USERS, Entities

if TYPE_CHECKING:
    from ottla.client.admin import Admin
    from ottla.v1 import admin_pb2 as pb

KINDS = {USERS: "user", CLIENTS: "client-id", IPS: "ip"}
# In the order in which Kafka shows them.
SHOWN = {"user": "user-principal", "client-id": "client-id", "ip": "ip"}
# From here on Java writes a double with an exponent.
_EXPONENT_FROM = 10_000_000


async def describe(admin: "Admin", wanted: Entities) -> int:
    """One line an entity that has quotas; entities that have none are not told of, as in Kafka."""
    names: dict[str, str | None] = {}
    any_of = []
    for kind, name in zip_longest(wanted.kinds, wanted.names):
        if name is None:
            any_of.append(KINDS[kind])
        else:
            names[KINDS[kind]] = name or None
    for line in sorted(map(line_of, await admin.client_quotas(names, any_of=any_of, strict=True))):
        typer.echo(line)
    return 0


async def alter(
    admin: "Admin", wanted: Entities, added: Mapping[str, str], deleted: Sequence[str]
) -> int:
    """Returns the exit code."""
    rates = {}
    for key, text in added.items():
        try:
            rates[key] = float(text)
        except ValueError:
            return _refuse(f"Cannot parse quota configuration value for {key}: {text}")
    entity = {
        KINDS[kind]: name or None for kind, name in zip(wanted.kinds, wanted.names, strict=True)
    }
    if deleted:
        found = await admin.client_quotas(entity, strict=True)
        unknown = [key for key in deleted if not found or key not in found[0].rates]
        if unknown:
            return _refuse(f"Invalid config(s): {','.join(unknown)}")
    await admin.alter_client_quotas(entity, set_=rates, unset=deleted)
    typer.echo(wanted.completed)
    return 0


def line_of(found: "pb.ClientQuota") -> str:
    """Whose quotas, and which, in Kafka's words."""
    parts = {part.kind: part.name if part.HasField("name") else None for part in found.entity}
    who = ", ".join(
        f"the default {word}" if parts[kind] is None else f"{word} '{parts[kind]}'"
        for kind, word in SHOWN.items()
        if kind in parts
    )
    rates = ", ".join(f"{key}={java_double(found.rates[key])}" for key in sorted(found.rates))
    return f"Quota configs for {who} are {rates}"


def java_double(value: float) -> str:
    """A number that is at least 0.001, as Java writes it: scripts read it back."""
    if value < _EXPONENT_FROM:
        return repr(value)
    digits = "".join(map(str, Decimal(repr(value)).normalize().as_tuple().digits))
    return f"{digits[0]}.{digits[1:] or '0'}E{Decimal(repr(value)).adjusted()}"


def _refuse(message: str) -> int:
    typer.echo(f"ottla: {message}", err=True)
    return 1

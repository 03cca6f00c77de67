"""What clients may use: set and unset in the metadata log (KIP-546), and found for one client. Pure.

An entity is a user, a client id, or a client id of a user; each may be named or stand for all that have no quota of
their own (name None). Only what is enforced is taken.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from kraft.metadata.draft import ControllerResult, Draft
from kraft.metadata.errors import InvalidRequestError, MetadataError, Refusal
from kraft.metadata.records import (
    CLIENT_SETTINGS_LEVEL,
    ClientQuota,
    QuotaEntity,
    QuotaPart,
)
from kraft.metadata.replies import AlteredQuota, ClientQuotasAltered
from kraft.metadata.requests import AlterClientQuotas, QuotaAlteration

USER, CLIENT_ID, IP = "user", "client-id", "ip"
PRODUCER_BYTE_RATE, CONSUMER_BYTE_RATE = "producer_byte_rate", "consumer_byte_rate"
ENFORCED = (PRODUCER_BYTE_RATE, CONSUMER_BYTE_RATE)
NOT_ENFORCED = ("request_percentage", "controller_mutation_rate", "connection_creation_rate")
RATE_MAX = 2**53
"""The largest number that counts bytes exactly."""


class Quota(NamedTuple):
    """rate: bytes a second. user, client_id: who uses it together, "" for all of them."""

    rate: float
    user: str
    client_id: str


def entity(parts: Mapping[str, str | None]) -> QuotaEntity:
    """An entity in the order in which it is kept."""
    return tuple(QuotaPart(kind, parts[kind]) for kind in sorted(parts))


def quota_of(
    quotas: Mapping[QuotaEntity, Mapping[str, float]], user: str, client_id: str, key: str
) -> Quota | None:
    """What holds for one client, Kafka's order: the client id of the user, the user, the client id, and of each the
    named one before the one for all others. None: no quota.
    """
    for wanted, by_user, by_client in _candidates(user, client_id):
        rate = quotas.get(wanted, {}).get(key)
        if rate is not None:
            return Quota(rate, user if by_user else "", client_id if by_client else "")
    return None


def _candidates(user: str, client_id: str) -> Iterator[tuple[QuotaEntity, bool, bool]]:
    for who in (user, None):
        for client in (client_id, None):
            yield (QuotaPart(CLIENT_ID, client), QuotaPart(USER, who)), True, True
        yield (QuotaPart(USER, who),), True, False
    for client in (client_id, None):
        yield (QuotaPart(CLIENT_ID, client),), False, True


def alter_client_quotas(draft: Draft, request: AlterClientQuotas) -> ControllerResult:
    """Set and unset; each entity is changed or refused by itself. With validate_only nothing is changed."""
    draft.require_level(CLIENT_SETTINGS_LEVEL, "client quotas")
    altered = []
    for each in request.alterations:
        try:
            _alter(draft, each)
            altered.append(AlteredQuota())
        except MetadataError as error:
            altered.append(AlteredQuota(refusal=Refusal.of(error)))
    reply = ClientQuotasAltered(entries=tuple(altered))
    return ControllerResult([], reply) if request.validate_only else draft.result(reply)


def _alter(draft: Draft, wanted: QuotaAlteration) -> None:
    _check_entity(wanted.entity)
    keys = [key for key, _ in wanted.ops]
    if len(set(keys)) < len(keys):
        raise InvalidRequestError(f"a quota of {shown(wanted.entity)} stands twice in one request")
    for key, rate in wanted.ops:
        _check(key, rate)
    old = draft.delta.quotas(wanted.entity)
    for key, rate in wanted.ops:
        if old.get(key) != rate:
            draft.emit(ClientQuota(entity=wanted.entity, key=key, rate=rate))


def _check_entity(wanted: QuotaEntity) -> None:
    kinds = [each.kind for each in wanted]
    if kinds == [IP]:
        raise InvalidRequestError(
            "quotas of addresses are not enforced here; max.connections.per.ip limits their connections"
        )
    if kinds not in ([USER], [CLIENT_ID], [CLIENT_ID, USER]):
        raise InvalidRequestError(
            f"{shown(wanted)} is nobody: a quota belongs to a user, a client-id, or both"
        )
    if any(each.name == "" for each in wanted):
        raise InvalidRequestError("an empty name; null stands for all that have no quota")


def _check(key: str, rate: float | None) -> None:
    if key in NOT_ENFORCED:
        raise InvalidRequestError(
            f"{key} is not enforced here and therefore not taken; there are {', '.join(ENFORCED)}"
        )
    if key not in ENFORCED:
        raise InvalidRequestError(f"unknown quota {key!r}: there are {', '.join(ENFORCED)}")
    if rate is not None and not (1 <= rate <= RATE_MAX and rate == int(rate)):
        raise InvalidRequestError(f"{key}={rate}: a whole number of bytes a second, at least 1")


def shown(found: QuotaEntity) -> str:
    """For people."""
    return (
        " ".join(f"{each.kind} {each.name or '<default>'}" for each in found) or "an empty entity"
    )

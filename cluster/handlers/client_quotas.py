"""What clients may use (KIP-546): who has which quota, from this node's image; changes, asked of the controller."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from cluster.handlers.admin import AdminHandler
from kraft.metadata.client_quotas import CLIENT_ID, IP, USER, entity
from kraft.metadata.errors import (
    InvalidRequestError,
    MetadataError,
    Refusal,
    UnsupportedVersionError,
)
from kraft.metadata.records import QuotaEntity, QuotaPart
from kraft.metadata.replies import ClientQuotasAltered
from kraft.metadata.requests import AlterClientQuotas, QuotaAlteration

KINDS = (USER, CLIENT_ID, IP)


class Match(IntEnum):
    """Which names of a kind are asked for (Kafka's numbers)."""

    EXACT = 0
    DEFAULT = 1
    ANY = 2


class Component(NamedTuple):
    """One kind that is asked for, as a client says it; a name goes with Match.EXACT only."""

    kind: str
    match: int
    name: str | None


class ClientQuotasHandler:
    """Quotas are kept in the metadata log; the Kafka listeners go by them."""

    def __init__(self, admin: AdminHandler) -> None:
        self._admin = admin

    def describe(
        self, components: Sequence[Component], *, strict: bool
    ) -> dict[QuotaEntity, Mapping[str, float]]:
        """All entities that the components fit; strict: those that have no other parts.

        Raises InvalidRequestError, UnsupportedVersionError, NotCaughtUpError.
        """
        wanted = _by_kind(components)
        return {
            found: rates
            for found, rates in self._admin.current_image().quotas.items()
            if _fits(found, wanted, strict=strict)
        }

    async def alter(
        self,
        wanted: Sequence[QuotaAlteration],
        *,
        validate_only: bool,
        time_left_s: float | None,
    ) -> list[Refusal | None]:
        """Each entity is taken or refused by itself; its parts may come in any order.

        Raises what the controller refuses the whole request with.
        """
        outcomes: list[Refusal | None] = [None] * len(wanted)
        asked: list[tuple[int, QuotaAlteration]] = []
        for number, each in enumerate(wanted):
            try:
                in_order = QuotaAlteration(entity=_entity(each.entity), ops=each.ops)
                asked.append((number, in_order))
            except MetadataError as error:
                outcomes[number] = Refusal.of(error)
        if not asked:
            return outcomes
        request = AlterClientQuotas(
            alterations=tuple(each for _, each in asked), validate_only=validate_only
        )
        reply = await self._admin.change(request, time_left_s)
        assert isinstance(reply, ClientQuotasAltered), reply
        for (number, _), done in zip(asked, reply.entries, strict=True):
            outcomes[number] = done.refusal
        return outcomes


def _entity(parts: Sequence[QuotaPart]) -> QuotaEntity:
    by_kind = {part.kind: part.name for part in parts}
    if len(by_kind) < len(parts):
        raise InvalidRequestError("a part of an entity stands twice")
    return entity(by_kind)


def _by_kind(components: Sequence[Component]) -> dict[str, Component]:
    wanted: dict[str, Component] = {}
    for each in components:
        kind = each.kind
        if not kind:
            raise InvalidRequestError("a component without an entity type")
        if kind not in KINDS:
            raise UnsupportedVersionError(
                f"entities of the type {kind!r}: there are {', '.join(KINDS)}"
            )
        if kind in wanted:
            raise InvalidRequestError(f"{kind} stands twice")
        if each.match not in (Match.EXACT, Match.DEFAULT, Match.ANY):
            raise InvalidRequestError(f"{kind}: there is no match type {each.match}")
        if (each.match == Match.EXACT) != (each.name is not None):
            raise InvalidRequestError(f"{kind}: a name belongs to an exact match, and to no other")
        wanted[kind] = each
    if IP in wanted and len(wanted) > 1:
        raise InvalidRequestError("ip goes with no other type")
    return wanted


def _fits(found: QuotaEntity, wanted: Mapping[str, Component], *, strict: bool) -> bool:
    names = {part.kind: part.name for part in found}
    if strict and names.keys() != wanted.keys():
        return False
    for kind, each in wanted.items():
        if kind not in names:
            return False
        if each.match == Match.EXACT and names[kind] != each.name:
            return False
        if each.match == Match.DEFAULT and names[kind] is not None:
            return False
    return True

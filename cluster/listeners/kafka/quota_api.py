"""DescribeClientQuotas and AlterClientQuotas (KIP-546)."""

from collections.abc import Iterable

from cluster.handlers.admin import AdminHandler
from cluster.listeners.kafka.request import Client
from kraft.metadata.client_quotas import CLIENT_ID, IP, USER, entity
from kraft.metadata.errors import (
    InvalidRequestError,
    MetadataError,
    Refusal,
    UnsupportedVersionError,
)
from kraft.metadata.records import QuotaEntity
from kraft.metadata.replies import ClientQuotasAltered
from kraft.metadata.requests import AlterClientQuotas, QuotaAlteration
from storage.errors import ErrorCode, OttlaError
from wire.messages import alter_client_quotas as alter
from wire.messages import describe_client_quotas as describe

EXACT, DEFAULT, ANY = 0, 1, 2
KINDS = (USER, CLIENT_ID, IP)
ALTER_S = 15.0


class KafkaQuotas:
    """Kept in the metadata log; `ClientQuotas` goes by them."""

    def __init__(self, admin: AdminHandler) -> None:
        self._admin = admin

    async def describe(
        self, _client: Client, request: describe.DescribeClientQuotasRequest
    ) -> describe.DescribeClientQuotasResponse:
        """All entities that the components fit; strict: those that have no other parts."""
        try:
            wanted = _filter(request.components)
            quotas = self._admin.current_image().quotas
        except OttlaError as error:
            return describe.DescribeClientQuotasResponse(
                error_code=error.code, error_message=str(error), entries=None
            )
        return describe.DescribeClientQuotasResponse(
            entries=tuple(
                describe.EntryData(
                    entity=tuple(
                        describe.EntityData(entity_type=part.kind, entity_name=part.name)
                        for part in found
                    ),
                    values=tuple(
                        describe.ValueData(key=key, value=value) for key, value in rates.items()
                    ),
                )
                for found, rates in quotas.items()
                if _fits(found, wanted, strict=request.strict)
            )
        )

    async def alter(
        self, _client: Client, request: alter.AlterClientQuotasRequest
    ) -> alter.AlterClientQuotasResponse:
        """Each entry is taken or refused by itself."""
        refusals: dict[int, Refusal | None] = {}
        alterations = []
        for number, each in enumerate(request.entries):
            try:
                alterations.append((number, _alteration(each)))
            except MetadataError as error:
                refusals[number] = Refusal.of(error)
        refusals |= await self._ask(alterations, request.validate_only)
        return alter.AlterClientQuotasResponse(
            entries=tuple(
                _altered(each, refusals[number]) for number, each in enumerate(request.entries)
            )
        )

    async def _ask(
        self, alterations: list[tuple[int, QuotaAlteration]], validate_only: bool
    ) -> dict[int, Refusal | None]:
        if not alterations:
            return {}
        wanted = AlterClientQuotas(
            alterations=tuple(each for _, each in alterations), validate_only=validate_only
        )
        try:
            reply = await self._admin.change(wanted, ALTER_S)
        except OttlaError as error:
            return dict.fromkeys((number for number, _ in alterations), Refusal.of(error))
        assert isinstance(reply, ClientQuotasAltered), reply
        return {
            number: done.refusal
            for (number, _), done in zip(alterations, reply.entries, strict=True)
        }


def _alteration(entry: alter.EntryData) -> QuotaAlteration:
    parts = {part.entity_type: part.entity_name for part in entry.entity}
    if len(parts) < len(entry.entity):
        raise InvalidRequestError("a part of an entity stands twice")
    return QuotaAlteration(
        entity=entity(parts),
        ops=tuple((each.key, None if each.remove else each.value) for each in entry.ops),
    )


def _altered(entry: alter.EntryData, refusal: Refusal | None) -> alter.ResponseEntryData:
    return alter.ResponseEntryData(
        error_code=ErrorCode.NONE if refusal is None else refusal.code,
        error_message=None if refusal is None else refusal.message,
        entity=tuple(
            alter.ResponseEntityData(entity_type=part.entity_type, entity_name=part.entity_name)
            for part in entry.entity
        ),
    )


def _filter(
    components: Iterable[describe.ComponentData],
) -> dict[str, describe.ComponentData]:
    """By kind. Raises InvalidRequestError, UnsupportedVersionError."""
    wanted: dict[str, describe.ComponentData] = {}
    for each in components:
        kind = each.entity_type
        if not kind:
            raise InvalidRequestError("a component without an entity type")
        if kind not in KINDS:
            raise UnsupportedVersionError(
                f"entities of the type {kind!r}: there are {', '.join(KINDS)}"
            )
        if kind in wanted:
            raise InvalidRequestError(f"{kind} stands twice")
        if each.match_type not in (EXACT, DEFAULT, ANY):
            raise InvalidRequestError(f"{kind}: there is no match type {each.match_type}")
        if (each.match_type == EXACT) != (each.match is not None):
            raise InvalidRequestError(f"{kind}: a name belongs to an exact match, and to no other")
        wanted[kind] = each
    if IP in wanted and len(wanted) > 1:
        raise InvalidRequestError("ip goes with no other type")
    return wanted


def _fits(found: QuotaEntity, wanted: dict[str, describe.ComponentData], *, strict: bool) -> bool:
    names = {part.kind: part.name for part in found}
    if strict and names.keys() != wanted.keys():
        return False
    for kind, each in wanted.items():
        if kind not in names:
            return False
        if each.match_type == EXACT and names[kind] != each.match:
            return False
        if each.match_type == DEFAULT and names[kind] is not None:
            return False
    return True

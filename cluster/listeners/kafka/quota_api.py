"""DescribeClientQuotas and AlterClientQuotas (KIP-546)."""

from cluster.handlers.client_quotas import ClientQuotasHandler, Component
from cluster.listeners.kafka.request import Client
from kraft.metadata.errors import Refusal
from kraft.metadata.records import QuotaPart
from kraft.metadata.requests import QuotaAlteration
from storage.errors import ErrorCode, OttlaError
from wire.messages import alter_client_quotas as alter
from wire.messages import describe_client_quotas as describe

ALTER_S = 15.0


class KafkaQuotas:
    """Wire to handler and back."""

    def __init__(self, quotas: ClientQuotasHandler) -> None:
        self._quotas = quotas

    async def describe(
        self, _client: Client, request: describe.DescribeClientQuotasRequest
    ) -> describe.DescribeClientQuotasResponse:
        """DescribeClientQuotas."""
        components = [
            Component(each.entity_type, each.match_type, each.match) for each in request.components
        ]
        try:
            quotas = self._quotas.describe(components, strict=request.strict)
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
            )
        )

    async def alter(
        self, _client: Client, request: alter.AlterClientQuotasRequest
    ) -> alter.AlterClientQuotasResponse:
        """AlterClientQuotas."""
        outcomes: list[Refusal | None]
        try:
            outcomes = await self._quotas.alter(
                [_alteration(each) for each in request.entries],
                validate_only=request.validate_only,
                time_left_s=ALTER_S,
            )
        except OttlaError as error:
            outcomes = [Refusal.of(error)] * len(request.entries)
        return alter.AlterClientQuotasResponse(
            entries=tuple(
                _altered(each, refusal)
                for each, refusal in zip(request.entries, outcomes, strict=True)
            )
        )


def _alteration(entry: alter.EntryData) -> QuotaAlteration:
    return QuotaAlteration(
        entity=tuple(QuotaPart(part.entity_type, part.entity_name) for part in entry.entity),
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

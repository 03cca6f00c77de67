"""AdminService: settings of topics, brokers, groups and subscriptions to client metrics, and quotas of clients."""

from typing import Any, TypeVar

import grpc.aio

from cluster.handlers.admin import AdminHandler
from cluster.handlers.client_quotas import ClientQuotasHandler, Component, Match
from cluster.listeners.grpc_errors import abort, of_refusal, or_abort, to_proto
from kraft.metadata import replies, requests
from kraft.metadata.effective_config import EffectiveValue
from kraft.metadata.errors import InvalidRequestError
from kraft.metadata.records import ConfigResource, QuotaPart, ResourceType
from ottla.v1 import admin_pb2 as pb
from ottla.v1 import admin_pb2_grpc
from storage.errors import OttlaError

Context = grpc.aio.ServicerContext[Any, Any]
ReplyT = TypeVar("ReplyT")

_RESOURCE_TYPES = {
    pb.RESOURCE_TYPE_TOPIC: ResourceType.TOPIC,
    pb.RESOURCE_TYPE_BROKER: ResourceType.BROKER,
    pb.RESOURCE_TYPE_CLIENT_METRICS: ResourceType.CLIENT_METRICS,
    pb.RESOURCE_TYPE_GROUP: ResourceType.GROUP,
}
_MATCHES = {
    pb.QUOTA_MATCH_EXACT: Match.EXACT,
    pb.QUOTA_MATCH_DEFAULT: Match.DEFAULT,
    pb.QUOTA_MATCH_ANY: Match.ANY,
}


class GrpcConfigs(admin_pb2_grpc.AdminServiceServicer):
    """A part of `GrpcAdmin`."""

    def __init__(self, admin: AdminHandler, quotas: ClientQuotasHandler) -> None:
        self._admin = admin
        self._quotas = quotas

    async def DescribeConfigs(
        self, request: pb.DescribeConfigsRequest, _context: Context
    ) -> pb.DescribeConfigsResponse:
        """See the proto."""
        return pb.DescribeConfigsResponse(
            resources=[self._described(each) for each in request.resources]
        )

    async def AlterConfigs(
        self, request: pb.AlterConfigsRequest, context: Context
    ) -> pb.AlterConfigsResponse:
        """See the proto."""
        try:
            resources = [_resource(each.resource) for each in request.changes]
        except OttlaError as error:
            await abort(context, error)
        wanted = requests.AlterConfigs(
            changes=tuple(
                requests.ConfigChange(
                    resource=resource, set=dict(each.set), unset=tuple(each.unset)
                )
                for resource, each in zip(resources, request.changes, strict=True)
            ),
            validate_only=request.validate_only,
        )
        reply = await self._change(wanted, replies.ConfigsAltered, context)
        return pb.AlterConfigsResponse(
            resources=[
                pb.AlteredConfigs(resource=change.resource, error=of_refusal(each.refusal))
                for change, each in zip(request.changes, reply.changes, strict=True)
            ]
        )

    async def ListConfigResources(
        self, request: pb.ListConfigResourcesRequest, context: Context
    ) -> pb.ListConfigResourcesResponse:
        """See the proto."""
        try:
            found = [
                pb.ConfigResource(type=kind, name=name)
                for kind in request.types
                for name in self._admin.config_resources(_kind(kind))
            ]
        except OttlaError as error:
            await abort(context, error)
        return pb.ListConfigResourcesResponse(resources=found)

    async def DescribeClientQuotas(
        self, request: pb.DescribeClientQuotasRequest, context: Context
    ) -> pb.DescribeClientQuotasResponse:
        """See the proto."""
        try:
            components = [_component(each) for each in request.components]
            found = self._quotas.describe(components, strict=request.strict)
        except OttlaError as error:
            await abort(context, error)
        return pb.DescribeClientQuotasResponse(
            quotas=[
                pb.ClientQuota(
                    entity=[pb.ClientQuotaPart(kind=part.kind, name=part.name) for part in entity],
                    rates=rates,
                )
                for entity, rates in found.items()
            ]
        )

    async def AlterClientQuotas(
        self, request: pb.AlterClientQuotasRequest, context: Context
    ) -> pb.AlterClientQuotasResponse:
        """See the proto."""
        work = self._quotas.alter(
            [_alteration(each) for each in request.changes],
            validate_only=request.validate_only,
            time_left_s=context.time_remaining(),
        )
        outcomes = await or_abort(work, context)
        return pb.AlterClientQuotasResponse(
            quotas=[
                pb.AlteredClientQuota(entity=change.entity, error=of_refusal(refusal))
                for change, refusal in zip(request.changes, outcomes, strict=True)
            ]
        )

    async def _change(
        self, request: requests.ControllerRequest, kind: type[ReplyT], context: Context
    ) -> ReplyT:
        reply = await or_abort(self._admin.change(request, context.time_remaining()), context)
        assert isinstance(reply, kind), reply
        return reply

    def _described(self, wanted: pb.ConfigResource) -> pb.DescribedConfigs:
        try:
            found = self._admin.configs(_resource(wanted))
        except OttlaError as error:
            return pb.DescribedConfigs(resource=wanted, error=to_proto(error))
        return pb.DescribedConfigs(resource=wanted, entries=[_entry(each) for each in found])


def _kind(wanted: "pb.ResourceType.ValueType") -> ResourceType:
    kind = _RESOURCE_TYPES.get(wanted)
    if kind is None:
        names = ", ".join(pb.ResourceType.Name(each) for each in _RESOURCE_TYPES)
        raise InvalidRequestError(f"the resource type {wanted} is not known: there are {names}")
    return kind


def _resource(wanted: pb.ConfigResource) -> ConfigResource:
    return ConfigResource(_kind(wanted.type), wanted.name)


def _entry(found: EffectiveValue) -> pb.ConfigEntry:
    return pb.ConfigEntry(
        name=found.key,
        value=found.value,
        source=pb.ConfigSource.ValueType(found.source),
        documentation=found.documentation,
        read_only=found.read_only,
        synonyms=[
            pb.ConfigSynonym(
                name=each.key, value=each.value, source=pb.ConfigSource.ValueType(each.source)
            )
            for each in found.synonyms
        ],
    )


def _component(wanted: pb.ClientQuotaComponent) -> Component:
    match = _MATCHES.get(wanted.match)
    if match is None:
        names = ", ".join(pb.QuotaMatch.Name(each) for each in _MATCHES)
        raise InvalidRequestError(
            f"{wanted.kind}: the match {wanted.match} is not known: there are {names}"
        )
    return Component(wanted.kind, match, wanted.name if wanted.HasField("name") else None)


def _alteration(change: pb.ClientQuotaChange) -> requests.QuotaAlteration:
    return requests.QuotaAlteration(
        entity=tuple(
            QuotaPart(part.kind, part.name if part.HasField("name") else None)
            for part in change.entity
        ),
        ops=(*change.set.items(), *((key, None) for key in change.unset)),
    )

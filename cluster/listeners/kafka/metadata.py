"""Metadata: who is there, who leads what; and topics made because somebody asked for them."""

from collections.abc import Callable, Iterable

import structlog

from cluster.handlers.admin import AdminHandler
from cluster.handlers.group_location import Settled
from cluster.listeners.kafka.addresses import node_endpoints
from cluster.listeners.kafka.request import Client
from cluster.listeners.kafka.told_topics import ToldTopics
from kraft.metadata.effective_config import broker_value, floors
from kraft.metadata.errors import InvalidTopicNameError
from kraft.metadata.image import MetadataImage, TopicImage
from kraft.metadata.requests import CreateTopics, NewTopic
from kraft.metadata.topic_names import check_topic_name
from storage.errors import ErrorCode, OttlaError
from wire.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponseTopic,
)

log = structlog.get_logger("kafka")

AUTO_CREATE_S = 2.0
AUTO_CREATE_MAX = 100
"""Topics that one request may bring into being."""
# As TOPIC_OPERATIONS.
CLUSTER_OPERATIONS = sum(1 << bit for bit in (5, 7, 8, 9, 10, 11, 12))
NOT_ASKED = -(2**31)


class KafkaMetadata:
    """`controller_id`: the node that leads the quorum, -1 when there is none. `settled` waits while a leader may be
    dead. `recently_fenced`: brokers that are told although they are away.
    """

    def __init__(
        self,
        admin: AdminHandler,
        controller_id: Callable[[], int],
        settled: Settled,
        recently_fenced: Callable[[], set[int]],
    ) -> None:
        self._recently_fenced = recently_fenced
        self._admin = admin
        self._controller_id = controller_id
        self._settled = settled
        self._told = ToldTopics()

    async def answer(self, client: Client, request: MetadataRequest) -> MetadataResponse:
        """For all topics, or for those that are asked for."""
        await self._settled(lambda image: self._leaders(image, request))
        # The picture from before: a topic that is made now is there for the next request, as with Kafka. Its leaders
        # may need a moment to know that they lead, and a producer with acks=0 would lose what it sends meanwhile.
        image = self._admin.image()
        wanted = request.topics
        if wanted is not None and request.allow_auto_topic_creation:
            await self._create_missing(image, [each.name for each in wanted if each.name])
        everything = wanted is None or (client.api_version == 0 and not wanted)
        found = (
            list(image.topics_by_name.values())
            if everything
            else [_topic_or_error(image, each) for each in wanted or ()]
        )
        topics = [
            self._told.topic(
                image,
                each,
                client.api_version,
                with_operations=request.include_topic_authorized_operations,
            )
            if isinstance(each, TopicImage)
            else each
            for each in found
        ]
        alive = {each.node_id for each in image.brokers.values() if not each.fenced}
        return MetadataResponse(
            brokers=tuple(
                MetadataResponseBroker(
                    node_id=each.node_id, host=each.host, port=each.port, rack=each.rack
                )
                for each in node_endpoints(image, alive | self._recently_fenced(), client.listener)
            ),
            cluster_id=image.cluster_id,
            controller_id=self._controller(alive),
            topics=tuple(topics),
            cluster_authorized_operations=CLUSTER_OPERATIONS
            if request.include_cluster_authorized_operations
            else NOT_ASKED,
        )

    def _leaders(self, image: MetadataImage, request: MetadataRequest) -> Iterable[int]:
        """Who would be named."""
        if request.topics is None:
            return self._told.leaders(image)
        found = (image.topic(each.topic_id or each.name or "") for each in request.topics)
        return (
            partition.leader
            for topic in found
            if topic is not None
            for partition in topic.partitions.values()
        )

    def _controller(self, alive: set[int]) -> int:
        """Any broker passes requests on to the controller; that one is nearest."""
        found = self._controller_id()
        return found if found in alive else min(alive, default=-1)

    async def _create_missing(self, image: MetadataImage, names: Iterable[str]) -> None:
        """`auto.create.topics.enable`: what is not there is made, with the cluster's defaults."""
        missing = sorted({name for name in names if name not in image.topics_by_name})
        missing = [name for name in missing if _is_valid(name)][:AUTO_CREATE_MAX]
        if not missing or not broker_value(floors(image), "auto.create.topics.enable"):
            return
        wanted = CreateTopics(topics=tuple(NewTopic(name=name) for name in missing))
        try:
            await self._admin.change(wanted, AUTO_CREATE_S)
        except OttlaError as error:
            log.warning("topics not created", topics=missing, reason=str(error))


def _is_valid(name: str) -> bool:
    try:
        check_topic_name(name)
    except InvalidTopicNameError:
        return False
    return True


def _topic_or_error(
    image: MetadataImage, wanted: MetadataRequestTopic
) -> TopicImage | MetadataResponseTopic:
    found = image.topic(wanted.topic_id or wanted.name or "")
    if found is not None:
        return found
    if wanted.topic_id is not None:
        return MetadataResponseTopic(
            error_code=ErrorCode.UNKNOWN_TOPIC_ID, topic_id=wanted.topic_id, name=wanted.name
        )
    name = wanted.name or ""
    code = (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if _is_valid(name)
        else ErrorCode.INVALID_TOPIC_EXCEPTION
    )
    return MetadataResponseTopic(error_code=code, name=name)

"""Metadata: who is there, who leads what; and topics made because somebody asked for them."""

from collections.abc import Callable, Iterable, Iterator

import structlog

from cluster.handlers.admin import AdminHandler
from cluster.handlers.group_location import Settled
from cluster.listeners.kafka.addresses import node_endpoints
from cluster.listeners.kafka.request import Client
from kraft.metadata.effective_config import broker_value, floors
from kraft.metadata.errors import InvalidTopicNameError
from kraft.metadata.image import MetadataImage, PartitionRegistration, TopicImage
from kraft.metadata.requests import CreateTopics, NewTopic
from kraft.metadata.topic_names import check_topic_name
from storage.errors import ErrorCode, OttlaError
from wire.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

log = structlog.get_logger("kafka")

AUTO_CREATE_S = 2.0
AUTO_CREATE_MAX = 100
"""Topics that one request may bring into being."""
# Bit n is Kafka's AclOperation n: what may be done where nobody is refused anything.
TOPIC_OPERATIONS = sum(1 << bit for bit in (3, 4, 5, 6, 7, 8, 10, 11))
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

    async def answer(self, client: Client, request: MetadataRequest) -> MetadataResponse:
        """For all topics, or for those that are asked for."""
        await self._settled(lambda image: _leaders(image, request))
        # The picture from before: a topic that is made now is there for the next request, as with Kafka. Its leaders
        # may need a moment to know that they lead, and a producer with acks=0 would lose what it sends meanwhile.
        image = self._admin.image()
        wanted = request.topics
        if wanted is not None and request.allow_auto_topic_creation:
            await self._create_missing(image, [each.name for each in wanted if each.name])
        everything = wanted is None or (client.api_version == 0 and not wanted)
        topics = (
            [_topic(image, each) for each in image.topics_by_name.values()]
            if everything
            else [_topic_or_error(image, each) for each in wanted or ()]
        )
        if request.include_topic_authorized_operations:
            for topic in topics:
                if topic.error_code == ErrorCode.NONE:
                    topic.topic_authorized_operations = TOPIC_OPERATIONS
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


def _leaders(image: MetadataImage, request: MetadataRequest) -> Iterator[int]:
    """Who would be named."""
    if request.topics is None:
        topics = list(image.topics_by_name.values())
    else:
        found = [image.topic(each.topic_id or each.name or "") for each in request.topics]
        topics = [each for each in found if each is not None]
    for topic in topics:
        for partition in topic.partitions.values():
            yield partition.leader


def _is_valid(name: str) -> bool:
    try:
        check_topic_name(name)
    except InvalidTopicNameError:
        return False
    return True


def _topic_or_error(image: MetadataImage, wanted: MetadataRequestTopic) -> MetadataResponseTopic:
    if wanted.topic_id is not None:
        found = image.topics_by_id.get(wanted.topic_id)
        if found is None:
            return MetadataResponseTopic(
                error_code=ErrorCode.UNKNOWN_TOPIC_ID, topic_id=wanted.topic_id, name=wanted.name
            )
        return _topic(image, found)
    name = wanted.name or ""
    found = image.topics_by_name.get(name)
    if found is not None:
        return _topic(image, found)
    code = (
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if _is_valid(name)
        else ErrorCode.INVALID_TOPIC_EXCEPTION
    )
    return MetadataResponseTopic(error_code=code, name=name)


def _topic(image: MetadataImage, topic: TopicImage) -> MetadataResponseTopic:
    return MetadataResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.name.startswith("__"),
        partitions=tuple(
            _partition(image, number, topic.partitions[number])
            for number in sorted(topic.partitions)
        ),
    )


def _partition(
    image: MetadataImage, number: int, found: PartitionRegistration
) -> MetadataResponsePartition:
    return MetadataResponsePartition(
        error_code=ErrorCode.NONE if found.leader >= 0 else ErrorCode.LEADER_NOT_AVAILABLE,
        partition_index=number,
        leader_id=found.leader,
        leader_epoch=found.leader_epoch,
        replica_nodes=found.replicas,
        isr_nodes=found.isr,
        offline_replicas=offline(image, found),
    )


def offline(image: MetadataImage, found: PartitionRegistration) -> tuple[int, ...]:
    """The replicas whose brokers are not there."""
    brokers = image.brokers
    return tuple(each for each in found.replicas if each not in brokers or brokers[each].fenced)

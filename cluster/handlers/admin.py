"""Questions about the cluster, answered from this node's image, and changes, asked of the active controller."""

from collections.abc import Callable, Mapping

from cluster.errors import NotCaughtUpError
from cluster.failover.controller_client import ControllerClient
from kraft.metadata.client_metrics import describe_client_metrics
from kraft.metadata.effective_config import (
    EffectiveValue,
    Floors,
    describe_broker,
    describe_topic,
    floors,
)
from kraft.metadata.errors import (
    BrokerNotRegisteredError,
    InvalidRequestError,
    UnknownTopicError,
)
from kraft.metadata.group_config import describe_group
from kraft.metadata.image import MetadataImage
from kraft.metadata.records import ConfigResource, ResourceType
from kraft.metadata.replies import ProducerIdBlock, Reply
from kraft.metadata.requests import AllocateProducerIds, ControllerRequest

DEFAULT_TIMEOUT_S = 15.0
LONGEST_TIMEOUT_S = 60.0


class AdminHandler:
    """`image` is this node's newest; `caught_up` whether it holds what the cluster knew when this node started."""

    def __init__(
        self,
        node_id: int,
        controller: ControllerClient,
        image: Callable[[], MetadataImage],
        static: Mapping[str, str],
        caught_up: Callable[[], bool],
    ) -> None:
        self._node_id = node_id
        self._controller = controller
        self._static = static
        self._caught_up = caught_up
        self.image = image

    def current_image(self) -> MetadataImage:
        """The newest image. Raises NotCaughtUpError while this node has just started: it would deny what there is."""
        if not self._caught_up():
            raise NotCaughtUpError(
                f"node {self._node_id} has just started and does not know the cluster yet; ask another, or try again"
            )
        return self.image()

    async def change(self, request: ControllerRequest, time_left_s: float | None) -> Reply:
        """Committed, and visible on this node. Raises what the controller refuses with."""
        return await self._controller.ask(request, _patience_s(time_left_s))

    def configs(self, resource: ConfigResource) -> list[EffectiveValue]:
        """Every key of a resource with its value and source. Raises UnknownTopicError and the like.

        Groups and subscriptions to client metrics that nobody has heard of are shown what would hold for them.
        """
        found = self.config_floors(resource)
        if resource.type == ResourceType.TOPIC:
            return describe_topic(found)
        if resource.type == ResourceType.BROKER:
            return describe_broker(found)
        if not resource.name:
            raise InvalidRequestError("name the group or the subscription to client metrics")
        own = self.current_image().config(resource)
        group = resource.type == ResourceType.GROUP
        return describe_group(own, found) if group else describe_client_metrics(own)

    def config_resources(self, kind: ResourceType) -> list[str]:
        """Names of what can be configured: all topics, all brokers; groups and subscriptions that have settings."""
        image = self.current_image()
        if kind == ResourceType.TOPIC:
            return sorted(image.topics_by_name)
        if kind == ResourceType.BROKER:
            return [str(each) for each in sorted(image.brokers)]
        return sorted(each.name for each in image.configs if each.type == kind)

    def config_floors(self, resource: ConfigResource) -> Floors:
        """What is set at each floor for a topic or broker, or for all brokers when it is neither.

        Raises UnknownTopicError and the like.
        """
        image = self.current_image()
        if resource.type == ResourceType.TOPIC:
            if image.topic(resource.name) is None:
                raise UnknownTopicError(f"there is no topic {resource.name}")
            return floors(image, topic=resource.name, node_id=self._node_id, static=self._static)
        if resource.type != ResourceType.BROKER:
            return floors(image, static=self._static)
        if not resource.name:
            return floors(image)
        if not resource.name.isdigit() or int(resource.name) not in image.brokers:
            raise BrokerNotRegisteredError(f"there is no broker {resource.name}")
        node_id = int(resource.name)
        static = self._static if node_id == self._node_id else {}
        return floors(image, node_id=node_id, static=static)


def _patience_s(time_left_s: float | None) -> float:
    """Less than the caller's, who shall still hear why there is no answer."""
    return DEFAULT_TIMEOUT_S if time_left_s is None else min(0.9 * time_left_s, LONGEST_TIMEOUT_S)


class ProducerIds:
    """Hands out producer ids from blocks that the controller gives to this broker."""

    def __init__(
        self, node_id: int, controller: ControllerClient, broker_epoch: Callable[[], int]
    ) -> None:
        self._node_id = node_id
        self._controller = controller
        self._broker_epoch = broker_epoch
        self._next = self._end = 0

    async def next(self, time_left_s: float | None) -> int:
        """An id that nobody else gets, ever. Raises ControllerUnavailableError."""
        while self._next >= self._end:
            reply = await self._controller.ask(
                AllocateProducerIds(node_id=self._node_id, broker_epoch=self._broker_epoch()),
                _patience_s(time_left_s),
            )
            assert isinstance(reply, ProducerIdBlock), reply
            # Blocks that came while others waited here too are used one after the other.
            if self._next >= self._end:
                self._next, self._end = reply.first_id, reply.first_id + reply.count
        given = self._next
        self._next += 1
        return given

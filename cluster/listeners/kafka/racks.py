"""Which brokers are near a consumer, when the cluster sends consumers to followers (KIP-392)."""

from collections.abc import Callable, Mapping

from cluster.listeners.kafka.addresses import kafka_endpoint
from kraft.metadata.effective_config import broker_value, floors
from kraft.metadata.image import MetadataImage


class Racks:
    """`image`: this node's newest metadata; static: what the node was told at its start, as text by key."""

    def __init__(
        self, node_id: int, image: Callable[[], MetadataImage], static: Mapping[str, str]
    ) -> None:
        self._node_id = node_id
        self._image = image
        self._static = static
        self._read_from: object = None
        self._aware = False

    def near(self, rack: str, listener: str) -> Callable[[int], bool] | None:
        """Whether a node is in that rack, lives and can be reached; None when consumers stay with the leader."""
        image = self._image()
        if image.configs is not self._read_from:
            self._read_from = image.configs
            found = floors(image, node_id=self._node_id, static=self._static)
            self._aware = broker_value(found, "replica.selector.class") != "none"
        if not self._aware:
            return None

        def is_near(node_id: int) -> bool:
            broker = image.brokers.get(node_id)
            return (
                broker is not None
                and broker.rack == rack
                and broker.eligible
                and kafka_endpoint(image, node_id, listener) is not None
            )

        return is_near

"""Where brokers are reached by those who came in through one Kafka door."""

from kraft.metadata.image import MetadataImage
from kraft.metadata.records import Endpoint
from wire.produce import NodeEndpoint


def kafka_endpoint(image: MetadataImage, node_id: int, listener: str) -> Endpoint | None:
    """The listener of the same name there, or any Kafka listener; None when the broker has none."""
    broker = image.brokers.get(node_id)
    if broker is None:
        return None
    if listener in broker.listeners:
        return broker.listeners[listener]
    doors = [
        broker.listeners[name] for name in sorted(broker.listeners) if name.startswith("KAFKA")
    ]
    return doors[0] if doors else None


def node_endpoints(image: MetadataImage, node_ids: set[int], listener: str) -> list[NodeEndpoint]:
    """Those of the nodes that have a Kafka door (KIP-951)."""
    found = []
    for node_id in sorted(node_ids):
        endpoint = kafka_endpoint(image, node_id, listener)
        if endpoint is not None:
            rack = image.brokers[node_id].rack
            found.append(NodeEndpoint(node_id, endpoint.host, endpoint.port, rack or None))
    return found

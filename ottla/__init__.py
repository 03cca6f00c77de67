"""Ottla for Python programs: `Producer`, `Consumer`, `Admin`; `ottla.sync` has the same without asyncio.

async with ottla.Producer("localhost:9090") as producer:
    delivery = await producer.send("orders", b"one apple", key=b"apple")
    print(await delivery)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ottla.client.admin import Admin as Admin
    from ottla.client.batches import Delivery as Delivery
    from ottla.client.batches import RecordMetadata as RecordMetadata
    from ottla.client.consumer import Consumer as Consumer
    from ottla.client.errors import BrokerError as BrokerError
    from ottla.client.errors import ClientError as ClientError
    from ottla.client.errors import DeliveryTimeoutError as DeliveryTimeoutError
    from ottla.client.errors import NoBrokerError as NoBrokerError
    from ottla.client.group_session import RebalanceListener as RebalanceListener
    from ottla.client.offsets import OffsetSpec as OffsetSpec
    from ottla.client.producer import Producer as Producer
    from ottla.client.records import ConsumerRecord as ConsumerRecord
    from ottla.client.records import OffsetAndMetadata as OffsetAndMetadata
    from ottla.client.records import TopicPartition as TopicPartition
    from storage.errors import ErrorCode as ErrorCode
    from storage.errors import OttlaError as OttlaError

# Loaded when first asked for: a broker imports ottla.v1 and must not pay for the SDK.
_HOMES = {
    "Admin": "ottla.client.admin",
    "BrokerError": "ottla.client.errors",
    "ClientError": "ottla.client.errors",
    "Consumer": "ottla.client.consumer",
    "ConsumerRecord": "ottla.client.records",
    "Delivery": "ottla.client.batches",
    "DeliveryTimeoutError": "ottla.client.errors",
    "ErrorCode": "storage.errors",
    "NoBrokerError": "ottla.client.errors",
    "OffsetAndMetadata": "ottla.client.records",
    "OffsetSpec": "ottla.client.offsets",
    "OttlaError": "storage.errors",
    "Producer": "ottla.client.producer",
    "RebalanceListener": "ottla.client.group_session",
    "RecordMetadata": "ottla.client.batches",
    "TopicPartition": "ottla.client.records",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "sync":
        return import_module("ottla.sync")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ottla' has no attribute {name!r}")
    return getattr(import_module(home), name)

"""What a program gives that is none: refused where it is given, and nobody else's records suffer."""

import asyncio
from typing import Any

import pytest

from ottla import Consumer, Producer
from ottla.client.batches import PartitionQueue
from ottla.client.errors import ClientError

NOWHERE = "127.0.0.1:1"
BATCH_BYTES = 1 << 20


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"value": "text"}, "the value 'text' is str, not bytes or None; encode"),
        ({"value": 5}, "the value 5 is int, not bytes or None"),
        ({"value": b"", "key": "k"}, "the key 'k' is str, not bytes or None; encode"),
        ({"value": b"", "headers": {"a": b"b"}}, "the header 'a' is no pair of a name"),
        ({"value": b"", "headers": [(b"a", b"b")]}, "is no pair of a name"),
        ({"value": b"", "headers": [("a", "b")]}, "the value of the header a: 'b' is str"),
    ],
)
def test_what_is_not_bytes_is_named_before_it_is_taken(record: dict[str, Any], says: str) -> None:
    async def sent() -> None:
        with pytest.raises(TypeError, match=says):
            await Producer(NOWHERE).send("orders", **record)

    asyncio.run(sent())


def test_what_cannot_be_encoded_leaves_no_empty_batch() -> None:
    """The next record would join it, and nobody wakes the sender for a batch that was there before."""
    wrong: Any = [("a", 5)]

    async def queued() -> None:
        queue = PartitionQueue("orders", 0)
        for batches in range(2):
            with pytest.raises(TypeError):
                queue.append(0.0, BATCH_BYTES, 1, None, b"bad", wrong)
            assert len(queue.waiting) == batches
            queue.append(0.0, BATCH_BYTES, 1, None, b"good", ())
        (batch,) = queue.waiting
        assert batch.count == 2

    asyncio.run(queued())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"acks": "1"}, "there is no acks='1'; there are all, leader, none"),
        ({"compression": "zip"}, "there is no compression='zip'; there are none, gzip, "),
    ],
)
def test_a_producers_settings_are_named(settings: Any, says: str) -> None:
    async def made() -> None:
        with pytest.raises(ClientError, match=says):
            Producer(NOWHERE, **settings)

    asyncio.run(made())


def test_a_consumers_reset_is_named() -> None:
    wrong: Any = "none"

    async def made() -> None:
        says = "auto_offset_reset='none'; there are earliest, latest, error"
        with pytest.raises(ClientError, match=says):
            Consumer(NOWHERE, auto_offset_reset=wrong)

    asyncio.run(made())

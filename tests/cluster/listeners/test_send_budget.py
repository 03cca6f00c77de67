"""Answers that nobody reads, over all connections."""

import asyncio
import random
from typing import Any

from cluster.listeners.kafka.fetch import MAX_RESPONSE_BYTES, KafkaFetch
from cluster.listeners.kafka.fetch_sessions import FetchSessions
from cluster.listeners.kafka.quotas import ClientQuotas
from cluster.listeners.kafka.racks import Racks
from cluster.listeners.kafka.request import Client
from cluster.listeners.kafka.send_budget import SendBudget
from kraft.metadata.image import EMPTY_IMAGE
from wire.messages.fetch import FetchRequest


def test_room_is_what_the_connections_leave_and_never_less_than_none() -> None:
    budget = SendBudget(100)
    budget.update("a", 70)
    budget.update("b", 20)
    assert budget.room_bytes == 10
    budget.update("a", 90)
    assert budget.room_bytes == 0
    budget.update("a", 0)
    budget.update("a", 0)
    assert budget.room_bytes == 80


def test_a_fetch_is_given_no_more_than_there_is_room() -> None:
    given: list[int] = []

    class Handler:
        async def fetch(self, _requests: object, *, max_bytes: int, **_: object) -> list[Any]:
            given.append(max_bytes)
            return []

    handler: Any = Handler()
    budget = SendBudget(2 * MAX_RESPONSE_BYTES)
    fetch = KafkaFetch(
        handler,
        FetchSessions(random.Random(1)),
        lambda: EMPTY_IMAGE,
        Racks(1, lambda: EMPTY_IMAGE, {}),
        ClientQuotas(dict, lambda: 0.0),
        budget,
    )
    client = Client("a", "somewhere", "KAFKA", 4)
    request = FetchRequest(max_bytes=2**31 - 1)
    for held in (0, 2 * MAX_RESPONSE_BYTES - 1, 2 * MAX_RESPONSE_BYTES):
        budget.update("slow", held)
        asyncio.run(fetch.answer(client, request, lambda _: None))
    assert given == [MAX_RESPONSE_BYTES, 1, 0]

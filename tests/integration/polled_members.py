"""librdkafka consumers of one group, polled in turn by the test."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, Producer

LIMIT_S = 40.0
PARTITIONS = 6
FAST = {
    "group.consumer.min.heartbeat.interval.ms": "300",
    "group.consumer.heartbeat.interval.ms": "300",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
}


class Members:
    """Consumers of one group, polled in turn. read: what they were given, once each."""

    def __init__(self, bootstrap: str, group: str = "g") -> None:
        self._bootstrap = bootstrap
        self._group = group
        self.alive: list[Consumer] = []
        self.read: set[bytes] = set()

    def join(self, *topics: str, **settings: Any) -> Consumer:
        member = Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": self._group,
                "group.protocol": "consumer",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "log_level": 0,
                **settings,
            }
        )
        member.subscribe(list(topics))
        self.alive.append(member)
        return member

    def poll_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not done():
            assert time.monotonic() < end, (
                f"after {LIMIT_S} s: {self.shares()}, {len(self.read)} read"
            )
            for member in self.alive:
                message = member.poll(0.02)
                if message is not None and message.error() is None:
                    value = message.value()
                    assert value is not None
                    self.read.add(value)

    def shares(self) -> list[int]:
        return sorted(len(member.assignment()) for member in self.alive)

    def leave(self, member: Consumer) -> None:
        self.alive.remove(member)
        member.close()

    def close(self) -> None:
        for member in self.alive:
            member.close()


def produce(bootstrap: str, values: Sequence[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for index, value in enumerate(values):
        producer.produce("t", value, partition=index % PARTITIONS)
    assert producer.flush(LIMIT_S) == 0

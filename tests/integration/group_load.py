"""A group of real clients that reads and commits, and the account of what it was told (G1, G2, G3).

Threads, because that is what the clients are made for.
"""

import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from confluent_kafka import Consumer as ConfluentConsumer
from confluent_kafka import KafkaException, TopicPartition
from kafka import KafkaConsumer
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from kafka.structs import TopicPartition as PythonTopicPartition

SESSION_MS = 6_000
POLL_S = 0.2
# A join that a shorter poll gives up may leave kafka-python's member outside for good.
PYTHON_POLL_MS = 1000
COMMIT_EVERY = 20
# librdkafka's serialized group metadata: a magic word, then the generation.
GENERATION = struct.Struct("<7xi")
TOLD_COMMITS = 12
"""So many of a partition's last commits are told of a broken promise."""


class Commit(NamedTuple):
    """An acknowledged one. at_s: monotonic; of two members, the acknowledgement seen first may be of the later one."""

    at_s: float
    member: str
    generation: int
    offset: int


class Account:
    """What the group has read and committed. Partitions are of one topic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.committed: dict[int, int] = defaultdict(int)
        self._commits: dict[int, deque[Commit]] = defaultdict(lambda: deque(maxlen=TOLD_COMMITS))
        self.read: dict[int, set[int]] = defaultdict(set)
        self.commits = 0
        self.committers: set[str] = set()
        self._owners: dict[tuple[int, int], str] = {}
        self._failures: list[str] = []

    def seen(self, partition: int, offset: int) -> None:
        """A record was read."""
        with self._lock:
            self.read[partition].add(offset)

    def acknowledged(self, name: str, generation: int, offsets: dict[int, int]) -> None:
        """A commit was acknowledged. Who has a partition reads on where the one before it has committed, and commits
        nothing of a partition that it has not: so a position never goes back.
        """
        with self._lock:
            self.commits += 1
            self.committers.add(name)
            for partition, offset in offsets.items():
                owner = self._owners.get((generation, partition))
                commits = self._commits[partition]
                last = commits[-1] if commits else None
                commits.append(Commit(time.monotonic(), name, generation, offset))
                if owner != name:
                    self._failures.append(
                        f"{name} commits partition {partition} of {owner} in generation {generation}"
                    )
                elif last is not None and generation >= last.generation and offset < last.offset:
                    self._failures.append(f"partition {partition} goes back: {[*commits]}")
                self.committed[partition] = max(self.committed[partition], offset)

    def owns(self, name: str, generation: int, partitions: Iterable[int]) -> None:
        """A member was given partitions."""
        with self._lock:
            for each in partitions:
                owner = self._owners.setdefault((generation, each), name)
                if owner != name:
                    self._failures.append(
                        f"partition {each} belongs to {owner} and {name} in generation {generation}"
                    )

    def known(self) -> dict[int, int]:
        """What is acknowledged now."""
        with self._lock:
            return dict(self.committed)

    def fetched(self, known: dict[int, int], found: dict[int, int]) -> None:
        """What the coordinator says, asked for when `known` was acknowledged already."""
        with self._lock:
            self._failures += [
                f"partition {each}: {known.get(each, 0)} was acknowledged, {offset} is fetched at "
                f"{time.monotonic()}, after {[*self._commits[each]]}"
                for each, offset in found.items()
                if offset < known.get(each, 0)
            ]

    def check(self) -> None:
        """Raises AssertionError for a broken promise."""
        assert not self._failures, self._failures

    def check_nothing_skipped(self, ends: dict[int, int]) -> None:
        """Every record up to the ends was read by somebody."""
        for partition, end in ends.items():
            missing = set(range(end)) - self.read[partition]
            assert not missing, f"partition {partition}: {sorted(missing)[:10]} were skipped"


class Member(threading.Thread):
    """One client, until `stop`. What ends it early is in `error`."""

    def __init__(self, bootstrap: str, group: str, topic: str, account: Account, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.bootstrap, self.group, self.topic, self.account = bootstrap, group, topic, account
        self.error: BaseException | None = None
        self.ending = threading.Event()

    def run(self) -> None:
        try:
            self.consume()
        except BaseException as error:  # noqa: BLE001 - told by `stop`
            self.error = error

    def consume(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Raises what ended it."""
        self.ending.set()
        self.join(60)
        assert not self.is_alive(), f"{self.name} does not end"
        if self.error is not None:
            raise self.error


class ConfluentMember(Member):
    """librdkafka."""

    def consume(self) -> None:
        consumer = ConfluentConsumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": self.group,
                "client.id": self.name,
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": 500,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        unacknowledged: dict[int, int] = {}

        def revoked(consumer: Any, _: list[Any]) -> None:
            # Whoever has them next has committed more by the time of the next commit here.
            self._commit(consumer, unacknowledged)

        def lost(_: Any, __: list[Any]) -> None:
            unacknowledged.clear()

        consumer.subscribe([self.topic], on_assign=self._assigned, on_revoke=revoked, on_lost=lost)
        try:
            while not self.ending.is_set():
                message = consumer.poll(POLL_S)
                offset: int | None = COMMIT_EVERY
                if message is not None and message.error() is None:
                    partition, offset = message.partition(), message.offset()
                    assert partition is not None
                    assert offset is not None
                    self.account.seen(partition, offset)
                    unacknowledged[partition] = offset + 1
                if (offset or 0) % COMMIT_EVERY == 0:
                    self._commit(consumer, unacknowledged)
        finally:
            consumer.close()

    def _assigned(self, consumer: Any, partitions: list[Any]) -> None:
        self.account.owns(self.name, _generation(consumer), [each.partition for each in partitions])

    def _commit(self, consumer: Any, offsets: dict[int, int]) -> None:
        """Commit, and be done with them: what is refused is read again by whoever may."""
        wanted = [TopicPartition(self.topic, each, offset) for each, offset in offsets.items()]
        if not wanted:
            return
        offsets.clear()
        generation = _generation(consumer)
        try:
            done = consumer.commit(offsets=wanted, asynchronous=False)
        except KafkaException:
            return
        kept = {each.partition: each.offset for each in done if each.error is None}
        self.account.acknowledged(self.name, generation, kept)


def _generation(consumer: Any) -> int:
    (generation,) = GENERATION.unpack_from(consumer.consumer_group_metadata()[0:11])
    return int(generation)


class PythonMember(Member, ConsumerRebalanceListener):  # type: ignore[misc]
    """kafka-python."""

    def consume(self) -> None:
        self._consumer = consumer = KafkaConsumer(
            bootstrap_servers=self.bootstrap.split(","),
            group_id=self.group,
            client_id=self.name,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=500,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        # A subscribe while its first Metadata request is under way is overlooked for five minutes.
        consumer.partitions_for_topic(self.topic)
        consumer.subscribe([self.topic], listener=self)
        try:
            while not self.ending.is_set():
                try:
                    found = consumer.poll(timeout_ms=PYTHON_POLL_MS, max_records=COMMIT_EVERY)
                except KafkaError:
                    # It gives up when a coordinator is named that its metadata does not have any more.
                    continue
                for where, records in found.items():
                    for record in records:
                        self.account.seen(where.partition, record.offset)
                if found:
                    self._commit({where.partition: found[where][-1].offset + 1 for where in found})
        finally:
            consumer.close()

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing is held back."""

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.account.owns(self.name, self._generation(), [each.partition for each in assigned])

    def _commit(self, offsets: dict[int, int]) -> None:
        wanted = {
            PythonTopicPartition(self.topic, each): OffsetAndMetadata(offset, "", -1)
            for each, offset in offsets.items()
        }
        generation = self._generation()
        try:
            self._consumer.commit(wanted)
        except KafkaError:
            return
        self.account.acknowledged(self.name, generation, offsets)

    def _generation(self) -> int:
        return int(self._consumer._coordinator._generation.generation_id)


def until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Wait for other threads. Raises AssertionError."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not come about within {limit_s:g} s"
        time.sleep(0.02)

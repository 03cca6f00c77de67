"""librdkafka as the oracle for batch bytes, through the mock broker that it brings along.

Batches that it produced are fetched raw and decoded here; batches built here are sent raw and consumed by it.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from storage.compression import Compression
from storage.record_batch import iter_validated
from storage.records import BatchBuilder, Record, decode_batch

TOPIC = "oracle"
RECORDS = [
    (1_700_000_000_000 + n, b"k%d" % n if n % 3 else None, b"v" * n if n % 4 else None, n)
    for n in range(200)
]
HEADERS: list[tuple[str, bytes | None]] = [("name", b"value"), ("empty", b""), ("none", None)]
CODECS = [kind.name.lower() for kind in Compression]
PRODUCE, FETCH = 0, 1


@pytest.fixture(scope="module")
def broker() -> Iterator[tuple[str, int]]:
    """Address of a mock broker with the topic."""
    keeper = Producer({"test.mock.num.brokers": 1, "linger.ms": 0})
    keeper.produce(TOPIC, b"first", partition=0)
    assert keeper.flush(20) == 0
    (facts,) = keeper.list_topics(timeout=20).brokers.values()
    yield facts.host, facts.port
    keeper.flush(1)


def call(broker: tuple[str, int], api: int, version: int, body: bytes) -> bytes:
    """One Kafka request with a plain header; the response after its correlation id."""
    head = struct.pack(">hhih", api, version, 7, 4) + b"test"
    with closing(socket.create_connection(broker, timeout=20)) as wire:
        wire.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        with wire.makefile("rb") as answers:
            (size,) = struct.unpack(">i", answers.read(4))
            return answers.read(size)[4:]


def string(text: str) -> bytes:
    """Kafka's string."""
    return struct.pack(">h", len(text)) + text.encode()


def fetch(broker: tuple[str, int], offset: int) -> bytes:
    """The raw batches from an offset on (Fetch version 4)."""
    body = struct.pack(">iiiibi", -1, 500, 1, 1 << 24, 0, 1) + string(TOPIC)
    body += struct.pack(">iiqi", 1, 0, offset, 1 << 24)
    answer = call(broker, FETCH, 4, body)
    # throttle 4, topics 4, name, partitions 4, partition 4, error 2, watermark 8, stable 8, aborted 4, size 4
    position = 4 + 4 + 2 + len(TOPIC) + 4 + 4
    (error,) = struct.unpack_from(">h", answer, position)
    aborted, size = struct.unpack_from(">ii", answer, position + 18)
    assert (error, max(aborted, 0)) == (0, 0)
    return answer[position + 26 : position + 26 + size]


def produce(broker: tuple[str, int], batch: bytes) -> int:
    """Send a raw batch (Produce version 3); its base offset."""
    body = struct.pack(">hhii", -1, -1, 10_000, 1) + string(TOPIC)
    body += struct.pack(">iii", 1, 0, len(batch)) + batch
    answer = call(broker, PRODUCE, 3, body)
    error, offset = struct.unpack_from(">hq", answer, 4 + 2 + len(TOPIC) + 4 + 4)
    assert error == 0
    return int(offset)


@pytest.mark.parametrize("codec", CODECS)
def test_what_librdkafka_writes_is_read_here(broker: tuple[str, int], codec: str) -> None:
    config = {
        "bootstrap.servers": f"{broker[0]}:{broker[1]}",
        "compression.codec": codec,
        "linger.ms": 100,
    }
    producer = Producer(config)
    offsets: list[int] = []
    for stamp, key, value, _ in RECORDS:
        producer.produce(
            TOPIC,
            value=value,
            key=key,
            partition=0,
            timestamp=stamp,
            headers=[(name, content) for name, content in HEADERS],
            on_delivery=lambda _, message: offsets.append(message.offset() or 0),
        )
    assert producer.flush(30) == 0
    data, found, kinds = b"", list[Record](), set[int]()
    while not found or found[-1].offset < offsets[-1]:
        data = fetch(broker, found[-1].offset + 1 if found else offsets[0])
        for position, header in iter_validated(data):
            kinds.add(header.compression)
            found += decode_batch(data, position)
    assert [(r.timestamp_ms, r.key, r.value) for r in found] == [r[:3] for r in RECORDS]
    assert all(r.headers == tuple(HEADERS) for r in found)
    assert [r.offset for r in found] == offsets
    assert Compression[codec.upper()] in kinds


@pytest.mark.parametrize("kind", list(Compression))
def test_what_is_written_here_is_read_by_librdkafka(
    broker: tuple[str, int], kind: Compression
) -> None:
    builder = BatchBuilder()
    for stamp, key, value, _ in RECORDS:
        builder.append(stamp, key, value, HEADERS)
    first = produce(broker, builder.build(compression=kind))
    consumer = Consumer(
        {
            "bootstrap.servers": f"{broker[0]}:{broker[1]}",
            "group.id": "oracle",
            "check.crcs": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(TOPIC, 0, first)])
    messages = consumer.consume(len(RECORDS), timeout=30)
    consumer.close()
    assert [message.error() for message in messages] == [None] * len(RECORDS)
    found = [(m.timestamp()[1], m.key(), m.value(), (m.offset() or 0) - first) for m in messages]
    assert found == RECORDS
    assert all(message.headers() == HEADERS for message in messages)

"""What is written by hand is what the general codec reads, and the other way round."""

import contextlib
import random
from uuid import UUID

import pytest

from wire.codec import decode, encode
from wire.errors import WireError
from wire.fetch import PartitionFetched, TopicFetched, encode_fetched
from wire.messages import fetch, metadata, produce
from wire.produce import NodeEndpoint, PartitionProduced, decode_produce, encode_produced

PRODUCE_VERSIONS = range(3, 12)
FETCH_VERSIONS = range(4, 18)
HINTS = [NodeEndpoint(2, "b", 9092, "r"), NodeEndpoint(3, "c", 9093)]


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_a_produce_request_is_read_as_it_was_written(version: int) -> None:
    request = produce.ProduceRequest(
        acks=-1,
        timeout_ms=1500,
        topic_data=(
            produce.TopicProduceData(
                name="ä",
                partition_data=(
                    produce.PartitionProduceData(index=0, records=b"x" * 300),
                    produce.PartitionProduceData(index=7, records=None),
                ),
            ),
            produce.TopicProduceData(name="b", partition_data=()),
        ),
    )
    data = memoryview(encode(request, version, version >= 9))
    found = decode_produce(data, version)
    assert (found.transactional_id, found.acks, found.timeout_ms) == (None, -1, 1500)
    assert [(each.topic, each.partition) for each in found.partitions] == [("ä", 0), ("ä", 7)]
    assert found.partitions[0].records is not None
    assert bytes(found.partitions[0].records) == b"x" * 300
    assert found.partitions[1].records is None
    for cut in range(len(data)):
        with pytest.raises(WireError):
            decode_produce(data[:cut], version)
    assert decode_produce(memoryview(bytes(data) + b"\0"), version) == found


@pytest.mark.parametrize("version", PRODUCE_VERSIONS)
def test_a_produce_answer_is_what_clients_expect(version: int) -> None:
    results = [
        PartitionProduced("a", 0, 0, 10, -1, 3),
        PartitionProduced("b", 1, 6, -1, -1, -1, "moved", 2, 5),
        PartitionProduced("a", 2, 87, -1, -1, 0, "no key", bad_records=(1, 3)),
    ]
    data = memoryview(encode_produced(results, version, HINTS))
    found = decode(produce.ProduceResponse, version, version >= 9, data)
    topics = {each.name: each.partition_responses for each in found.responses}
    first, last = topics["a"]
    assert (first.index, first.error_code, first.base_offset) == (0, 0, 10)
    assert first.log_start_offset == (3 if version >= 5 else -1)
    assert last.error_message == ("no key" if version >= 8 else None)
    assert [each.batch_index for each in last.record_errors] == ([1, 3] if version >= 8 else [])
    (moved,) = topics["b"]
    assert moved.current_leader.leader_id == (2 if version >= 10 else -1)
    assert moved.current_leader.leader_epoch == (5 if version >= 10 else -1)
    assert [each.host for each in found.node_endpoints] == (["b", "c"] if version >= 10 else [])


@pytest.mark.parametrize("version", FETCH_VERSIONS)
def test_a_fetch_answer_is_what_clients_expect(version: int) -> None:
    topic_id = UUID(int=5)
    records = memoryview(b"r" * 200)
    topics = [
        TopicFetched(
            "a",
            topic_id,
            [
                PartitionFetched(0, 0, 20, 1, records),
                PartitionFetched(1, 6, -1, -1, memoryview(b""), 3, 9),
            ],
        )
    ]
    pieces = encode_fetched(topics, version, session_id=77, endpoints=HINTS)
    assert any(piece is records for piece in pieces)
    found = decode(fetch.FetchResponse, version, version >= 12, memoryview(b"".join(pieces)))
    assert found.session_id == (77 if version >= 7 else 0)
    (topic,) = found.responses
    assert topic.topic == ("a" if version < 13 else "")
    assert topic.topic_id == (topic_id if version >= 13 else None)
    first, second = topic.partitions
    assert (first.high_watermark, first.last_stable_offset, first.records) == (20, 20, b"r" * 200)
    assert first.aborted_transactions is None
    assert second.error_code == 6
    assert second.current_leader.leader_epoch == (9 if version >= 12 else -1)
    assert len(found.node_endpoints) == (2 if version >= 16 else 0)


def test_an_unknown_tagged_field_is_skipped() -> None:
    """KIP-482; kio itself stumbles over it."""
    plain = encode(fetch.FetchRequest(max_wait_ms=3), 12, True)
    assert plain[-1] == 0
    odd = bytes(plain[:-1]) + bytes((1, 99, 3)) + b"abc"
    assert decode(fetch.FetchRequest, 12, True, memoryview(odd)).max_wait_ms == 3


def test_a_request_for_all_topics_as_librdkafka_sends_it() -> None:
    """Version 2.16 reserves four bytes for a count of which it needs one. Captured."""
    data = memoryview(bytes.fromhex("00000000010000"))
    assert decode(metadata.MetadataRequest, 13, True, data).topics is None


def test_a_count_beyond_what_has_arrived_is_refused_before_anything_is_allocated() -> None:
    data = bytearray(encode(fetch.FetchRequest(), 4, False))
    data[-4:] = (2**31 - 1).to_bytes(4, "big")
    with pytest.raises(WireError, match="claims 2147483647 items"):
        decode(fetch.FetchRequest, 4, False, memoryview(data))


@pytest.mark.parametrize("seed", range(40))
def test_garbage_is_a_wire_error_and_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        data = memoryview(rng.randbytes(rng.randrange(120)))
        version = rng.choice(FETCH_VERSIONS)
        for attempt in (
            lambda: decode(fetch.FetchRequest, version, version >= 12, data),  # noqa: B023
            lambda: decode_produce(data, rng.choice(PRODUCE_VERSIONS)),  # noqa: B023
        ):
            with contextlib.suppress(WireError):
                attempt()

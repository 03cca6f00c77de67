"""Records on disk: round trips, and neighbouring releases reading each other."""

from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kraft.metadata import records as r
from kraft.metadata.errors import UnreadableMetadataError

TOPIC = UUID(int=7)
TOPIC_RECORD: r.Record = r.Topic(name="orders", topic_id=TOPIC)
KINDS: list[Any] = [
    r.FeatureLevel,
    r.ClusterId,
    r.RegisterBroker,
    r.UnregisterBroker,
    r.BrokerChange,
    r.Topic,
    r.RemoveTopic,
    r.PartitionRecord,
    r.PartitionChange,
    r.Config,
    r.ProducerIds,
    r.ClientQuota,
    r.UncleanElections,
]
ids = st.integers(0, 2**31 - 1)
sets = st.lists(ids, unique=True, max_size=4).map(tuple)
VALUES = {
    int: st.integers(-1, 2**62),
    str: st.text(max_size=20),
    bool: st.booleans(),
    UUID: st.uuids(),
    tuple[int, ...]: sets,
    dict[str, r.Endpoint]: st.dictionaries(
        st.text(max_size=5), st.builds(r.Endpoint, st.text(max_size=9), st.integers(0, 65535))
    ),
    r.ResourceType: st.sampled_from(r.ResourceType),
    bool | None: st.none() | st.booleans(),
    int | None: st.none() | st.integers(-1, 2**62),
    r.QuotaEntity: st.lists(
        st.builds(r.QuotaPart, st.text(max_size=9), st.none() | st.text(max_size=9)), max_size=2
    ).map(tuple),
    float | None: st.none() | st.floats(1, 2**53),
    str | None: st.none() | st.text(max_size=20),
    tuple[int, ...] | None: st.none() | sets,
}


def any_record() -> st.SearchStrategy[Any]:
    kinds = [
        st.builds(
            kind, **{field.name: VALUES[field.type] for field in msgspec.structs.fields(kind)}
        )
        for kind in KINDS
    ]
    strategy: st.SearchStrategy[Any] = st.one_of(kinds)
    return strategy


@given(st.lists(any_record(), max_size=5))
def test_what_is_written_is_read(batch: list[r.Record]) -> None:
    assert r.decode(r.encode(batch, 1)) == batch


def test_every_record_kind_is_covered_here() -> None:
    assert set(r.Record.__args__) == set(KINDS)


def test_the_kinds_on_disk_are_pinned() -> None:
    assert {kind.__struct_config__.tag: kind.__name__ for kind in KINDS} == {
        "level": "FeatureLevel",
        "cluster": "ClusterId",
        "register_broker": "RegisterBroker",
        "unregister_broker": "UnregisterBroker",
        "broker_change": "BrokerChange",
        "topic": "Topic",
        "remove_topic": "RemoveTopic",
        "partition": "PartitionRecord",
        "partition_change": "PartitionChange",
        "config": "Config",
        "producer_ids": "ProducerIds",
        "client_quota": "ClientQuota",
        "unclean_elections": "UncleanElections",
    }


def test_a_log_of_the_first_release_is_read_for_ever() -> None:
    """Bytes as level 1 wrote them; if this fails, the format has changed under existing logs."""
    written = bytes.fromhex(
        "92019183a46b696e64a5746f706963a46e616d65a66f7264657273a8746f7069635f6964d92430303030303030302d303030302d"
        "303030302d303030302d303030303030303030303037"
    )
    assert r.decode(written) == [TOPIC_RECORD]
    assert r.encode([TOPIC_RECORD], 1) == written


def raw(level: int, *records: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode((level, records))


def test_a_field_of_a_later_release_is_ignored() -> None:
    later = {"kind": "topic", "name": "orders", "topic_id": str(TOPIC), "colour": "blue"}
    assert r.decode(raw(1, later)) == [TOPIC_RECORD]


def test_a_field_that_an_earlier_release_did_not_write_takes_its_default() -> None:
    earlier = {"kind": "partition", "topic_id": str(TOPIC), "partition": 0}
    decoded = r.decode(raw(1, {**earlier, "replicas": [1, 2], "isr": [1]}))
    assert decoded == [
        r.PartitionRecord(topic_id=TOPIC, partition=0, replicas=(1, 2), isr=(1,), elr=())
    ]


def test_a_record_kind_of_a_later_level_is_an_error_that_names_the_level() -> None:
    data = raw(9, {"kind": "topic", "name": "orders", "topic_id": str(TOPIC)}, {"kind": "acl"})
    with pytest.raises(UnreadableMetadataError, match=r"record 1 .*level 9.*acl.*levels 1 to 2"):
        r.decode(data)


def test_damaged_bytes_are_an_error_and_never_half_a_batch() -> None:
    whole = r.encode([TOPIC_RECORD, TOPIC_RECORD], 1)
    for length in range(len(whole)):
        with pytest.raises(UnreadableMetadataError):
            r.decode(whole[:length])


def test_a_cluster_without_a_level_writes_the_lowest() -> None:
    assert r.encode([], 0) == r.encode([], r.MIN_METADATA_LEVEL)

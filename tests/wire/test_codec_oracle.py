"""kio, which was made from Kafka's own schemas, reads what we write and writes the same bytes again."""

import io
import random

import pytest
from kio.serial import entity_reader, entity_writer

from tests.wire.samples import kio_entity, messages, sample
from wire.codec import encode, reader_of
from wire.schema import Request, Response

SAMPLES = 12


@pytest.mark.parametrize(
    ("message", "version"),
    list(messages()),
    ids=lambda value: getattr(value, "__name__", f"v{value}"),
)
def test_every_version_of_every_message_is_what_kio_reads_and_writes(
    message: type[Request] | type[Response], version: int
) -> None:
    entity = kio_entity(message, version)
    flexible = version >= message.FLEXIBLE
    assert flexible == entity.__flexible__
    rng = random.Random(f"{message.__name__} {version}")
    for _ in range(SAMPLES):
        value = sample(message, version, rng)
        ours = bytes(encode(value, version, flexible))
        theirs, size = entity_reader(entity)(ours, 0)
        assert size == len(ours)
        out = io.BytesIO()
        entity_writer(entity)(out, theirs)
        assert out.getvalue() == ours
        found, end = reader_of(message, version, flexible)(memoryview(ours), 0)
        assert (found, end) == (value, len(ours))

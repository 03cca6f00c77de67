"""What strangers' bytes meet, and what may come of it: an answer, or the refusal that is meant for it.

A target takes any bytes; whatever it raises is a bug. `seeds` are right inputs, to begin from.
"""

import asyncio
import io
import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from kio.serial import entity_reader, entity_writer

from cluster.errors import UnknownTopicOrPartitionError
from cluster.groups.records import (
    DamagedGroupRecordError,
    GroupMetadataKey,
    GroupMetadataValue,
    GroupRecord,
    OffsetCommitKey,
    OffsetCommitValue,
    decode_record,
    encode_key,
    encode_value,
)
from cluster.handlers.fetch import FetchHandler
from cluster.handlers.produce import ProduceHandler
from cluster.listeners.kafka.dispatcher import Dispatcher
from cluster.listeners.kafka.features import features
from cluster.listeners.kafka.fetch import KafkaFetch
from cluster.listeners.kafka.fetch_sessions import FetchSessions
from cluster.listeners.kafka.produce import KafkaProduce
from cluster.listeners.kafka.quotas import ClientQuotas
from cluster.listeners.kafka.racks import Racks
from cluster.listeners.kafka.request import Client, api
from cluster.listeners.kafka.send_budget import SendBudget
from cluster.replication.partition import Partition
from kraft.metadata.image import EMPTY_IMAGE
from tests.wire.samples import kio_entity, messages, sample
from wire.api_keys import ApiKey
from wire.codec import decode, encode
from wire.errors import WireError
from wire.frames import FrameAssembler
from wire.headers import RequestHeader
from wire.produce import decode_produce
from wire.schema import Request, Response

Target = Callable[[bytes], None]
FRAME_BYTES = 4096
SCRATCH = bytearray(512)
# Answered by hand, not by the table.
BY_HAND = (ApiKey.PRODUCE, ApiKey.FETCH, ApiKey.API_VERSIONS)


@cache
def kinds() -> list[tuple[type[Request] | type[Response], int]]:
    """Every message in every version."""
    return list(messages())


class _Read(NamedTuple):
    kind: type[Request] | type[Response]
    version: int
    found: Request | Response

    def written(self) -> bytes:
        return bytes(encode(self.found, self.version, self.version >= self.kind.FLEXIBLE))


def _read(data: bytes) -> _Read | None:
    """Two bytes say which message."""
    if len(data) < 2:
        return None
    kind, version = kinds()[int.from_bytes(data[:2]) % len(kinds())]
    try:
        found = decode(kind, version, version >= kind.FLEXIBLE, memoryview(data)[2:])
    except WireError:
        return None
    return _Read(kind, version, found)


def message(data: bytes) -> None:
    """What can be read can be written, and is then read as the same."""
    read = _read(data)
    if read is not None:
        again = _read(data[:2] + read.written())
        assert repr(again) == repr(read)


def oracle(data: bytes) -> None:
    """As `message`; and where kio can read what came, or what we make of it, it writes the same as we do.

    It reads more than we do: null where Kafka knows no null. And less: only the codes, dates and durations that it
    knows, and no tagged field that it does not.
    """
    read = _read(data)
    if read is not None:
        ours = read.written()
        for source in (data[2:], ours):
            theirs = _rewritten_by_kio(read.kind, read.version, source)
            assert theirs in (None, ours), (
                f"{read.kind.__name__} v{read.version}: {theirs!r}, not {ours!r}"
            )


def _rewritten_by_kio(
    kind: type[Request] | type[Response], version: int, data: bytes
) -> bytes | None:
    entity = kio_entity(kind, version)
    out = io.BytesIO()
    try:
        found, _ = entity_reader(entity)(data, 0)
        entity_writer(entity)(out, found)
    except Exception:  # noqa: BLE001 - whatever it stumbles over
        return None
    return out.getvalue()


def produce(data: bytes) -> None:
    """A byte says which version of Produce."""
    if data:
        try:
            found = decode_produce(memoryview(data)[1:], 3 + data[0] % 9)
        except WireError:
            return
        assert sum(len(each.records or b"") for each in found.partitions) < len(data)


def frames(data: bytes) -> None:
    """Bytes in portions; every frame comes out whole, and nothing is held that has not come."""
    assembler = FrameAssembler(SCRATCH, FRAME_BYTES)
    portion, position = 1 + (data[0] if data else 0), 1
    got = b""
    while position < len(data):
        room = assembler.buffer()
        part = data[position : position + min(portion, len(room))]
        room[: len(part)] = part
        position += len(part)
        try:
            for frame in assembler.received(len(part)):
                got += len(frame).to_bytes(4) + bytes(frame)
        except WireError:
            break
        assert assembler.held_bytes <= FRAME_BYTES
    assert data[1:].startswith(got), "a frame is not what came"


def group_record(data: bytes) -> None:
    """A byte says how long the key is; the rest is the value."""
    if data:
        size = data[0]
        key, value = data[1 : 1 + size], data[1 + size :]
        try:
            found = decode_record(key, value or None)
        except DamagedGroupRecordError:
            return
        if found is not None and found.value is not None:
            encode_value(found.value)


class _Slot:
    """Where an answer goes."""

    def answer(self, pieces: Any) -> None:
        for each in pieces:
            bytes(each)


def _nothing_here(topic: str, index: int) -> Partition:
    raise UnknownTopicOrPartitionError(f"there is no {topic}-{index}")


@cache
def _dispatcher() -> Dispatcher:
    apis = {}
    for kind, _ in kinds():
        if not issubclass(kind, Request) or kind.API_KEY in BY_HAND:
            continue
        response = getattr(import_module(kind.__module__), kind.__name__[:-7] + "Response")

        async def answer(client: Client, _request: Request, made: Any = response) -> Response:
            found = sample(made, client.api_version, random.Random(1))
            assert isinstance(found, Response)
            return found

        key, entry = api(kind, answer)
        apis[key] = entry
    handler = ProduceHandler(_nothing_here, lambda _: None, lambda: 0, lambda: 0)
    quotas = ClientQuotas(dict, lambda: 0.0)
    fetch = KafkaFetch(
        FetchHandler(_nothing_here),
        FetchSessions(random.Random(1)),
        lambda: EMPTY_IMAGE,
        Racks(1, lambda: EMPTY_IMAGE, {}),
        quotas,
        SendBudget(1 << 20),
    )
    produce_api = KafkaProduce(handler, lambda: EMPTY_IMAGE, quotas)
    return Dispatcher(produce_api, fetch, apis, lambda: features(EMPTY_IMAGE), lambda _: None)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


async def _served(
    dispatcher: Dispatcher, client: Client, header: RequestHeader, frame: memoryview
) -> Any:
    try:
        async with asyncio.timeout(0):
            return await dispatcher.serve(client, header, frame, lambda _: None)
    except TimeoutError:
        # It waits, as a Fetch that finds nothing does: nobody waits for it here.
        return ()


def dispatch(data: bytes) -> None:
    """A whole request, for a broker that has nothing."""
    dispatcher = _dispatcher()
    frame = memoryview(data)
    try:
        header = dispatcher.header(frame)
        client = Client(header.client_id, "somewhere", "KAFKA", header.api_version)
        if header.api_key == ApiKey.PRODUCE:
            slot: Any = _Slot()
            dispatcher.produce.begin(client, header, frame, slot, lambda: None)
            return
        if header.api_key == ApiKey.API_VERSIONS:
            dispatcher.api_versions(header, frame)
            return
        _Slot().answer(_loop().run_until_complete(_served(dispatcher, client, header, frame)))
    except WireError:
        return


TARGETS: Mapping[str, Target] = {
    "message": message,
    "oracle": oracle,
    "produce": produce,
    "frames": frames,
    "group_record": group_record,
    "dispatch": dispatch,
}


def seeds(name: str, rng: random.Random) -> Iterator[bytes]:
    """Inputs of a target that are right."""
    if name == "group_record":
        for key, value in (
            (OffsetCommitKey(group="g", topic="t", partition=3), OffsetCommitValue(offset=7)),
            (GroupMetadataKey(group="g"), GroupMetadataValue(protocol="range", leader="a")),
        ):
            record = GroupRecord(key, value)
            head = encode_key(record.key)
            yield bytes([len(head)]) + head + (encode_value(record.value) or b"")
        return
    for number, (kind, version) in enumerate(kinds()):
        flexible = version >= kind.FLEXIBLE
        body = bytes(encode(sample(kind, version, rng), version, flexible))
        is_request = issubclass(kind, Request)
        header = kind.API_KEY.to_bytes(2) + version.to_bytes(2) + bytes(4) + b"\0\1c"
        request = header + (b"\0" if flexible else b"") + body
        if name in ("message", "oracle"):
            yield number.to_bytes(2) + body
        elif name == "dispatch" and is_request:
            yield request
        elif name == "frames" and is_request and version == kind.VERSIONS[0]:
            yield bytes([rng.randrange(256)]) + len(request).to_bytes(4) + request
        elif name == "produce" and is_request and kind.API_KEY == ApiKey.PRODUCE:
            yield bytes([version - 3]) + body


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A right input with some of it wrong."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                del changed[place:]
            case 1:
                changed[place : place + rng.randrange(1, 5)] = b""
            case 2:
                changed[place:place] = rng.randbytes(rng.randrange(1, 5))
            case 3:
                size = rng.choice((1, 2, 4))
                changed[place : place + size] = (
                    rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
                )
            case _:
                if place < len(changed):
                    changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)

"""Produce over the Kafka protocol: begun at once, answered when the replicas have it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from cluster.errors import NotLeaderError
from cluster.handlers.produce import (
    ACKS_NONE,
    PartitionBatches,
    Produced,
    ProduceHandler,
    when_finished,
)
from cluster.listeners.kafka.addresses import node_endpoints
from cluster.listeners.kafka.quotas import ClientQuotas, throttle_ms
from cluster.listeners.kafka.request import Client
from kraft.metadata.client_quotas import PRODUCER_BYTE_RATE
from kraft.metadata.image import MetadataImage
from storage.errors import (
    CorruptBatchError,
    ErrorCode,
    InvalidRecordError,
    OttlaError,
    UnsupportedCompressionError,
)
from storage.record_batch import HEADER_BYTES, LENGTH_OVERHEAD, MAGIC, batch_size
from wire.api_keys import ApiKey
from wire.headers import RequestHeader, response_header
from wire.produce import (
    FLEXIBLE,
    PartitionProduced,
    PartitionRecords,
    decode_produce,
    encode_produced,
)

if TYPE_CHECKING:
    from cluster.listeners.kafka.connection import Slot

log = structlog.get_logger("kafka")

_MAGIC_AT = 16
_ATTRIBUTES_LOW_AT = 22
_CONTROL = 0x20
_COUNT_AT = 57
_NO_OFFSET = bytes(8)
_NO_RECORDS = bytes(4)
_ZSTD = 4
_ZSTD_FROM = 7


class KafkaProduce:
    """`image`: this node's newest metadata, for the addresses of new leaders."""

    def __init__(
        self, handler: ProduceHandler, image: Callable[[], MetadataImage], quotas: ClientQuotas
    ) -> None:
        self._quotas = quotas
        self._handler = handler
        self._image = image

    def begin(
        self,
        client: Client,
        header: RequestHeader,
        frame: memoryview,
        slot: "Slot",
        close: Callable[[], None],
    ) -> None:
        """Append, and answer into `slot` later. With acks=0 nothing is answered, and an error closes the connection:
        it is the only way to tell. Raises WireError.
        """
        request = decode_produce(frame[header.body_at :], header.api_version)
        throttle_s = self._quotas.take(client.client_id, PRODUCER_BYTE_RATE, len(frame))
        if throttle_s:
            slot.mute(throttle_s)
        results = self._append(request.partitions, request.acks, header.api_version)
        if request.acks == ACKS_NONE:
            failed = next((each.error for each in results if each.error is not None), None)
            slot.answer(())
            if failed is not None:
                log.info("closing: acks=0 and an error", peer=client.host, reason=str(failed))
                close()
            return

        def finished() -> None:
            flexible = header.api_version >= FLEXIBLE
            head = response_header(ApiKey.PRODUCE, header.correlation_id, flexible=flexible)
            slot.answer((head, self._answer(client, results, throttle_s)))

        when_finished(results, request.timeout_ms / 1000, finished)

    def _append(
        self, partitions: Sequence[PartitionRecords], acks: int, version: int
    ) -> list[Produced]:
        """In the order of the request; what is no single batch of magic 2 does not get as far as a log."""
        results: list[Produced] = []
        for topic, partition, records in partitions:
            try:
                batch = _single_batch(records, version)
            except OttlaError as error:
                results.append(Produced(topic, partition, error))
            else:
                results += self._handler.begin([PartitionBatches(topic, partition, batch)], acks)
        return results

    def _answer(self, client: Client, results: Sequence[Produced], throttle_s: float) -> bytearray:
        produced = [_produced(each) for each in results]
        leaders = {each.leader_id for each in produced if each.leader_id >= 0}
        endpoints = node_endpoints(self._image(), leaders, client.listener) if leaders else ()
        return encode_produced(produced, client.api_version, endpoints, throttle_ms(throttle_s))


def _single_batch(records: memoryview | None, version: int) -> memoryview:
    """Exactly one batch of magic 2. Raises InvalidRecordError, CorruptBatchError, UnsupportedCompressionError."""
    if records is None or not len(records):
        raise InvalidRecordError("a produce request needs one record batch for each partition")
    if len(records) <= _MAGIC_AT:
        raise CorruptBatchError(f"a record batch of {len(records)} bytes")
    magic = records[_MAGIC_AT]
    if magic > MAGIC:
        raise CorruptBatchError(f"a record batch of magic {magic}")
    if magic != MAGIC:
        raise InvalidRecordError(
            f"record batches of magic {magic} are not taken: use a client that writes magic {MAGIC} (Kafka 0.11)"
        )
    size = batch_size(records) if len(records) >= HEADER_BYTES else HEADER_BYTES
    if size > len(records):
        raise InvalidRecordError(f"a record batch is cut off after {len(records)} bytes")
    if LENGTH_OVERHEAD < size < len(records):
        raise InvalidRecordError(
            "a produce request may have only one record batch for each partition"
        )
    if records[:8] != _NO_OFFSET:
        raise InvalidRecordError("offsets are given by the leader: a producer's batch begins at 0")
    if records[_ATTRIBUTES_LOW_AT] & _CONTROL:
        raise InvalidRecordError("control records are written by brokers only")
    if records[_COUNT_AT : _COUNT_AT + 4] == _NO_RECORDS:
        raise InvalidRecordError("a record batch without records")
    if version < _ZSTD_FROM and records[_ATTRIBUTES_LOW_AT] & 0x07 == _ZSTD:
        raise UnsupportedCompressionError(
            f"zstd came in Produce version {version}; it needs version {_ZSTD_FROM} (KIP-110)"
        )
    return records


def _produced(result: Produced) -> PartitionProduced:
    error = result.error
    if error is None:
        return PartitionProduced(
            result.topic,
            result.partition,
            ErrorCode.NONE,
            result.base_offset,
            result.append_time_ms,
            result.log_start_offset,
        )
    leader = (-1, -1)
    if isinstance(error, NotLeaderError) and error.leader_id >= 0:
        leader = (error.leader_id, error.leader_epoch)
    bad = error.records if isinstance(error, InvalidRecordError) else ()
    return PartitionProduced(
        result.topic, result.partition, error.code, -1, -1, -1, str(error), *leader, bad
    )

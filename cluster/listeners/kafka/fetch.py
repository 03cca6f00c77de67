"""Fetch over the Kafka protocol, with sessions."""

from collections.abc import Callable, Iterable, Sequence

from cluster.errors import NotLeaderError
from cluster.handlers.fetch import Fetched, FetchFrom, FetchHandler, Reader
from cluster.listeners.kafka.addresses import node_endpoints
from cluster.listeners.kafka.fetch_sessions import (
    FINAL_EPOCH,
    INITIAL_EPOCH,
    NO_SESSION,
    PARTITIONS_MAX,
    FetchSession,
    FetchSessions,
    PartitionKey,
    Told,
    Wanted,
)
from cluster.listeners.kafka.quotas import ClientQuotas, throttle_ms
from cluster.listeners.kafka.racks import Racks
from cluster.listeners.kafka.request import Buffer, Client
from cluster.listeners.kafka.send_budget import SendBudget
from kraft.metadata.client_quotas import CONSUMER_BYTE_RATE
from kraft.metadata.errors import UnknownTopicIdError
from kraft.metadata.image import MetadataImage
from storage.errors import ErrorCode, OttlaError
from wire.errors import WireError
from wire.fetch import TOPIC_IDS, PartitionFetched, TopicFetched, encode_fetched
from wire.messages.fetch import FetchRequest, FetchTopic, ForgottenTopic

MAX_WAIT_S = 60.0
MAX_RESPONSE_BYTES = 55 << 20
"""Kafka's fetch.max.bytes of a broker."""
EMPTY = memoryview(b"")
ANY_REPLICA_FROM = 11
"""The version whose clients can be sent to a follower, and are served by one (KIP-392)."""


class KafkaFetch:
    """`image`: this node's newest metadata, to find topics by id and the addresses of new leaders."""

    def __init__(
        self,
        handler: FetchHandler,
        sessions: FetchSessions,
        image: Callable[[], MetadataImage],
        racks: Racks,
        quotas: ClientQuotas,
        unsent: SendBudget,
    ) -> None:
        self._quotas = quotas
        self._unsent = unsent
        self._racks = racks
        self._handler = handler
        self._sessions = sessions
        self._image = image

    async def answer(
        self, client: Client, request: FetchRequest, mute: Callable[[float], None]
    ) -> Sequence[Buffer]:
        """The body of the answer, in pieces. mute: called when the connection is to keep still for so many seconds."""
        version = client.api_version
        try:
            session, partitions = self._partitions(request)
        except OttlaError as error:
            return encode_fetched((), version, error_code=error.code)
        results = await self._read(partitions, request, client)
        session_id = NO_SESSION
        if session is not None:
            session_id = session.session_id
            incremental = request.session_epoch > INITIAL_EPOCH
            results = [each for each in results if _is_news(session, *each) or not incremental]
        found = sum(len(each.records) for _, each in results)
        throttle_s = self._quotas.take(client.client_id, CONSUMER_BYTE_RATE, found)
        if throttle_s:
            mute(throttle_s)
        leaders = {each.leader_id for _, each in results if each.leader_id >= 0}
        endpoints = node_endpoints(self._image(), leaders, client.listener) if leaders else ()
        return encode_fetched(
            _by_topic(results),
            version,
            session_id=session_id,
            endpoints=endpoints,
            throttle_ms=throttle_ms(throttle_s),
        )

    def _partitions(
        self, request: FetchRequest
    ) -> tuple[FetchSession | None, Sequence[tuple[PartitionKey, Wanted]]]:
        """What is to be read, and the session that it belongs to. Raises the session errors, WireError."""
        wanted = list(_wanted(request.topics))
        if len(wanted) > PARTITIONS_MAX:
            raise WireError(
                f"a Fetch of {len(wanted)} partitions; {PARTITIONS_MAX} are read at once at most"
            )
        if request.session_epoch in (INITIAL_EPOCH, FINAL_EPOCH):
            self._sessions.end(request.session_id)
            if request.session_epoch == FINAL_EPOCH:
                return None, wanted
            return self._sessions.begin(wanted), wanted
        forgotten = _forgotten(request.forgotten_topics_data)
        session = self._sessions.go_on(request.session_id, request.session_epoch, wanted, forgotten)
        return session, list(session.wanted.items())

    async def _read(
        self,
        partitions: Sequence[tuple[PartitionKey, Wanted]],
        request: FetchRequest,
        client: Client,
    ) -> list[tuple[PartitionKey, PartitionFetched]]:
        by_id = client.api_version >= TOPIC_IDS
        known: list[tuple[PartitionKey, FetchFrom]] = []
        results: dict[PartitionKey, PartitionFetched] = {}
        image = self._image()
        for key, wanted in partitions:
            name = key.topic
            if by_id:
                topic = None if key.topic_id is None else image.topics_by_id.get(key.topic_id)
                if topic is None:
                    error = UnknownTopicIdError(f"no topic has the id {key.topic_id}")
                    results[key] = _failed(key.partition, error)
                    continue
                name = topic.name
            known.append(
                (
                    key,
                    FetchFrom(
                        name, key.partition, wanted.offset, wanted.leader_epoch, wanted.max_bytes
                    ),
                )
            )
        wait_s = 0.0 if results else min(max(request.max_wait_ms, 0) / 1000, MAX_WAIT_S)
        most = min(max(request.max_bytes, 0), MAX_RESPONSE_BYTES, self._unsent.room_bytes)
        most = self._quotas.most(client.client_id, CONSUMER_BYTE_RATE, most)
        found = await self._handler.fetch(
            [each for _, each in known],
            max_wait_s=wait_s,
            # More would be waited for in vain.
            min_bytes=min(request.min_bytes, most),
            max_bytes=most,
            reader=Reader(
                client.api_version >= ANY_REPLICA_FROM,
                self._racks.near(request.rack_id, client.listener) if request.rack_id else None,
            ),
        )
        for (key, _), each in zip(known, found, strict=True):
            results[key] = _fetched(each)
        return [(key, results[key]) for key, _ in partitions]


def _is_news(session: FetchSession, key: PartitionKey, found: PartitionFetched) -> bool:
    now = Told(found.high_watermark, found.log_start_offset, found.error_code)
    return session.news(key, now, len(found.records)) or found.preferred_read_replica >= 0


def _wanted(topics: Iterable[FetchTopic]) -> Iterable[tuple[PartitionKey, Wanted]]:
    for topic in topics:
        for each in topic.partitions:
            yield (
                PartitionKey(topic.topic, topic.topic_id, each.partition),
                Wanted(each.fetch_offset, each.current_leader_epoch, each.partition_max_bytes),
            )


def _forgotten(topics: Iterable[ForgottenTopic]) -> Iterable[PartitionKey]:
    for topic in topics:
        for partition in topic.partitions:
            yield PartitionKey(topic.topic, topic.topic_id, partition)


def _fetched(found: Fetched) -> PartitionFetched:
    if found.error is not None:
        return _failed(found.partition, found.error)
    return PartitionFetched(
        found.partition,
        ErrorCode.NONE,
        found.high_watermark,
        found.log_start_offset,
        found.batches,
        preferred_read_replica=found.read_from,
    )


def _failed(partition: int, error: OttlaError) -> PartitionFetched:
    leader = (-1, -1)
    if isinstance(error, NotLeaderError) and error.leader_id >= 0:
        leader = (error.leader_id, error.leader_epoch)
    return PartitionFetched(partition, error.code, -1, -1, EMPTY, *leader)


def _by_topic(results: Iterable[tuple[PartitionKey, PartitionFetched]]) -> list[TopicFetched]:
    topics: dict[PartitionKey, list[PartitionFetched]] = {}
    for key, found in results:
        topics.setdefault(key._replace(partition=-1), []).append(found)
    return [TopicFetched(key.topic, key.topic_id, found) for key, found in topics.items()]

"""What Kafka's own tools ask for beside topics: producers, folders, settings of groups and of clients, quotas."""

from collections.abc import Callable
from typing import Any

from tests.compat.admin_scenarios import APPEND, BROKER, DELETE, SET, TOPIC, alter
from tests.compat.produce_scenarios import batch, producer_id, send
from tests.compat.read_scenarios import fetch, with_records
from tests.compat.target import Target, closed_or, code
from wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    EntityData,
    EntryData,
    OpData,
)
from wire.messages.describe_client_quotas import ComponentData, DescribeClientQuotasRequest
from wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from wire.messages.describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from wire.messages.describe_producers import DescribeProducersRequest, TopicRequest
from wire.messages.list_config_resources import ListConfigResourcesRequest

CLIENT_METRICS, GROUP = 16, 32
EXACT, DEFAULT, ANY = 0, 1, 2
SCENARIOS: dict[str, Callable[[Target], Any]] = {}


def describe_producers(target: Target) -> Any:
    """[error, [epoch, last sequence, whether there is a time, coordinator epoch, transaction start]]."""
    topic, me = target.topic(), producer_id(target)
    for sequence, count in ((0, 2), (2, 1)):
        data = batch(*[b"v"] * count, producer_id=me, producer_epoch=0, base_sequence=sequence)
        assert send(target, topic, data)[0] == "NONE"
    leader = target.leader(topic)

    def ask(name: str, *partitions: int, node: tuple[str, int] | None = None) -> Any:
        request = DescribeProducersRequest(
            topics=(TopicRequest(name=name, partition_indexes=partitions),)
        )

        def now() -> Any:
            return [
                [
                    each.partition_index,
                    code(each.error_code),
                    [
                        [
                            state.producer_id == me,
                            state.producer_epoch,
                            state.last_sequence,
                            state.last_timestamp > 0,
                            state.coordinator_epoch,
                            state.current_txn_start_offset,
                        ]
                        for state in each.active_producers
                    ],
                ]
                for found in target.call(request, 0, node or leader).topics
                for each in found.partitions
            ]

        return closed_or(now)

    def followed() -> bool:
        return bool(ask(topic, 0, node=target.follower(topic))[0][2])

    target.until(followed)
    return [
        ask(topic, 0),
        ask(topic, 0, node=target.follower(topic)),
        ask(topic, 9),
        ask(topic),
        ask(target.name(), 0),
        ask("a/b", 0),
    ]


def log_dirs(target: Target) -> Any:
    """Of one topic: [error, [error, cordoned, total above usable, [partition, size above 0, lag, future]]]."""
    topic = with_records(target)

    def ask(version: int, *topics: DescribableLogDirTopic) -> Any:
        found = target.call(DescribeLogDirsRequest(topics=topics), version, target.leader(topic))
        return [
            code(found.error_code),
            [
                [
                    code(each.error_code),
                    each.is_cordoned,
                    each.total_bytes >= each.usable_bytes,
                    sorted(
                        [
                            part.partition_index,
                            part.partition_size > 0,
                            part.offset_lag,
                            part.is_future_key,
                        ]
                        for here in each.topics
                        for part in here.partitions
                    ),
                ]
                for each in found.results
            ],
        ]

    return [
        ask(5, DescribableLogDirTopic(topic=topic, partitions=(0, 1))),
        ask(4, DescribableLogDirTopic(topic=topic, partitions=(0,))),
        ask(5, DescribableLogDirTopic(topic=topic, partitions=(9,))),
        ask(5, DescribableLogDirTopic(topic=target.name(), partitions=(0,))),
    ]


def follower_reads(target: Target) -> Any:
    """A follower serves a consumer that can be sent there (KIP-392): from version 11 on."""
    topic = with_records(target)
    node = target.follower(topic)
    served: dict[str, Any] = {"node": node, "version": 11, "max_wait_ms": 2000}

    def there() -> bool:
        return bool(fetch(target, topic, offset=2, **served)[1][3])

    target.until(there)
    return [
        fetch(target, topic, **served),
        fetch(target, topic, offset=3, **(served | {"max_wait_ms": 100})),
        fetch(target, topic, offset=4, **served),
        fetch(target, topic, offset=-1, **served),
        fetch(target, topic, epoch=0, **served),
        fetch(target, topic, epoch=1000, **served),
        fetch(target, topic, partition=9, **served),
    ]


def seen(target: Target, change: Callable[[], Any], look: Callable[[], Any]) -> Any:
    """What a change is answered with, once the broker that was asked shows it: Apache Kafka's hears of it later."""
    before = look()
    answer = change()
    target.until(lambda: bool(look() != before))
    return answer


def shown(target: Target, kind: int, name: str, *keys: str) -> Any:
    """[error, [key, value, source, type, read only, synonyms]]."""
    request = DescribeConfigsRequest(
        resources=(
            DescribeConfigsResource(
                resource_type=kind, resource_name=name, configuration_keys=keys or None
            ),
        ),
        include_synonyms=True,
    )

    def ask() -> Any:
        found = target.call(request, 4).results[0]
        return [
            code(found.error_code),
            [
                [
                    each.name,
                    each.value,
                    each.config_source,
                    each.config_type,
                    each.read_only,
                    [[one.name, one.value, one.source] for one in each.synonyms],
                ]
                for each in sorted(found.configs, key=lambda each: each.name)
                if not each.name.startswith(("share.", "streams.", "errors."))
            ],
        ]

    return closed_or(ask)


def listed(target: Target, kind: int, name: str) -> Any:
    """Whether a resource is on the list, asked for all and for its kind."""
    answers = []
    for kinds in ((), (kind,), (TOPIC,)):
        found = target.call(ListConfigResourcesRequest(resource_types=kinds), 1)
        answers.append(
            [
                code(found.error_code),
                (kind, name)
                in {(each.resource_type, each.resource_name) for each in found.config_resources},
            ]
        )
    return answers


def group_settings(target: Target) -> Any:
    group = target.name()
    session, heartbeat = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"

    def look() -> Any:
        return shown(target, GROUP, group, session)

    return [
        shown(target, GROUP, group, session, heartbeat),
        seen(target, lambda: alter(target, GROUP, group, (session, SET, "50000")), look),
        shown(target, GROUP, group, session, heartbeat),
        listed(target, GROUP, group),
        alter(target, GROUP, group, (session, SET, "1")),
        alter(target, GROUP, group, (session, SET, "3600000")),
        alter(target, GROUP, group, (session, SET, "x")),
        alter(target, GROUP, group, (heartbeat, SET, "15000")),
        alter(target, GROUP, group, (heartbeat, SET, "15001")),
        alter(target, GROUP, group, (heartbeat, SET, "0")),
        alter(target, GROUP, group, (session, SET, "45000"), (heartbeat, SET, "45000")),
        alter(target, GROUP, group, ("nonsense", SET, "1")),
        alter(target, GROUP, group, (session, APPEND, "1")),
        alter(target, GROUP, "", (session, SET, "50000")),
        seen(
            target,
            lambda: alter(target, GROUP, group, (session, DELETE, None), (heartbeat, DELETE, None)),
            look,
        ),
        shown(target, GROUP, group, session, heartbeat),
        listed(target, GROUP, group),
        shown(target, GROUP, ""),
    ]


def client_metrics(target: Target) -> Any:
    name = target.name()
    interval, metrics, match = "interval.ms", "metrics", "match"

    def change(*changes: tuple[str, int, str | None]) -> Any:
        return seen(
            target,
            lambda: alter(target, CLIENT_METRICS, name, *changes),
            lambda: shown(target, CLIENT_METRICS, name),
        )

    return [
        shown(target, CLIENT_METRICS, name),
        change((interval, SET, "30000"), (metrics, SET, "a.,b.")),
        shown(target, CLIENT_METRICS, name),
        listed(target, CLIENT_METRICS, name),
        alter(target, CLIENT_METRICS, name, (match, SET, "client_id=x.*,client_source_port=1.*")),
        alter(target, CLIENT_METRICS, name, (interval, SET, "1")),
        alter(target, CLIENT_METRICS, name, (interval, SET, "100")),
        alter(target, CLIENT_METRICS, name, (interval, SET, "3600001")),
        alter(target, CLIENT_METRICS, name, (interval, SET, "x")),
        alter(target, CLIENT_METRICS, name, (match, SET, "nonsense=1")),
        alter(target, CLIENT_METRICS, name, (match, SET, "client_id")),
        alter(target, CLIENT_METRICS, name, (match, SET, "client_id=[")),
        change((match, SET, "")),
        change((metrics, SET, "")),
        alter(target, CLIENT_METRICS, name, (metrics, APPEND, "c.")),
        shown(target, CLIENT_METRICS, name),
        alter(target, CLIENT_METRICS, name, ("nonsense", SET, "1")),
        alter(target, CLIENT_METRICS, "", (interval, SET, "30000")),
        change((interval, DELETE, None), (metrics, DELETE, None), (match, DELETE, None)),
        listed(target, CLIENT_METRICS, name),
        shown(target, CLIENT_METRICS, ""),
    ]  # fmt: skip


def dynamic_broker_settings(target: Target) -> Any:
    """Those that people's scripts set."""
    return [
        [
            key,
            alter(target, BROKER, "", (key, SET, value)),
            alter(target, BROKER, "", (key, DELETE, None)),
        ]
        for key, value in (
            ("log.cleaner.threads", "1"),
            ("log.cleaner.threads", "0"),
            ("message.max.bytes", "1048588"),
            ("log.retention.ms", "604800000"),
            ("num.io.threads", "8"),
        )
    ]


def resource_kinds(target: Target) -> Any:
    """Which kinds may be asked for: 99 is none, the first version knew client metrics only."""
    answers = []
    for version, kinds in ((0, ()), (1, (BROKER,)), (1, (99,)), (1, (BROKER, 99)), (1, (GROUP,))):
        found = target.call(ListConfigResourcesRequest(resource_types=kinds), version)
        shown_kinds = sorted({each.resource_type for each in found.config_resources})
        answers.append([version, list(kinds), code(found.error_code), shown_kinds])
    return answers


def quota(
    target: Target, entity: dict[str, str | None], *ops: tuple[str, float | None], dry: bool = False
) -> Any:
    """[error] of one alteration; a value of None removes."""
    request = AlterClientQuotasRequest(
        entries=(
            EntryData(
                entity=tuple(
                    EntityData(entity_type=kind, entity_name=name) for kind, name in entity.items()
                ),
                ops=tuple(
                    OpData(key=key, value=value or 0.0, remove=value is None) for key, value in ops
                ),
            ),
        ),
        validate_only=dry,
    )
    return closed_or(lambda: [code(each.error_code) for each in target.call(request, 1).entries])


def quotas(
    target: Target, *components: tuple[str, int, str | None], strict: bool = False, mark: str = ""
) -> Any:
    """[error, [entity, values]] of those whose names have the mark."""
    request = DescribeClientQuotasRequest(
        components=tuple(
            ComponentData(entity_type=kind, match_type=how, match=name)
            for kind, how, name in components
        ),
        strict=strict,
    )

    def ask() -> Any:
        found = target.call(request, 1)
        entries = [
            [
                sorted(
                    [part.entity_type, (part.entity_name or "").replace(mark, "*")]
                    for part in each.entity
                ),
                sorted([value.key, value.value] for value in each.values),
            ]
            for each in found.entries or ()
            if any(mark in (part.entity_name or "") for part in each.entity)
        ]
        return [code(found.error_code), sorted(entries), found.entries is None]

    return closed_or(ask)


def client_quotas(target: Target) -> Any:
    mark = target.name()
    one, two = f"{mark}-1", f"{mark}-2"
    rate = "producer_byte_rate"

    def change(whose: dict[str, str | None], *ops: tuple[str, float | None]) -> Any:
        return seen(target, lambda: quota(target, whose, *ops), lambda: quotas(target, mark=mark))

    return [
        change({"client-id": one}, (rate, 1000.0), ("consumer_byte_rate", 2000.0)),
        change({"user": two, "client-id": one}, (rate, 3000.0)),
        change({"user": two}, (rate, 4000.0)),
        change({"user": two, "client-id": None}, (rate, 5000.0)),
        quota(target, {"client-id": f"{mark}-3"}, (rate, 1.0), dry=True),
        quotas(target, mark=mark),
        quotas(target, ("client-id", EXACT, one), mark=mark),
        quotas(target, ("client-id", EXACT, one), strict=True, mark=mark),
        quotas(target, ("client-id", ANY, None), mark=mark),
        quotas(target, ("client-id", DEFAULT, None), mark=mark),
        quotas(target, ("user", EXACT, two), ("client-id", ANY, None), mark=mark),
        quotas(target, ("user", EXACT, two), strict=True, mark=mark),
        quotas(target, ("nonsense", EXACT, two), mark=mark),
        quotas(target, ("user", EXACT, two), ("user", EXACT, one), mark=mark),
        quotas(target, ("user", 7, two), mark=mark),
        quotas(target, ("ip", ANY, None), ("user", ANY, None), mark=mark),
        quotas(target, ("", EXACT, two), mark=mark),
        change({"client-id": one}, (rate, None)),
        quotas(target, ("client-id", EXACT, one), strict=True, mark=mark),
        change({"client-id": one}, ("consumer_byte_rate", None), (rate, None)),
        quotas(target, ("client-id", EXACT, one), strict=True, mark=mark),
    ]


def bad_client_quotas(target: Target) -> Any:
    name = target.name()
    rate = "producer_byte_rate"
    return [
        quota(target, {"client-id": name}, (rate, 0.0)),
        quota(target, {"client-id": name}, (rate, -1.0)),
        quota(target, {"client-id": name}, (rate, 1.5)),
        quota(target, {"client-id": name}, ("nonsense", 1.0)),
        quota(target, {"client-id": name}, ("connection_creation_rate", 1.0)),
        quota(target, {"nonsense": name}, (rate, 1.0)),
        quota(target, {}, (rate, 1.0)),
        quota(target, {"client-id": ""}, (rate, 1.0)),
        quota(target, {"ip": "no ip"}, ("connection_creation_rate", 1.0)),
        quota(target, {"ip": "10.1.2.3"}, (rate, 1.0)),
        quota(target, {"ip": "10.1.2.3", "user": name}, ("connection_creation_rate", 1.0)),
        quota(target, {"client-id": name}),
        quota(target, {"client-id": name}, (rate, 1000.0), (rate, 2000.0)),
        quota(target, {"client-id": name}, (rate, None)),
    ]


SCENARIOS |= {
    "describe producers": describe_producers,
    "describe log dirs": log_dirs,
    "fetch: from a follower": follower_reads,
    "settings of groups": group_settings,
    "settings of client metrics": client_metrics,
    "kinds of settings": resource_kinds,
    "dynamic broker settings": dynamic_broker_settings,
    "client quotas": client_quotas,
    "client quotas that are wrong": bad_client_quotas,
}

"""Every configuration key that can change while the cluster runs: of topics, and of brokers.

Names, defaults and units are Kafka's, where Kafka has the setting. A topic that does not set a key takes the broker's
key of the same meaning (TOPIC_SYNONYMS). docs/CONFIGURATION.md is generated from here.
"""

import types
from typing import Annotated, Literal

from msgspec import Meta, Struct

from kraft.metadata.config_engine import INT32_MAX, INT64_MAX, Definition, definitions, dotted

DAY_MS = 24 * 60 * 60 * 1000
WEEK_MS = 7 * DAY_MS

CleanupPolicy = Literal["delete", "compact", "compact,delete", "delete,compact"]
CompressionType = Literal["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]
TimestampType = Literal["CreateTime", "LogAppendTime"]
FlushPolicy = Literal["sync", "os"]
ReplicaSelector = Literal[
    "none", "rack-aware", "org.apache.kafka.common.replica.RackAwareReplicaSelector"
]
MigrationPolicy = Literal["disabled", "upgrade", "downgrade", "bidirectional"]
ConsumerAssignors = Literal["uniform", "range", "uniform,range", "range,uniform"]

Milliseconds = Annotated[int, Meta(ge=0, le=INT64_MAX)]


class TopicConfig(Struct, frozen=True, kw_only=True, rename=dotted):
    """What can be set on a topic. Durations in milliseconds, sizes in bytes."""

    cleanup_policy: Annotated[
        CleanupPolicy,
        Meta(
            description="What becomes of old records: `delete` drops whole segments by age and size, `compact` keeps "
            "the last record of each key, both do both."
        ),
    ] = "delete"
    compression_type: Annotated[
        CompressionType,
        Meta(
            description="The codec records are kept in; `producer` keeps what the producer chose. Any other value is "
            "work for the leader at every append of a batch in another codec: better let producers choose it."
        ),
    ] = "producer"
    delete_retention_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=INT64_MAX,
            description="How long a compacted topic keeps the marker of a deleted key, so that readers can see it.",
        ),
    ] = DAY_MS
    flush_policy: Annotated[
        FlushPolicy,
        Meta(
            description="`sync`: a record counts as stored on a node once it is fsynced there, so that acknowledged "
            "records survive power loss. `os`: once it is in the page cache, as in Kafka. Ottla's own key."
        ),
    ] = "sync"
    index_interval_bytes: Annotated[
        int,
        Meta(ge=0, le=INT32_MAX, description="Bytes of log between two entries of its index."),
    ] = 4096
    max_compaction_lag_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT64_MAX,
            description="A compacted log is compacted when a record has reached this age, "
            "whatever its dirty ratio.",
        ),
    ] = INT64_MAX
    max_message_bytes: Annotated[
        int,
        Meta(ge=62, le=INT32_MAX, description="The largest record batch taken, after compression."),
    ] = 1_048_588
    message_timestamp_after_max_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=INT64_MAX,
            description="How far in the future a producer's timestamp may lie; unused with LogAppendTime.",
        ),
    ] = 3_600_000
    message_timestamp_before_max_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=INT64_MAX,
            description="How far in the past a producer's timestamp may lie; unused with LogAppendTime.",
        ),
    ] = INT64_MAX
    message_timestamp_type: Annotated[
        TimestampType,
        Meta(description="Whose clock stamps a record: the producer's or the leader's."),
    ] = "CreateTime"
    min_cleanable_dirty_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="A log is compacted when this part of its closed segments was never compacted.",
        ),
    ] = 0.5
    min_compaction_lag_ms: Annotated[
        int,
        Meta(ge=0, le=INT64_MAX, description="A record younger than this is never compacted away."),
    ] = 0
    min_insync_replicas: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="A write with acks=all is taken and acknowledged only while so many replicas are in sync, "
            "the leader included. With 2 of 3 replicas an acknowledged record survives the loss of any one node.",
        ),
    ] = 1
    retention_bytes: Annotated[
        int,
        Meta(
            ge=-1,
            le=INT64_MAX,
            description="The oldest segments go while a partition is larger than this; -1: no limit.",
        ),
    ] = -1
    retention_ms: Annotated[
        int,
        Meta(
            ge=-1,
            le=INT64_MAX,
            description="Segments go when all their records are older than this; -1: never.",
        ),
    ] = WEEK_MS
    segment_bytes: Annotated[
        int,
        Meta(ge=64, le=INT32_MAX, description="A log goes on in a new file after so many bytes."),
    ] = 1 << 30
    segment_index_bytes: Annotated[
        int,
        Meta(ge=8, le=INT32_MAX, description="The largest index; a full one begins a new segment."),
    ] = 10 << 20
    segment_ms: Annotated[
        int,
        Meta(ge=1, le=INT64_MAX, description="A log goes on in a new file after this time."),
    ] = WEEK_MS
    unclean_leader_election_enable: Annotated[
        bool,
        Meta(
            description="Elect a replica that may lack acknowledged records when no other is alive. It loses data; "
            "each such election is counted."
        ),
    ] = False

    @property
    def deletes(self) -> bool:
        """Whether old segments are dropped."""
        return "delete" in self.cleanup_policy

    @property
    def compacts(self) -> bool:
        """Whether only the last record of a key is kept."""
        return "compact" in self.cleanup_policy


class BrokerConfig(Struct, frozen=True, kw_only=True, rename=dotted):
    """What can be set for all brokers while they run, besides the defaults of topics (TOPIC_SYNONYMS)."""

    auto_create_topics_enable: Annotated[
        bool,
        Meta(
            description="Create a topic when a Kafka client asks for one that is not there; the gRPC API never does."
        ),
    ] = True
    auto_leader_rebalance_enable: Annotated[
        bool,
        Meta(description="Give leadership back to preferred replicas by and by."),
    ] = True
    default_replication_factor: Annotated[
        int,
        Meta(ge=1, le=32767, description="Replicas of a topic created without a number of them."),
    ] = 1
    group_consumer_assignors: Annotated[
        ConsumerAssignors,
        Meta(
            description="The assignors of groups with the protocol of KIP-848 (`group.protocol=consumer`); the first "
            "is taken when the members do not ask for one."
        ),
    ] = "uniform,range"
    group_consumer_heartbeat_interval_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="How often members of KIP-848 groups are told to send a heartbeat; the limits are "
            "`group.consumer.min.heartbeat.interval.ms` and `group.consumer.max.heartbeat.interval.ms`.",
        ),
    ] = 5_000
    group_consumer_max_heartbeat_interval_ms: Annotated[
        int,
        Meta(ge=1, le=INT32_MAX, description="The longest heartbeat interval of KIP-848 groups."),
    ] = 15_000
    group_consumer_max_session_timeout_ms: Annotated[
        int,
        Meta(ge=1, le=INT32_MAX, description="The longest session of members of KIP-848 groups."),
    ] = 60_000
    group_consumer_max_size: Annotated[
        int,
        Meta(ge=1, le=INT32_MAX, description="The most members that a KIP-848 group may have."),
    ] = INT32_MAX
    group_consumer_migration_policy: Annotated[
        MigrationPolicy,
        Meta(
            description="Which way a group with members may change between the classic protocol and that of KIP-848: "
            "`upgrade` when the first member with the new one joins, `downgrade` when the last one leaves."
        ),
    ] = "bidirectional"
    group_consumer_min_heartbeat_interval_ms: Annotated[
        int,
        Meta(ge=1, le=INT32_MAX, description="The shortest heartbeat interval of KIP-848 groups."),
    ] = 5_000
    group_consumer_min_session_timeout_ms: Annotated[
        int,
        Meta(ge=1, le=INT32_MAX, description="The shortest session of members of KIP-848 groups."),
    ] = 45_000
    group_consumer_session_timeout_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="A member of a KIP-848 group that is silent for so long is taken out; the limits are "
            "`group.consumer.min.session.timeout.ms` and `group.consumer.max.session.timeout.ms`.",
        ),
    ] = 45_000
    group_initial_rebalance_delay_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=INT32_MAX,
            description="How long an empty consumer group waits for more members before its first generation.",
        ),
    ] = 3_000
    group_max_session_timeout_ms: Annotated[
        int,
        Meta(
            ge=1, le=INT32_MAX, description="The longest session timeout that a member may ask for."
        ),
    ] = 1_800_000
    group_max_size: Annotated[
        int,
        Meta(ge=1, le=INT32_MAX, description="The most members that a consumer group may have."),
    ] = INT32_MAX
    group_min_session_timeout_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="The shortest session timeout that a member may ask for.",
        ),
    ] = 6_000
    leader_imbalance_check_interval_seconds: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="How often leaders are checked for not being preferred, and how long a broker must have been "
            "back. Kafka waits 300 s; a leadership is cheap to move here.",
        ),
    ] = 5
    log_cleaner_threads: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="How many logs retention and compaction work on at a time. They share one thread here: more "
            "makes nothing faster, but a large log does not hold up the others.",
        ),
    ] = 1
    num_partitions: Annotated[
        int,
        Meta(ge=1, le=INT32_MAX, description="Partitions of a topic created without a number."),
    ] = 1
    offset_metadata_max_bytes: Annotated[
        int,
        Meta(ge=0, le=INT32_MAX, description="The longest note beside a committed offset."),
    ] = 4096
    offsets_retention_minutes: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="A group's offsets are forgotten so long after its last member has left, or after the last "
            "commit of a group that never had any.",
        ),
    ] = 7 * 24 * 60
    offsets_topic_num_partitions: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="Partitions of `__consumer_offsets`, which is made with the first group; fixed from then on.",
        ),
    ] = 50
    offsets_topic_replication_factor: Annotated[
        int,
        Meta(
            ge=1,
            le=32767,
            description="Replicas of `__consumer_offsets`; as many as there are brokers when there are fewer.",
        ),
    ] = 3
    offsets_topic_segment_bytes: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="Segments of `__consumer_offsets` are small, so that they are compacted and loaded quickly.",
        ),
    ] = 100 << 20
    producer_id_expiration_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT32_MAX,
            description="A silent idempotent producer is forgotten after this time.",
        ),
    ] = DAY_MS
    replica_lag_time_max_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=INT64_MAX,
            description="A follower that has not held all records for so long leaves the ISR.",
        ),
    ] = 30_000
    replica_selector_class: Annotated[
        ReplicaSelector,
        Meta(
            description="`rack-aware`, which Kafka's class name means, too: a Kafka consumer with a `client.rack` is "
            "sent to an in-sync replica whose `broker.rack` is the same (KIP-392). `none`: it reads from the leader."
        ),
    ] = "none"


# A topic's key -> the broker's key of the same meaning.
TOPIC_SYNONYMS = types.MappingProxyType(
    {
        "cleanup.policy": "log.cleanup.policy",
        "compression.type": "compression.type",
        "delete.retention.ms": "log.cleaner.delete.retention.ms",
        "flush.policy": "log.flush.policy",
        "index.interval.bytes": "log.index.interval.bytes",
        "max.compaction.lag.ms": "log.cleaner.max.compaction.lag.ms",
        "max.message.bytes": "message.max.bytes",
        "message.timestamp.after.max.ms": "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms": "log.message.timestamp.before.max.ms",
        "message.timestamp.type": "log.message.timestamp.type",
        "min.cleanable.dirty.ratio": "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms": "log.cleaner.min.compaction.lag.ms",
        "min.insync.replicas": "min.insync.replicas",
        "retention.bytes": "log.retention.bytes",
        "retention.ms": "log.retention.ms",
        "segment.bytes": "log.segment.bytes",
        "segment.index.bytes": "log.index.size.max.bytes",
        "segment.ms": "log.roll.ms",
        "unclean.leader.election.enable": "unclean.leader.election.enable",
    }
)

# Keys that the leader of a partition and the controller must read alike (KIP-966): per-broker values and values of
# one node's file would let the two disagree on what is safe, so they come from the metadata log alone.
SAFETY_KEYS = ("min.insync.replicas", "unclean.leader.election.enable", "flush.policy")

# Broker keys that mean something for the cluster as a whole only.
CLUSTER_ONLY_KEYS = frozenset(
    [TOPIC_SYNONYMS[key] for key in SAFETY_KEYS]
    + [
        "auto.leader.rebalance.enable",
        "default.replication.factor",
        "group.consumer.assignors",
        "group.consumer.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
        "group.consumer.max.session.timeout.ms",
        "group.consumer.max.size",
        "group.consumer.migration.policy",
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.min.session.timeout.ms",
        "group.consumer.session.timeout.ms",
        "group.initial.rebalance.delay.ms",
        "group.max.session.timeout.ms",
        "group.max.size",
        "group.min.session.timeout.ms",
        "offset.metadata.max.bytes",
        "offsets.retention.minutes",
        "offsets.topic.num.partitions",
        "offsets.topic.replication.factor",
        "offsets.topic.segment.bytes",
        "leader.imbalance.check.interval.seconds",
        "num.partitions",
    ]
)


def _broker_keys() -> dict[str, Definition]:
    topic = definitions(TopicConfig)
    synonyms = {
        broker_key: Definition(
            broker_key,
            topic[key].field,
            topic[key].type,
            topic[key].default,
            f"The default of `{key}` for topics that do not set it. {topic[key].documentation}",
            topic[key].minimum,
            topic[key].maximum,
        )
        for key, broker_key in TOPIC_SYNONYMS.items()
    }
    own = definitions(BrokerConfig)
    assert not own.keys() & synonyms.keys()
    return dict(sorted((synonyms | own).items()))


TOPIC_KEYS = types.MappingProxyType(definitions(TopicConfig))
BROKER_KEYS = types.MappingProxyType(_broker_keys())
assert TOPIC_SYNONYMS.keys() == TOPIC_KEYS.keys()

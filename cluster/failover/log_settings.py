"""A topic's settings in force as its logs take them. Pure."""

from kraft.metadata.effective_config import Floors, broker_value, topic_config
from storage.log_config import LogConfig


def log_config(found: Floors) -> LogConfig:
    """What the metadata log and this node's file say, for the log of one replica."""
    wanted = topic_config(found)
    return LogConfig(
        segment_bytes=wanted.segment_bytes,
        segment_ms=wanted.segment_ms,
        index_interval_bytes=wanted.index_interval_bytes,
        segment_index_bytes=wanted.segment_index_bytes,
        max_message_bytes=wanted.max_message_bytes,
        retention_ms=wanted.retention_ms,
        retention_bytes=wanted.retention_bytes,
        compression_type=wanted.compression_type,
        cleanup_policy=(
            "compact,delete" if wanted.cleanup_policy == "delete,compact" else wanted.cleanup_policy
        ),
        delete_retention_ms=wanted.delete_retention_ms,
        min_cleanable_dirty_ratio=wanted.min_cleanable_dirty_ratio,
        min_compaction_lag_ms=wanted.min_compaction_lag_ms,
        max_compaction_lag_ms=wanted.max_compaction_lag_ms,
        message_timestamp_type=wanted.message_timestamp_type,
        message_timestamp_after_max_ms=wanted.message_timestamp_after_max_ms,
        message_timestamp_before_max_ms=wanted.message_timestamp_before_max_ms,
        producer_id_expiration_ms=broker_value(found, "producer.id.expiration.ms"),
        flush=wanted.flush_policy,
    )

"""Kafka's command names: `ottla kafka-topics` and the others take Kafka's options, for scripts that people have."""

from ottla.cli.kafka.configs import kafka_configs
from ottla.cli.kafka.console_consumer import kafka_console_consumer
from ottla.cli.kafka.console_producer import kafka_console_producer
from ottla.cli.kafka.groups import kafka_consumer_groups
from ottla.cli.kafka.topics import kafka_get_offsets, kafka_topics

TOOLS = {
    "kafka-topics": kafka_topics,
    "kafka-console-producer": kafka_console_producer,
    "kafka-console-consumer": kafka_console_consumer,
    "kafka-get-offsets": kafka_get_offsets,
    "kafka-consumer-groups": kafka_consumer_groups,
    "kafka-configs": kafka_configs,
}

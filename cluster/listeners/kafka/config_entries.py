"""Configuration as Kafka shows it."""

import types

from kraft.metadata.effective_config import ConfigSource

KAFKA_SOURCE = types.MappingProxyType(
    {
        ConfigSource.TOPIC: 1,
        ConfigSource.BROKER: 2,
        ConfigSource.CLUSTER: 3,
        ConfigSource.STATIC: 4,
        ConfigSource.DEFAULT: 5,
    }
)
"""Kafka's numbers of DescribeConfigsResponse.ConfigSource."""

"""The Kafka protocol: bytes to messages and back. Pure: no clock, no network, nothing of the other rooms."""

"""The Kafka door: frames in, answers out, in the order in which a client asked."""

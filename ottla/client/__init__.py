"""The client SDK: Producer, Consumer and Admin over ottla.v1."""

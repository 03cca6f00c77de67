"""Consumer groups and their offsets: decided by pure state machines, kept in `__consumer_offsets`."""

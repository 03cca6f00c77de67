"""How soon a connection of librdkafka may be given records again.

librdkafka stops asking for a whole second (`fetch.queue.backoff.ms`) when 64 MB wait in its queue. A broker that gives
as fast as it can fills that queue before the program has emptied it, and the consumer then idles most of the time; one
that is given a little less than it can take never stops. Other clients ask when they have room, and are not held back.
"""

from collections.abc import Sequence

from cluster.listeners.kafka.request import Buffer, Software

# An answer that is ready so much later than it was due costs the connection nothing.
CREDIT_S = 0.01


def is_librdkafka(software: Software) -> bool:
    """Whether a client is librdkafka, as it says in ApiVersions (KIP-511). Programs that wrap it give their own name,
    and a version like 2.16.1-librdkafka-2.16.0.
    """
    return "rdkafka" in f"{software.name} {software.version}"


class FetchPace:
    """byte_rate: bytes a second that a connection is given."""

    def __init__(self, byte_rate: int) -> None:
        assert byte_rate > 0, byte_rate
        self._byte_rate = byte_rate

    def next_s(self, given: Sequence[Buffer], due_s: float, now_s: float) -> float:
        """When the connection's next Fetch is due, after it got an answer at `now_s` that was due at `due_s`.

        Times are the loop's, in seconds.
        """
        return max(due_s, now_s - CREDIT_S) + sum(map(len, given)) / self._byte_rate

"""Brokers that have just been fenced are still told to Kafka clients for a while.

librdkafka drops a broker that is not listed any more together with what it knows of its partitions, and takes a second
to find their new leader, although the very same answer names it. It does not when the broker stays on the list.
"""

from collections.abc import Callable

from kraft.metadata.image import MetadataImage

KEPT_MS = 60_000


class RecentlyFenced:
    """`now_ms` is monotonic."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._fenced_ms: dict[int, int] = {}

    def note(self, old: MetadataImage, new: MetadataImage) -> None:
        """The metadata has changed."""
        if old.brokers is new.brokers:
            return
        now_ms = self._now_ms()
        for node_id, broker in new.brokers.items():
            before = old.brokers.get(node_id)
            if not broker.fenced:
                self._fenced_ms.pop(node_id, None)
            elif before is not None and not before.fenced:
                self._fenced_ms[node_id] = now_ms

    def nodes(self) -> set[int]:
        """Those that were fenced less than a minute ago."""
        after_ms = self._now_ms() - KEPT_MS
        return {node_id for node_id, when_ms in self._fenced_ms.items() if when_ms > after_ms}

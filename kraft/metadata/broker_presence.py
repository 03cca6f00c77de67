"""Since when each broker has been unfenced: soft state of the controller, as far back as this process has seen.

Leaderships go back only to brokers that have stayed for a while. librdkafka, when it hears that a leader has moved away
and back before it has carried out the first move, stays with the wrong broker until the leader moves once more.
"""

from kraft.metadata.image import MetadataImage


class BrokerPresence:
    """Times are monotonic milliseconds, handed in."""

    def __init__(self) -> None:
        self._since_ms: dict[int, int] = {}

    def note(self, old: MetadataImage, new: MetadataImage, now_ms: int) -> None:
        """A newer image: who has come, who has gone."""
        if old.brokers is new.brokers:
            return
        present = {each.node_id for each in new.brokers.values() if not each.fenced}
        for node_id in self._since_ms.keys() - present:
            del self._since_ms[node_id]
        for node_id in present:
            self._since_ms.setdefault(node_id, now_ms)

    def settled(self, now_ms: int, for_ms: int) -> tuple[int, ...]:
        """The brokers that have been there for so long, by id."""
        return tuple(
            sorted(node for node, since_ms in self._since_ms.items() if now_ms - since_ms >= for_ms)
        )

"""How much memory all connections together may hold for answers that their clients have not taken yet."""

from collections.abc import Hashable


class SendBudget:
    """A client that asks for much and reads slowly leaves its answers here. Where they fill the limit, whoever fetches
    is given no more than it must be: one batch.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: dict[Hashable, int] = {}
        self._held_bytes = 0

    @property
    def room_bytes(self) -> int:
        """What may be given now."""
        return max(0, self._limit_bytes - self._held_bytes)

    def update(self, connection: Hashable, held_bytes: int) -> None:
        """So many bytes wait for a connection's client now."""
        self._held_bytes += held_bytes - self._held.pop(connection, 0)
        if held_bytes:
            self._held[connection] = held_bytes

"""How much memory all connections together may hold for requests that are still being received."""

from typing import Protocol


class Receiver(Protocol):
    """A connection."""

    def go_on(self) -> None:
        """There is room again: read on."""
        ...


class ReceiveBudget:
    """Above the limit only one connection reads on, until its request is whole: if nobody did, all would hold what they
    have for ever. What comes for the others waits in their sockets.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: dict[Receiver, int] = {}
        self._starved: dict[Receiver, None] = {}
        self._favoured: Receiver | None = None
        self.held_bytes = 0

    def update(self, receiver: Receiver, held_bytes: int) -> bool:
        """A connection holds so many bytes now, none once its request is whole. Returns whether it may read on."""
        self.held_bytes += held_bytes - self._held.pop(receiver, 0)
        if held_bytes:
            self._held[receiver] = held_bytes
        else:
            self._starved.pop(receiver, None)
            if self._favoured is receiver:
                self._favoured = None
        if self.held_bytes <= self._limit_bytes:
            self._let_all()
            return True
        if held_bytes and self._favoured is None and not self._starved:
            self._favoured = receiver
        if not held_bytes:
            self._favour_next()
            return True
        if self._favoured is receiver:
            return True
        self._starved[receiver] = None
        return False

    def _favour_next(self) -> None:
        if self._favoured is None and self._starved:
            self._favoured = next(iter(self._starved))
            del self._starved[self._favoured]
            self._favoured.go_on()

    def _let_all(self) -> None:
        self._favoured = None
        starved, self._starved = self._starved, {}
        for receiver in starved:
            receiver.go_on()

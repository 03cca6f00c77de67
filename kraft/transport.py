"""The seam between the quorum's nodes: one-way messages that may be lost, repeated or late.

Production puts peer streams behind it, the simulator a network of its own. The other way is `RaftDriver.receive` for
what arrives, and `RaftDriver.peer_unreachable` for a peer whose process is found gone.
"""

from typing import Protocol

from kraft.raft.messages import AnyMessage


class RaftTransport(Protocol):
    """One node's way to all others."""

    def send(self, message: AnyMessage) -> None:
        """Send to `message.target`: never waits, holds a bounded number of messages, drops when it must."""
        ...

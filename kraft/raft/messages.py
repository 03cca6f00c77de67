"""What nodes say to each other, and what the log is made of.

Every message carries who says it, to whom, and in which term (a PreVote: in which term its sender would stand). They
are msgspec Structs, so that `encode` and `decode` are one call each and the simulator and the wire use the same bytes.
"""

from enum import IntEnum

import msgspec
from msgspec import Struct

from kraft.raft.membership import Membership

# What an entry costs beside its data, for limits in bytes.
ENTRY_OVERHEAD_BYTES = 24


class EntryKind(IntEnum):
    """What an entry is for. The numbers stand in logs on disk: never change them."""

    COMMAND = 0
    # Appended by every new leader, so that it can commit what earlier terms left (Raft paper, 8).
    NOOP = 1
    MEMBERSHIP = 2


class Entry(Struct, frozen=True, array_like=True):
    """One entry of the replicated log; indexes begin at 1."""

    index: int
    term: int
    kind: EntryKind = EntryKind.COMMAND
    data: bytes = b""

    @property
    def size_bytes(self) -> int:
        """What it counts for in limits."""
        return len(self.data) + ENTRY_OVERHEAD_BYTES


class HardState(Struct, frozen=True, array_like=True):
    """What must be durable before any answer: one atomic record (bugs R1, R2)."""

    term: int = 0
    vote: int | None = None


class SnapshotMeta(Struct, frozen=True, array_like=True):
    """A snapshot's identity: the last entry it covers, the members as of then, its bytes' number and zlib.crc32."""

    index: int
    term: int
    membership: Membership
    size_bytes: int = 0
    checksum: int = 0


class Message(Struct, frozen=True, array_like=True):
    """The head of every message."""

    source: int
    target: int
    term: int


class PreVote(Message, frozen=True, array_like=True, tag=1):
    """Would you vote for me in `term`? Changes nothing at anybody (Raft thesis, 9.6)."""

    last_index: int
    last_term: int


class PreVoteResponse(Message, frozen=True, array_like=True, tag=2):
    """`term` is the asked one when granted, the answerer's own when not."""

    granted: bool


class RequestVote(Message, frozen=True, array_like=True, tag=3):
    """Vote for me. `transfer`: the leader itself asked for it, so its lease does not stand in the way."""

    last_index: int
    last_term: int
    transfer: bool = False


class RequestVoteResponse(Message, frozen=True, array_like=True, tag=4):
    """The vote of `term`, given or not."""

    granted: bool


class AppendEntries(Message, frozen=True, array_like=True, tag=5):
    """Entries to follow (previous_index, previous_term), or none of them: a heartbeat.

    `round` grows with every heartbeat that reads wait for; its echo proves that the sender still led after it was sent.
    """

    previous_index: int
    previous_term: int
    commit_index: int
    round: int
    entries: tuple[Entry, ...] = ()


class AppendEntriesResponse(Message, frozen=True, array_like=True, tag=6):
    """`index` is the last durable entry known to match when `success`, else the previous_index that did not match.

    The hint, on a refusal, is the follower's last entry that may match (index and term, Raft paper 5.3's back-up by
    terms); `last_index` is the end of its log.
    """

    success: bool
    index: int
    round: int
    hint_index: int = 0
    hint_term: int = 0
    last_index: int = 0


class InstallSnapshot(Message, frozen=True, array_like=True, tag=7):
    """Bytes of a snapshot from `offset`; the last chunk ends at `snapshot.size_bytes`."""

    snapshot: SnapshotMeta
    offset: int
    data: bytes


class InstallSnapshotResponse(Message, frozen=True, array_like=True, tag=8):
    """Which byte to send next; `installed` when the follower's log covers the snapshot durably."""

    snapshot_index: int
    next_offset: int
    installed: bool


class TimeoutNow(Message, frozen=True, array_like=True, tag=9):
    """Stand for election at once: leadership is handed to you (Raft thesis, 3.10)."""


AnyMessage = (
    PreVote
    | PreVoteResponse
    | RequestVote
    | RequestVoteResponse
    | AppendEntries
    | AppendEntriesResponse
    | InstallSnapshot
    | InstallSnapshotResponse
    | TimeoutNow
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: AnyMessage) -> bytes:
    """One message as bytes."""
    return _encoder.encode(message)


def decode(data: bytes) -> AnyMessage:
    """The reverse of `encode`. Raises msgspec.DecodeError for what is not a message."""
    return _decoder.decode(data)

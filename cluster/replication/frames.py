"""What flows on the one replication stream between a follower broker and a leader broker.

The follower subscribes partitions with the (offset, epoch) pair at which its log ends (KIP-320); the leader answers
with data, or with where the logs part (KIP-279). Then the leader sends as records come, within a window of bytes; the
follower's acknowledgements (durable ends) open the window again and raise the high watermark. One message carries
many partitions. `subscription` numbers a subscription within its stream: frames of an older one are dropped by number.
"""

from uuid import UUID

import msgspec

# Bytes sent and not yet acknowledged as appended, over a whole stream: enough for two full frames in flight.
WINDOW_BYTES = 2 << 20
# Bytes of records in one frame (DESIGN.md: bigger ones cost allocation and throughput).
FRAME_BYTES = 512 << 10
# Of one partition in one frame, so that many partitions share a frame.
PARTITION_BYTES = 256 << 10


class Subscribe(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Begin to follow a partition at `offset`, having seen `last_epoch` as the last epoch in the log."""

    subscription: int
    topic_id: UUID
    partition: int
    leader_epoch: int
    offset: int
    last_epoch: int
    flushed_offset: int


class Ack(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Appended up to `end_offset`, durable up to `flushed_offset`."""

    subscription: int
    end_offset: int
    flushed_offset: int


class FollowerFrame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """From the follower: what to begin, what to stop, what it holds, and how many bytes of frames it has appended."""

    subscribe: list[Subscribe] = []
    unsubscribe: list[int] = []
    acks: list[Ack] = []
    appended_bytes: int = 0
    # Of the first frame: the follower's incarnation.
    broker_epoch: int = -1
    # Subscriptions that end with this frame because the follower's disk is full. It comes back when there is room.
    no_room: list[int] = []


class PartitionData(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """News of one subscription.

    error: an ErrorCode; the subscription is over, the follower begins again after a pause.
    diverged_at: (epoch, end offset) of the largest common epoch; the follower truncates and subscribes anew.
    batches: whole record batches that follow on what was sent before.
    """

    subscription: int
    high_watermark: int
    log_start_offset: int
    batches: bytes | memoryview = b""
    error: int = 0
    diverged_at: tuple[int, int] | None = None


class LeaderFrame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """From the leader: news of some subscriptions."""

    partitions: list[PartitionData]


class _LeaderFrameIn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`LeaderFrame` as it is read: batches are views into the frame, not copies."""

    partitions: list["PartitionDataIn"]


class PartitionDataIn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`PartitionData` as the follower reads it."""

    subscription: int
    high_watermark: int
    log_start_offset: int
    batches: memoryview = memoryview(b"")
    error: int = 0
    diverged_at: tuple[int, int] | None = None


encode = msgspec.msgpack.Encoder().encode
_leader_decoder = msgspec.msgpack.Decoder(_LeaderFrameIn)
_follower_decoder = msgspec.msgpack.Decoder(FollowerFrame)


def decode_leader_frame(frame: bytes) -> list[PartitionDataIn]:
    """The news in a leader's frame. Raises msgspec.ValidationError on garbage."""
    return _leader_decoder.decode(frame).partitions


def decode_follower_frame(frame: bytes) -> FollowerFrame:
    """A follower's frame. Raises msgspec.ValidationError on garbage."""
    return _follower_decoder.decode(frame)

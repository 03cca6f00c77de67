"""Snapshots: sent in chunks to followers that need what is compacted away (Raft paper, 7)."""

from zlib import crc32

from kraft.raft import replication
from kraft.raft.core import Core
from kraft.raft.following import heard_from_leader
from kraft.raft.messages import InstallSnapshot, InstallSnapshotResponse, SnapshotMeta
from kraft.raft.progress import ReplicationState
from kraft.raft.ready import ChunkReceived, Role


def compact(core: Core, snapshot: SnapshotMeta) -> None:
    """The state machine's snapshot is durable: forget what is well behind it."""
    assert snapshot.index <= core.applied_index, (
        f"a snapshot at {snapshot.index} of a state applied to {core.applied_index}"
    )
    if core.snapshot is not None and snapshot.index <= core.snapshot.index:
        return
    core.snapshot = snapshot
    core.log.compact(snapshot.index - core.config.trailing_entries)


def on_install_snapshot(core: Core, message: InstallSnapshot, now_ms: int) -> None:
    """Take a chunk; with the last one the snapshot replaces the log (Raft paper, Figure 13)."""
    heard_from_leader(core, message, now_ms)
    snapshot = message.snapshot
    if snapshot.index <= core.commit_index or core.log.matches(snapshot.index, snapshot.term):
        core.incoming = None
        core.commit_to(max(core.commit_index, snapshot.index))
        _answer(core, message, snapshot.size_bytes, installed=True)
        return
    if core.incoming != snapshot:
        core.incoming = snapshot
        core.incoming_offset = 0
        core.incoming_checksum = 0
    end = message.offset + len(message.data)
    if message.offset != core.incoming_offset or end > snapshot.size_bytes:
        _answer(core, message, core.incoming_offset, installed=False)
        return
    core.incoming_offset = end
    core.incoming_checksum = crc32(message.data, core.incoming_checksum)
    if end < snapshot.size_bytes:
        core.chunks_received.append(ChunkReceived(snapshot, message.offset, message.data))
        _answer(core, message, end, installed=False)
        return
    core.incoming = None
    if core.incoming_checksum != snapshot.checksum:
        _answer(core, message, 0, installed=False)
        return
    core.chunks_received.append(ChunkReceived(snapshot, message.offset, message.data))
    core.reset_log(snapshot)
    _answer(core, message, end, installed=True)


def _answer(core: Core, message: InstallSnapshot, next_offset: int, *, installed: bool) -> None:
    core.late.append(
        InstallSnapshotResponse(
            core.node_id,
            message.source,
            core.term,
            message.snapshot.index,
            next_offset,
            installed=installed,
        )
    )


def on_install_snapshot_response(core: Core, message: InstallSnapshotResponse, now_ms: int) -> None:
    """Send the next chunk, or go on with the log."""
    progress = core.progress.get(message.source)
    if core.role is not Role.LEADER or progress is None:
        return
    progress.last_contact_ms = now_ms
    if progress.state is not ReplicationState.SNAPSHOT or progress.snapshot is None:
        return
    if message.installed:
        replication.snapshot_installed(core, progress, message.snapshot_index, now_ms)
        return
    snapshot = progress.snapshot
    if message.snapshot_index != snapshot.index or message.next_offset >= max(
        snapshot.size_bytes, 1
    ):
        return
    # The same offset again is an answer that came twice, or damage on the way: that waits for its time.
    if message.next_offset != progress.snapshot_offset:
        progress.snapshot_offset = message.next_offset
        progress.chunk_sent_ms = None

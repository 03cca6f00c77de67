"""Keeps room on the disk for the metadata log: partitions stop growing before the disk is full (bugs.md S7).

A node whose metadata log cannot be written takes no part in the cluster at all, not even to say that it is full. So
below a reserve nothing is appended to partitions, by producers or from leaders; reads go on, and it ends by itself
when room is made.
"""

import asyncio

import structlog

from storage.disk import Disk
from storage.errors import DiskFullError

log = structlog.get_logger("disk")

RESERVE_BYTES = 16 << 20
POLL_S = 0.5


class DiskGuard:
    """Whether partitions may grow. Looks at the disk every `POLL_S`, and believes an append that found it full."""

    def __init__(self, disk: Disk, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        self.full = False

    def require_room(self, what: str) -> None:
        """Raises DiskFullError, retriable, while there is less than the reserve."""
        if self.full:
            raise DiskFullError(
                f"{what} takes no records: less than {self._reserve_bytes >> 10} KiB are left on this node's disk; "
                f"make room (shorter retention, fewer files), it goes on by itself"
            )

    def found_full(self) -> None:
        """An append met a full disk: until the next look shows room, no other need try."""
        self._now(full=True)

    def look(self) -> None:
        """How much room is there? A disk that cannot say is not called full: appends will tell."""
        try:
            free_bytes = self._disk.free_bytes()
        except OSError as error:
            log.warning("free room on the disk is unknown", error=str(error))
            return
        self._now(full=free_bytes < self._reserve_bytes)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await asyncio.sleep(POLL_S)

    def _now(self, *, full: bool) -> None:
        if full and not self.full:
            log.error("disk full: partitions take no records", reserve_bytes=self._reserve_bytes)
        elif self.full and not full:
            log.info("room on the disk again: partitions take records")
        self.full = full

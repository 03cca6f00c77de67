"""How far a log is durable, and which segments may be synced next. No IO here but the renames that publish."""

from storage.disk import DiskFile
from storage.segment import Segment


class FlushTicket:
    """What one sync must cover, and what is durable after it. Made by `begin`, given back exactly once.

    files: to be synced, with their names. end_offset: everything before it is durable then; a cut lowers it.
    """

    __slots__ = ("end_offset", "files", "segments")

    def __init__(self, segments: list[Segment], end_offset: int) -> None:
        self.segments = segments
        self.files: list[DiskFile] = [segment.file for segment in segments]
        self.end_offset = end_offset


class FlushState:
    """The durable part of one log. `segments` is the log's own list, oldest first."""

    __slots__ = ("_folder", "_in_flight", "_segments", "synced_offset")

    def __init__(self, folder: str, segments: list[Segment], synced_offset: int) -> None:
        self._folder = folder
        self._segments = segments
        self._in_flight: list[FlushTicket] = []
        self.synced_offset = synced_offset

    @property
    def dirty(self) -> bool:
        """Whether bytes or names wait for a sync."""
        last = self._segments[-1]
        return self.synced_offset < last.end_offset or not last.named

    def begin(self) -> FlushTicket:
        """Everything that may be synced now: up to the first segment whose predecessor is not durable yet."""
        segments, end = self._segments, self._segments[-1].end_offset
        for index, segment in enumerate(segments):
            if segment.name.provisional:
                segments, end = segments[:index], segment.base_offset
                break
        covered = [s for s in segments if s.end_offset > self.synced_offset or not s.named]
        ticket = FlushTicket(covered, end)
        self._in_flight.append(ticket)
        return ticket

    def complete(self, ticket: FlushTicket) -> None:
        """The sync succeeded. Raises OSError when the next segment's name can't be published."""
        self._in_flight.remove(ticket)
        for segment in ticket.segments:
            segment.named = True
        self.synced_offset = max(self.synced_offset, ticket.end_offset)
        self.publish()

    def forget(self, ticket: FlushTicket) -> None:
        """The sync failed or was given up: nothing is known to be durable by it."""
        self._in_flight.remove(ticket)

    def publish(self) -> None:
        """Give its final name to the segment before which all is durable. Raises OSError."""
        for segment in self._segments:
            if segment.name.provisional:
                if self.synced_offset < segment.base_offset:
                    return
                final = segment.name.published()
                segment.disk.rename(segment.path, f"{self._folder}/{final.file_name}")
                segment.name = final

    def cut(self, offset: int) -> None:
        """The log ends at `offset` now; what is in flight proves nothing about what will be written behind it."""
        self.synced_offset = min(self.synced_offset, offset)
        for ticket in self._in_flight:
            ticket.end_offset = min(ticket.end_offset, offset)

"""One data file of a partition log, with its sparse indexes."""

from storage import checkpoint
from storage.batch_scan import Damage, DamageError, scan_batches, seek
from storage.disk import Buffer, Disk, DiskFile
from storage.errors import LogDamagedError, UnreadableFileError
from storage.offset_index import ENTRY_BYTES as OFFSET_ENTRY_BYTES
from storage.offset_index import OffsetIndex
from storage.record_batch import HEADER_BYTES, BatchHeader, batch_size, whole_batches
from storage.segment_name import SegmentName
from storage.steps import BATCHES_PER_STEP, Steps, at_once
from storage.time_index import TimeIndex

INDEX_VERSION = 1
RELATIVE_OFFSET_MAX = 2**31 - 1
_CURSORS_MAX = 16
_EMPTY = memoryview(b"")

Placed = tuple[int, int, int, int]
"""A batch in an appended buffer: (position in it, base offset, last offset, max timestamp)."""


class Segment:
    """A data file and what is known of it. The caller holds offsets, order and durability.

    `size` and `end_offset` are where the log says the segment ends; the file may be longer after a cut that is
    not durable yet. `last_append_ms` is wall clock: when a batch was last added. `named`: the final file name is
    durable. `snapshot`: the producers as of the base offset, until it is written.
    """

    __slots__ = (
        "_cursors",
        "_folder",
        "_index",
        "_interval",
        "_since_index",
        "_times",
        "base_offset",
        "created_ms",
        "disk",
        "end_offset",
        "file",
        "last_append_ms",
        "max_timestamp",
        "max_timestamp_offset",
        "name",
        "named",
        "settled",
        "size",
        "snapshot",
        "touched",
    )

    def __init__(
        self, disk: Disk, folder: str, name: SegmentName, file: DiskFile, interval: int
    ) -> None:
        self.disk = disk
        self._folder = folder
        self.name = name
        self.file = file
        self.base_offset = name.base_offset
        self.end_offset = name.base_offset
        self.size = 0
        self.max_timestamp = -1
        self.max_timestamp_offset = -1
        self.last_append_ms = 0
        self.created_ms = 0
        self.touched = True
        self.named = False
        self.settled = False
        self.snapshot: bytes | None = None
        self._interval = interval
        self._since_index = 0
        self._index: OffsetIndex | None = OffsetIndex(self.base_offset)
        self._times: TimeIndex | None = TimeIndex(self.base_offset)
        self._cursors: dict[int, int] = {}

    @property
    def path(self) -> str:
        """The data file, relative to the disk's root."""
        return f"{self._folder}/{self.name.file_name}"

    def side_path(self, suffix: str) -> str:
        """A file that goes with the data: `index`, `timeindex`, `snapshot`."""
        return f"{self._folder}/{self.name.stem}.{suffix}"

    def append(self, data: Buffer, batches: list[Placed]) -> None:
        """Add whole batches. Raises OSError; then nothing was added."""
        start = self.size
        assert self.file.size == start, "append behind an unfinished cut"
        self.file.append(data)
        for position, base, last, timestamp in batches:
            self._note(start + position, base, last, timestamp)
        self._since_index += len(data)
        self.size = start + len(data)

    def _note(self, position: int, base: int, last: int, timestamp: int) -> None:
        if timestamp > self.max_timestamp:
            self.max_timestamp = timestamp
            self.max_timestamp_offset = base
        if self._since_index >= self._interval and position:
            self._since_index = 0
            self.index.append(base, position)
            if self.max_timestamp >= 0:
                self.times.append(self.max_timestamp, self.max_timestamp_offset)
        self.end_offset = last + 1

    @property
    def index(self) -> OffsetIndex:
        """Loaded or rebuilt when it was let go. Raises LogDamagedError, OSError."""
        if self._index is None:
            self._load()
        assert self._index is not None
        return self._index

    @property
    def times(self) -> TimeIndex:
        """Loaded or rebuilt when it was let go. Raises LogDamagedError, OSError."""
        if self._times is None:
            self._load()
        assert self._times is not None
        return self._times

    @property
    def index_bytes(self) -> int:
        """The size of the offset index; 0 while it is not in memory, as of closed segments."""
        return 0 if self._index is None else len(self._index) * OFFSET_ENTRY_BYTES

    def read(
        self,
        offset: int,
        max_bytes: int,
        *,
        end_offset: int,
        min_one: bool,
        epochs: tuple[int, int],
    ) -> memoryview:
        """Whole, undamaged batches from the one that holds `offset` or is the first after it; may be empty.

        Raises LogDamagedError when the first of them is damaged, OSError.
        """
        self.touched = True
        position = self._cursors.get(offset, -1)
        expected: int | None = offset
        if position < 0:
            found = self._seek(offset)
            if found is None:
                return _EMPTY
            expected, position = found
        length = min(max_bytes, self.size - position)
        chunk = self.file.read(position, max(length, min(HEADER_BYTES, self.size - position)))
        if min_one and len(chunk) >= HEADER_BYTES:
            first = batch_size(chunk)
            if first > len(chunk) and position + first <= self.size:
                chunk = self.file.read(position, first)
        used, following, damaged = whole_batches(
            chunk,
            end_offset=end_offset,
            expected=None if self.name.gaps else expected,
            epochs=epochs,
        )
        if not used:
            cut_off = len(chunk) < HEADER_BYTES or position + batch_size(chunk) > self.size
            if damaged or cut_off:
                raise self._damaged(Damage(position, "a batch is damaged"))
            return _EMPTY
        if len(self._cursors) >= _CURSORS_MAX and following not in self._cursors:
            del self._cursors[next(iter(self._cursors))]
        self._cursors[following] = position + used
        return chunk[:used]

    def locate(self, offset: int) -> tuple[int, int]:
        """(base offset, position) of the batch that holds `offset` or is the first after it, or the segment's end.

        Raises LogDamagedError, OSError.
        """
        return self._seek(offset) or (self.end_offset, self.size)

    def cut_point(self, offset: int) -> tuple[int, int]:
        """(end offset, position) that a cut at `offset` leaves: behind the last batch that ends before `offset`.

        Where compaction left gaps, the end is that batch's, so that a segment always ends with a batch.
        Raises LogDamagedError, OSError.
        """
        if not self.name.gaps:
            return self.locate(offset)
        end = self.base_offset
        # From a batch that certainly ends before `offset`, if there is one.
        start = self.index.floor(self.index.floor(offset)[0] - 1)[1]
        try:
            for position, header in scan_batches(self.file, start, self.size, verify=True):
                if header.last_offset >= offset:
                    return end, position
                end = header.next_offset
        except DamageError as error:
            raise self._damaged(error.damage) from error
        return end, self.size

    def _seek(self, offset: int) -> tuple[int, int] | None:
        start = self.index.floor(offset)
        if start[0] == offset:
            return start
        try:
            return seek(self.file, start, self.size, offset, contiguous=not self.name.gaps)
        except DamageError as error:
            raise self._damaged(error.damage) from error

    def _damaged(self, damage: Damage) -> LogDamagedError:
        return LogDamagedError(
            f"{self.path} is damaged at byte {damage.position}: {damage.reason}; "
            "the other replicas have these records"
        )

    def rescan(self, verify_from: int, end_there: int | None = None) -> Damage | None:
        """Rebuild end, indexes and timestamps from the file, checking CRCs from a position on.

        `end_there` is the offset that is known to be due at that position.
        Stops at damage and returns it: then `size` and `end_offset` are those of the undamaged part. Raises OSError.
        """
        self._forget()
        epoch, stop = -1, self.file.size
        try:
            for verify, begin, end in ((False, 0, verify_from), (True, verify_from, stop)):
                for position, header in scan_batches(self.file, begin, end, verify=verify):
                    if self._misplaced(header) or header.partition_leader_epoch < epoch:
                        return Damage(position, f"offset {header.base_offset} is out of place")
                    epoch = header.partition_leader_epoch
                    self._note(
                        position, header.base_offset, header.last_offset, header.max_timestamp
                    )
                    self._since_index += header.size
                    self.size = position + header.size
                if not verify and end_there not in (None, self.end_offset):
                    return Damage(begin, f"{self.end_offset} is the end, not {end_there}")
        except DamageError as error:
            return error.damage
        return None

    def _misplaced(self, header: BatchHeader) -> bool:
        if header.last_offset - self.base_offset > RELATIVE_OFFSET_MAX:
            return True
        if self.name.gaps:
            return header.base_offset < self.end_offset
        return header.base_offset != self.end_offset

    def _forget(self) -> None:
        self._index, self._times = OffsetIndex(self.base_offset), TimeIndex(self.base_offset)
        self._cursors.clear()
        self.size, self.end_offset, self._since_index = 0, self.base_offset, 0
        self.max_timestamp = self.max_timestamp_offset = -1

    def cut(self, offset: int, newest: tuple[int, int] | None = None) -> None:
        """End before the batch that holds `offset`, in memory only: the file keeps its bytes.

        `newest`: what `newest_before` says of it. Raises LogDamagedError, OSError.
        """
        newest = newest or at_once(self.newest_before(offset))
        self.end_offset, self.size = self.cut_point(offset)
        self.index.truncate(self.end_offset)
        self.times.truncate(self.end_offset)
        self._cursors.clear()
        self._since_index = self.size - self.index.floor(self.end_offset)[1]
        self.max_timestamp, self.max_timestamp_offset = newest

    def newest_before(self, offset: int) -> Steps[tuple[int, int]]:
        """(largest timestamp, its batch's base offset) of the batches that end at or before `offset`; -1, -1 if none.

        Raises LogDamagedError, OSError.
        """
        end, size = self.cut_point(offset)
        known = self.times.largest_before(end)
        newest = known or (-1, -1)
        start = self.index.floor(newest[1])[1] if known else 0
        batches = scan_batches(self.file, start, size, verify=False)
        for count, (_, header) in enumerate(batches, 1):
            if not count % BATCHES_PER_STEP:
                yield
            if header.max_timestamp > newest[0]:
                newest = header.max_timestamp, header.base_offset
        return newest

    async def save_indexes(self) -> None:
        """Write both index files, so that the next start need not scan. Raises OSError."""
        if self._index is None or self._times is None:
            return
        if self.max_timestamp >= 0:
            self._times.append(self.max_timestamp, self.max_timestamp_offset)
        size = self.size.to_bytes(8, "big") + self.end_offset.to_bytes(8, "big")
        append_ms = self.last_append_ms.to_bytes(8, "big")
        index, times = size + self._index.encode(), append_ms + self._times.encode()
        await checkpoint.write(self.disk, self.side_path("index"), index, INDEX_VERSION)
        await checkpoint.write(self.disk, self.side_path("timeindex"), times, INDEX_VERSION)

    def release_indexes(self) -> None:
        """Let the indexes go from memory; they come back from their files when needed."""
        self._index = self._times = None
        self._cursors.clear()

    def load_saved(self) -> bool:
        """Take end, size and indexes from the index files; False when they are missing, damaged or of another size.

        Indexes can be rebuilt from the data, so a damaged one is no error and nothing is lost with it.
        """
        try:
            offsets = checkpoint.read(self.disk, self.side_path("index"))
            times = checkpoint.read(self.disk, self.side_path("timeindex"))
            if offsets is None or times is None or len(offsets[1]) < 16 or len(times[1]) < 8:
                return False
            size = int.from_bytes(offsets[1][:8], "big")
            if size > self.file.size or {offsets[0], times[0]} != {INDEX_VERSION}:
                return False
            index = OffsetIndex.decode(self.base_offset, offsets[1][16:], size)
            time_index = TimeIndex.decode(self.base_offset, times[1][8:])
        except UnreadableFileError:
            return False
        self.size, self.end_offset = size, int.from_bytes(offsets[1][8:16], "big")
        self.last_append_ms = int.from_bytes(times[1][:8], "big")
        self._index, self._times = index, time_index
        self.max_timestamp, self.max_timestamp_offset = time_index.last or (-1, -1)
        self._since_index = size - index.floor(self.end_offset)[1]
        return True

    def _load(self) -> None:
        end_offset, size, appended = self.end_offset, self.size, self.last_append_ms
        if self.load_saved() and (self.end_offset, self.size) == (end_offset, size):
            return
        damage = self.rescan(size)
        self.last_append_ms = appended
        if damage is not None and self.size < size:
            raise self._damaged(damage)
        self.end_offset, self.size = end_offset, size

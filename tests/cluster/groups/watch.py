"""What must hold of a group whatever happens (G1, G2, G3), told of everything that the coordinator says and keeps."""

from collections.abc import Iterable

from cluster.groups.records import GroupMetadataKey, GroupRecord, OffsetCommitKey, OffsetCommitValue


class Watch:
    """Positions are of partitions 0.. of one topic. A process is told apart by its member id."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, int] = {}
        self._kept: dict[int, int] = {}
        self._owners: dict[int, dict[int, str]] = {}
        self._holder: dict[int, str] = {}
        self._newest_generation = -1

    def appended(
        self,
        records: Iterable[GroupRecord],
        before: Iterable[GroupRecord],
        *,
        wall_ms: int,
        retention_ms: int,
        has_members: bool,
    ) -> None:
        """Records come into the log after those `before`, kept or not."""
        for key, value in records:
            if not isinstance(key, OffsetCommitKey) or value is not None:
                continue
            assert not has_members, f"the position of {key.partition} expires under its readers"
            last = [each.value for each in before if each.key == key][-1]
            if last is None:
                # It expires a second time before the first is committed.
                continue
            assert isinstance(last, OffsetCommitValue)
            age_ms = wall_ms - last.commit_timestamp
            assert age_ms >= retention_ms, f"a position of {key.partition} expires at {age_ms} ms"

    def kept(self, records: Iterable[GroupRecord]) -> None:
        """Records are committed."""
        for key, value in records:
            if isinstance(key, GroupMetadataKey):
                if value is None:
                    # The group begins anew, at generation 1.
                    self._owners.clear()
                    self._newest_generation = -1
                continue
            assert isinstance(key, OffsetCommitKey), "a classic group keeps nothing else"
            if value is None:
                self.acknowledged.pop(key.partition, None)
                self._kept.pop(key.partition, None)
                continue
            assert isinstance(value, OffsetCommitValue)
            before = self._kept.get(key.partition, -1)
            assert value.offset >= before, f"{key.partition} moves from {before} to {value.offset}"
            self._kept[key.partition] = value.offset

    def assigned(
        self, member_id: str, process: str, generation: int, shares: Iterable[int]
    ) -> None:
        """A member is told what it reads. process: its instance id if it has one, else its member id."""
        self._newest_generation = max(self._newest_generation, generation)
        assert generation == self._newest_generation, "an older generation is assigned again"
        owners = self._owners.setdefault(generation, {})
        for each in shares:
            owner = owners.setdefault(each, process)
            assert owner == process, f"{each} belongs to {owner} and {process} in {generation}"
            self._holder[each] = member_id

    def accepted(self, member_id: str, generation: int, offsets: dict[int, int]) -> None:
        """A commit is acknowledged."""
        if member_id:
            assert generation == self._newest_generation, f"a commit of generation {generation}"
        for partition, offset in offsets.items():
            holder = self._holder.get(partition)
            assert member_id in ("", holder), f"{member_id} commits {partition} of {holder}"
            before = self.acknowledged.get(partition, -1)
            assert offset >= before, f"{partition} goes from {before} back to {offset}"
            self.acknowledged[partition] = offset

    def seen(self, positions: dict[int, int]) -> None:
        """What the coordinator has: never less than it has acknowledged."""
        for partition, offset in self.acknowledged.items():
            found = positions.get(partition, -1)
            assert found >= offset, f"{partition} was acknowledged at {offset} and is at {found}"

"""Committed offsets of the groups of one coordinator. Pure.

What is read here was committed in the log: an answer is never taken back by a failover (KAFKA-5600).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cluster.groups.records import GroupRecord, OffsetCommitKey, OffsetCommitValue
from cluster.groups.step import Step


class Position(NamedTuple):
    """A committed position. committed_wall_ms, expires_wall_ms: since the epoch; -1: as the group's retention says."""

    offset: int
    leader_epoch: int
    metadata: str
    committed_wall_ms: int
    expires_wall_ms: int = -1


class TopicPartition(NamedTuple):
    """A partition by its topic's name, as the log of offsets has it."""

    topic: str
    partition: int


class Offsets:
    """group -> partition -> position."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[TopicPartition, Position]] = {}
        # group -> positions that are on their way into the log, each with how many times.
        self._coming: dict[str, Counter[TopicPartition]] = {}

    def of(self, group: str) -> Mapping[TopicPartition, Position]:
        """All positions of a group."""
        return self._groups.get(group, {})

    def groups(self) -> Iterable[str]:
        """The groups that have any."""
        return self._groups.keys()

    def replay(self, key: OffsetCommitKey, value: OffsetCommitValue | None) -> None:
        """A record that is committed."""
        where = TopicPartition(key.topic, key.partition)
        if value is None:
            found = self._groups.get(key.group)
            if found is not None:
                found.pop(where, None)
                if not found:
                    del self._groups[key.group]
            return
        self._groups.setdefault(key.group, {})[where] = Position(
            value.offset,
            value.leader_epoch,
            value.metadata,
            value.commit_timestamp,
            value.expire_timestamp,
        )

    def are_coming(self, group: str) -> bool:
        """Whether positions are on their way into the log: then what is known is out of date."""
        return group in self._coming

    def commit(self, group: str, positions: Mapping[TopicPartition, Position]) -> Step:
        """Keep positions. They can be read once they are committed."""
        records = [
            GroupRecord(
                OffsetCommitKey(group=group, topic=where.topic, partition=where.partition),
                OffsetCommitValue(
                    offset=position.offset,
                    leader_epoch=position.leader_epoch,
                    metadata=position.metadata,
                    commit_timestamp=position.committed_wall_ms,
                    expire_timestamp=position.expires_wall_ms,
                ),
            )
            for where, position in positions.items()
        ]
        self._coming.setdefault(group, Counter()).update(positions.keys())

        def came(_: object = None) -> Step:
            left = self._coming.pop(group)
            left.subtract(positions.keys())
            if left := +left:
                self._coming[group] = left
            return Step()

        return Step(records=records, kept=came, lost=came)

    def delete(self, group: str, partitions: Iterable[TopicPartition]) -> Step:
        """OffsetDelete, of partitions that may go."""
        known = self.of(group)
        return Step(records=[tombstone(group, each) for each in partitions if each in known])

    def forget(self, topics: Iterable[str]) -> Step:
        """Topics are gone, and so are all positions in them: a new topic of that name is read from its beginning.

        A position on its way comes before its tombstone, one in the new topic after it.
        """
        gone = frozenset(topics)
        records = []
        for group in dict.fromkeys([*self._groups, *self._coming]):
            known = dict.fromkeys([*self.of(group), *self._coming.get(group, ())])
            records += [tombstone(group, where) for where in known if where.topic in gone]
        return Step(records=records)

    def expired(
        self,
        group: str,
        *,
        wall_ms: int,
        retention_ms: int,
        since_wall_ms: int,
        subscribed: frozenset[str],
    ) -> list[GroupRecord]:
        """Tombstones for the positions of a group that have outlived their use (KIP-211).

        since_wall_ms: since when nobody reads; -1: from each commit on, which is right for groups without members ever.
        subscribed: topics that are read at the moment, whose positions stay.
        """
        gone = []
        for where, position in self.of(group).items():
            if where.topic in subscribed:
                continue
            if position.expires_wall_ms >= 0:
                over = position.expires_wall_ms <= wall_ms
            else:
                begin = max(position.committed_wall_ms, since_wall_ms)
                over = begin + retention_ms <= wall_ms
            if over:
                gone.append(tombstone(group, where))
        return gone


def tombstone(group: str, where: TopicPartition) -> GroupRecord:
    """A position taken back."""
    return GroupRecord(
        OffsetCommitKey(group=group, topic=where.topic, partition=where.partition), None
    )

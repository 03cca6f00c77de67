"""Where a group's positions would be moved to: the scenarios of kafka-consumer-groups --reset-offsets. Pure."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import NamedTuple

from ottla.client.errors import ClientError
from ottla.client.records import TopicPartition

_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


class Scenario(Enum):
    """What the positions are moved to."""

    EARLIEST = "to-earliest"
    LATEST = "to-latest"
    CURRENT = "to-current"
    OFFSET = "to-offset"
    SHIFT = "shift-by"
    TIME = "to-datetime"
    FILE = "from-file"


class Move(NamedTuple):
    """One position. before -1: none. note: "" or why it is not exactly what was asked for."""

    group_id: str
    where: TopicPartition
    before: int
    after: int
    note: str = ""


class Known(NamedTuple):
    """A partition: committed -1 for nothing; by_time: the first offset at or after the asked time, -1 for none."""

    committed: int
    start: int
    end: int
    by_time: int = -1


def planned(
    group_id: str,
    scenario: Scenario,
    known: Mapping[TopicPartition, Known],
    *,
    number: int = 0,
    offsets: Mapping[TopicPartition, int] | None = None,
) -> list[Move]:
    """`number`: the offset, or by how much; `offsets`: of the file. Raises ClientError for what cannot be shifted."""
    moves = []
    for where in sorted(known):
        found = known[where]
        match scenario:
            case Scenario.EARLIEST:
                after = found.start
            case Scenario.LATEST:
                after = found.end
            case Scenario.CURRENT:
                after = found.committed if found.committed >= 0 else found.end
            case Scenario.OFFSET:
                after = number
            case Scenario.SHIFT:
                if found.committed < 0:
                    raise ClientError(
                        f"{where.topic}-{where.partition} has no committed offset to shift: use another scenario, or "
                        f"leave this partition out with --topic"
                    )
                after = found.committed + number
            case Scenario.TIME:
                after = found.by_time if found.by_time >= 0 else found.end
            case Scenario.FILE:
                assert offsets is not None
                after = offsets[where]
        moves.append(_within(Move(group_id, where, found.committed, after), found))
    return moves


def _within(move: Move, known: Known) -> Move:
    """No position lies outside of the log."""
    if move.after < known.start:
        note = f"{move.after} is before the start: {known.start} instead"
        return move._replace(after=known.start, note=note)
    if move.after > known.end:
        return move._replace(
            after=known.end, note=f"{move.after} is beyond the end: {known.end} instead"
        )
    return move


def duration_ms(text: str) -> int:
    """ISO 8601: P1DT2H3M4S. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is not like P7D, PT1H30M or P1DT12H (ISO 8601)")
    parts = {name: float(value) for name, value in match.groupdict().items() if value}
    return int(timedelta(**parts).total_seconds() * 1000)


def datetime_ms(text: str) -> int:
    """ISO 8601, UTC without a zone, as Kafka's tool takes it. Raises ValueError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not like 2026-11-23T12:00:00 (ISO 8601)") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp() * 1000)


def exported(moves: Iterable[Move], *, with_group: bool) -> str:
    """CSV without a heading, as Kafka's tool writes it: [group,]topic,partition,offset."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for each in moves:
        row: list[object] = [*each.where, each.after]
        writer.writerow([each.group_id, *row] if with_group else row)
    return out.getvalue()


def imported(text: str, group_ids: list[str]) -> dict[str, dict[TopicPartition, int]]:
    """What `exported` has written, or Kafka's tool; without a group's name it is the only one of `group_ids`.

    Raises ClientError for a line that is none.
    """
    found: dict[str, dict[TopicPartition, int]] = {}
    for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
        if not row:
            continue
        cells = [cell.strip() for cell in row]
        if len(cells) == 3 and len(group_ids) == 1:
            cells.insert(0, group_ids[0])
        try:
            group_id, topic, partition, offset = cells
            found.setdefault(group_id, {})[TopicPartition(topic, int(partition))] = int(offset)
        except ValueError:
            raise ClientError(
                f"line {number}, {','.join(row)!r}, is not topic,partition,offset of one group or "
                f"group,topic,partition,offset"
            ) from None
    return found


def chosen(text: str) -> tuple[str, list[int] | None]:
    """`topic`, or `topic:0,1,2`. Raises ValueError."""
    topic, colon, numbers = text.rpartition(":")
    if not colon:
        return text, None
    try:
        return topic, [int(each) for each in numbers.split(",")]
    except ValueError:
        raise ValueError(f"{text!r} is not like orders or orders:0,1,2") from None

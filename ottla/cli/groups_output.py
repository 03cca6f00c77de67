"""How `ottla groups describe` shows a group; the columns are those of kafka-consumer-groups."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import typer

from ottla.client.group_facts import GroupFacts, MemberFacts, PartitionFacts
from ottla.client.records import TopicPartition


def print_group(facts: GroupFacts, why: list[str], part: str, *, verbose: bool) -> None:
    """One group: a table, and then in words why it does or does not move. part: offsets, members or state."""
    if part == "members":
        _members(facts, verbose=verbose)
    elif part == "state":
        _state(facts)
    else:
        _offsets(facts, verbose=verbose)
    for sentence in why:
        typer.echo(f"{facts.group_id}: {sentence}")
    typer.echo("")


def _state(facts: GroupFacts) -> None:
    more = ["EPOCH", "TARGET-EPOCH"] if facts.is_consumer else []
    _columns(
        ["GROUP", "TYPE", "COORDINATOR", "ASSIGNOR", "STATE", *more, "#MEMBERS", "LAG"],
        [
            (
                facts.group_id,
                facts.kind,
                facts.coordinator,
                facts.assignor or "-",
                facts.state,
                *((facts.epoch, facts.assignment_epoch) if facts.is_consumer else ()),
                len(facts.members),
                # Nothing is known of the lag where nothing was committed.
                facts.lag
                if not facts.partitions or any(each.lag is not None for each in facts.partitions)
                else None,
            )
        ],
    )


def _offsets(facts: GroupFacts, *, verbose: bool) -> None:
    more = ["LEADER-EPOCH", "START-OFFSET", "LEADER"] if verbose else []
    _columns(
        [
            *("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"),
            *more,
            *("CONSUMER-ID", "HOST", "CLIENT-ID"),
        ],
        [
            (
                facts.group_id,
                each.where.topic,
                each.where.partition,
                _known(each.committed),
                _known(each.end),
                each.lag,
                *(
                    (_known(each.leader_epoch), _known(each.start), _known(each.leader))
                    if verbose
                    else ()
                ),
                *_reader(each.member),
            )
            for each in facts.partitions
        ],
    )


def _members(facts: GroupFacts, *, verbose: bool) -> None:
    epoch = ["PROTOCOL", "EPOCH"] if facts.is_consumer else []
    more = ["ASSIGNMENT", *(["TARGET"] if facts.is_consumer else [])] if verbose else []
    _columns(
        [
            *("GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", *epoch),
            *("#PARTITIONS", *more),
        ],
        [
            (
                facts.group_id,
                each.member_id,
                each.instance_id or "-",
                each.host,
                each.client_id,
                *((each.protocol, each.epoch) if facts.is_consumer else ()),
                len(each.partitions),
                *_assignments(each, facts, verbose=verbose),
            )
            for each in facts.members
        ],
    )


def _assignments(member: MemberFacts, facts: GroupFacts, *, verbose: bool) -> tuple[str, ...]:
    if not verbose:
        return ()
    has = _assignment(member.partitions)
    return (has, _assignment(member.target or ())) if facts.is_consumer else (has,)


def _assignment(partitions: Sequence[TopicPartition]) -> str:
    topics: dict[str, list[str]] = {}
    for where in partitions:
        topics.setdefault(where.topic, []).append(str(where.partition))
    return ", ".join(f"{topic}({','.join(found)})" for topic, found in topics.items()) or "-"


def _reader(member: MemberFacts | None) -> tuple[str, str, str]:
    if member is None:
        return "-", "-", "-"
    return member.member_id, member.host, member.client_id


def _columns(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Never folded: scripts read this, and a member's id is long."""
    lines = [list(heads), *(["-" if each is None else str(each) for each in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _known(number: int) -> int | None:
    return number if number >= 0 else None


def as_json(facts: GroupFacts, why: list[str]) -> dict[str, Any]:
    """Everything that is known."""
    read = Counter(each.member.member_id for each in facts.partitions if each.member is not None)
    return {
        "group": facts.group_id,
        "state": facts.state,
        "type": facts.kind,
        "assignor": facts.assignor,
        "epoch": _known(facts.epoch),
        "assignment_epoch": _known(facts.assignment_epoch),
        "coordinator": facts.coordinator,
        "lag": facts.lag,
        "why": why,
        "members": [
            {
                "member_id": each.member_id,
                "group_instance_id": each.instance_id or None,
                "client_id": each.client_id,
                "host": each.host,
                "partitions": read[each.member_id],
                "protocol": each.protocol,
                "epoch": _known(each.epoch),
                "assignment": _names(each.partitions),
                "target": None if each.target is None else _names(each.target),
            }
            for each in facts.members
        ],
        "partitions": [_partition(each) for each in facts.partitions],
    }


def _names(partitions: Sequence[TopicPartition]) -> list[str]:
    return [f"{topic}-{partition}" for topic, partition in partitions]


def _partition(each: PartitionFacts) -> dict[str, Any]:
    return {
        "topic": each.where.topic,
        "partition": each.where.partition,
        "committed": _known(each.committed),
        "commit_timestamp_ms": _known(each.committed_ms),
        "start": _known(each.start),
        "end": _known(each.end),
        "lag": each.lag,
        "leader": _known(each.leader),
        "member_id": each.member.member_id if each.member is not None else None,
    }

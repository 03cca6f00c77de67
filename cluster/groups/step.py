"""What a coordinator's decision comes to: records to keep, and answers that wait until they are kept.

An answer belongs to a `Ticket`, which the shell made for the request. Answers of a step with records go out when its
records are committed in this leader epoch; when they are not, every ticket of the step fails with the cause
(KAFKA-20634: the high watermark of another epoch answers nobody).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cluster.groups.records import GroupRecord
from storage.errors import OttlaError

Ticket = int
"""Stands for one request that waits."""


class Answer(NamedTuple):
    """An answer to one request: a response, or why there is none."""

    ticket: Ticket
    response: Any


@dataclass(slots=True)
class Step:
    """`kept`: what to do to the state once the records are committed, `lost`: when they will not be."""

    records: list[GroupRecord] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    kept: "Callable[[], Step] | None" = None
    lost: "Callable[[OttlaError], Step] | None" = None

    def answer(self, ticket: Ticket, response: Any) -> "Step":
        """Add an answer."""
        self.answers.append(Answer(ticket, response))
        return self

    def extend(self, other: "Step") -> None:
        """Take in a step that keeps nothing."""
        assert not other.records, "steps with records stand for themselves"
        self.answers += other.answers


def when_lost(step: Step, then: "Callable[[OttlaError], Step]") -> None:
    """Do more when a step's records will not be kept; it answers but keeps nothing."""
    before = step.lost
    assert before is not None

    def lost(cause: OttlaError) -> Step:
        after = before(cause)
        after.extend(then(cause))
        return after

    step.lost = lost

"""A member with the classic protocol in ticks of time, eager or cooperative, as real clients are.

An eager one lets everything go before it joins. A cooperative one reads on, lets go what it is not given any more, and
joins again when it has.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from cluster.groups.errors import (
    FencedInstanceIdError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from cluster.groups.reconciliation import NOTHING, AssignedPartition, Assignment
from cluster.groups.step import Ticket
from cluster.groups.subscriptions import known
from cluster.groups.topics import Topics
from storage.errors import ErrorCode, OttlaError
from tests.cluster.groups.bridge_house import REBALANCE_MS, BridgeHouse
from wire.consumer_protocol import ConsumerProtocolSubscription, read

TICK_MS = 250
INTERVAL_MS = 500
TIMEOUT_MS = {"join": REBALANCE_MS + 1_000, "sync": 4_000, "heartbeat": 1_000}


@dataclass
class ClassicClient:
    """has: what it reads; given: what the last sync gave. asks: the kind, ticket and end of a request under way.

    shared_out: the topics that it has shared out as the leader; when they change it joins again.
    """

    name: str
    topics: tuple[str, ...]
    instance: str | None
    cooperative: bool
    rng: random.Random = field(repr=False)
    running: bool = False
    member_id: str = ""
    generation: int = -1
    has: Assignment = NOTHING
    given: Assignment = NOTHING
    joined: bool = False
    next_ms: int = 0
    free_at_ms: int | None = None
    paused_until_ms: int = 0
    asks: tuple[str, Ticket, int] | None = None
    shared_out: Topics | None = None

    @property
    def protocols(self) -> tuple[str, ...]:
        """What it offers."""
        return ("cooperative-sticky",) if self.cooperative else ("range",)

    def start(self, now_ms: int) -> None:
        """A new process."""
        self.running, self.member_id, self.next_ms, self.asks = True, "", now_ms, None
        self._lose_all()

    def stop(self) -> None:
        """Without a word."""
        self.running = False
        self._lose_all()

    def _lose_all(self) -> None:
        self.has = self.given = NOTHING
        self.generation, self.joined, self.free_at_ms = -1, False, None

    def step(self, house: BridgeHouse, now_ms: int, lost: bool) -> None:
        """One tick. lost: whether the network loses what it says or hears now."""
        if self.free_at_ms is not None:
            self._let_go(now_ms)
            return
        if self.asks is not None:
            self._listen(house, now_ms, lost)
        if self.joined and self.shared_out not in (None, house.topics):
            self.joined = False
        if self.asks is None and self.free_at_ms is None and self.next_ms <= now_ms:
            if self.joined:
                ticket = house.ask_heartbeat(self.member_id, self.generation, self.instance)
                self._wait("heartbeat", ticket, now_ms, lost)
            else:
                self._join(house, now_ms, lost)

    def _wait(self, kind: str, ticket: Ticket, now_ms: int, lost: bool) -> None:
        self.asks = (kind, -1 if lost else ticket, now_ms + TIMEOUT_MS[kind])

    def _let_go(self, now_ms: int) -> None:
        assert self.free_at_ms is not None
        if self.free_at_ms > now_ms:
            return
        self.free_at_ms = None
        if self.joined:
            # Cooperative, after a sync: what it was not given is gone; it says so by joining again.
            self.has, self.joined = self.given, False
        else:
            self.has = NOTHING
        self.next_ms = now_ms

    def _join(self, house: BridgeHouse, now_ms: int, lost: bool) -> None:
        if self.has and not self.cooperative:
            self.free_at_ms = now_ms + self.rng.choice((0, TICK_MS, 5 * TICK_MS))
            return
        ticket = house.ask_join(
            self.member_id,
            owned=self.has,
            topics=self.topics,
            instance=self.instance,
            protocols=self.protocols,
            generation=self.generation if self.has else -1,
        )
        self._wait("join", ticket, now_ms, lost)

    def _listen(self, house: BridgeHouse, now_ms: int, lost: bool) -> None:
        assert self.asks is not None
        kind, ticket, until_ms = self.asks
        answer = house.answers.pop(ticket, None)
        if answer is None or lost:
            if until_ms <= now_ms or answer is not None:
                self.asks, self.next_ms = None, now_ms + TICK_MS
                self.joined = self.joined and kind == "heartbeat"
            return
        self.asks = None
        if isinstance(answer, OttlaError):
            self._refused(answer, kind, now_ms)
        elif kind == "join":
            self._has_joined(house, answer, now_ms, lost)
        elif kind == "sync":
            self._was_given(house.given(answer), now_ms)
        else:
            self.next_ms = now_ms + INTERVAL_MS

    def _refused(self, error: OttlaError, kind: str, now_ms: int) -> None:
        self.next_ms = now_ms + TICK_MS
        if isinstance(error, RebalanceInProgressError):
            self.joined = False
        elif isinstance(error, IllegalGenerationError):
            self._lose_all()
        elif isinstance(error, UnknownMemberIdError):
            self._lose_all()
            self.member_id = ""
        elif isinstance(error, FencedInstanceIdError):
            self.stop()
        elif kind != "heartbeat":
            self.joined = False

    def _has_joined(self, house: BridgeHouse, answer: Any, now_ms: int, lost: bool) -> None:
        self.member_id = answer.member_id
        if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            self.next_ms = now_ms
            return
        assert answer.error_code == ErrorCode.NONE, answer
        self.generation = answer.generation_id
        shares, self.shared_out = {}, None
        if answer.leader == self.member_id and not answer.skip_assignment:
            shares, self.shared_out = self._assign(house, answer), house.topics
        ticket = house.ask_sync(
            self.member_id, self.generation, shares, self.instance, answer.protocol_name
        )
        self._wait("sync", ticket, now_ms, lost)

    def _was_given(self, partitions: Assignment, now_ms: int) -> None:
        self.given, self.joined, self.next_ms = partitions, True, now_ms + INTERVAL_MS
        if self.has - partitions:
            self.free_at_ms = now_ms + self.rng.choice((0, TICK_MS, 5 * TICK_MS))
        else:
            self.has = partitions

    @staticmethod
    def _assign(house: BridgeHouse, answer: Any) -> dict[str, Assignment]:
        """A leader's share-out: what somebody else may still read is given to nobody yet."""
        wants = {
            each.member_id: read(ConsumerProtocolSubscription, each.metadata)
            for each in answer.members
        }
        owner: dict[AssignedPartition, str] = {}
        # What was said last counts, but who says something older may be reading still.
        for member, wanted in sorted(wants.items(), key=lambda each: each[1].generation_id):
            owner |= dict.fromkeys(known(wanted.owned_partitions, house.topics), member)
        shares: dict[str, set[AssignedPartition]] = {each: set() for each in wants}
        loads: Counter[str] = Counter()
        for topic_id, count in house.topics.partitions(
            sorted({name for each in wants.values() for name in each.topics})
        ).items():
            name = house.topics.name(topic_id)
            who = sorted(each for each in wants if name in wants[each].topics)
            for number in range(count):
                partition = AssignedPartition(topic_id, number)
                least = min(who, key=lambda each: (loads[each], each))
                loads[least] += 1
                if owner.get(partition, least) == least:
                    shares[least].add(partition)
        return {each: frozenset(found) for each, found in shares.items()}

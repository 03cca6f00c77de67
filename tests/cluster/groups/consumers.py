"""A consumer as real ones are: it joins, assigns when it leads, reads on, commits, and minds what it hears."""

import random
import struct
from collections.abc import Mapping
from typing import Any, Protocol

from storage.errors import ErrorCode, OttlaError

HEARTBEAT_MS = 3_000
BACKOFF_MS = 100
SUBSCRIPTION = struct.pack(">hih1si", 0, 1, 1, b"t", -1)

Request = Mapping[str, Any]
GONE = (ErrorCode.UNKNOWN_MEMBER_ID,)
AGAIN = (ErrorCode.ILLEGAL_GENERATION, ErrorCode.REBALANCE_IN_PROGRESS)


class World(Protocol):
    """What a consumer needs of the simulation."""

    partitions: int

    def ask(self, consumer: "Consumer", kind: str, request: Request) -> None: ...

    def wake(self, consumer: "Consumer", after_ms: int) -> None: ...

    def fenced(self, consumer: "Consumer") -> None: ...


class Consumer:
    """Answers of an older `life` are not heard any more; requests on an older `connection` get nowhere."""

    def __init__(self, world: World, rng: random.Random, name: str, instance: str | None) -> None:
        self.world, self.rng, self.name, self.instance = world, rng, name, instance
        self.told_first = rng.random() < 0.7
        self.life = self.connection = 0
        self.paused_until_ms = 0
        self.up = False
        self.reads = False
        self.member_id = ""
        self.generation = -1
        self.positions: dict[int, int] = {}
        self.commits = 0
        self._last_commit: dict[str, Any] = {}

    def start(self) -> None:
        """A new process."""
        self.life += 1
        self.up, self.member_id = True, ""
        self._join()

    def die(self) -> None:
        """Without a word."""
        self.life += 1
        self.up = self.reads = False

    def leave(self) -> None:
        """As a consumer that is closed; a static one says nothing."""
        if self.instance is None and self.member_id:
            self._ask("leave", {})
        self.die()

    def reconnect(self) -> None:
        """An answer did not come: the connection is given up, and what was under way with it."""
        self.life += 1
        self.connection += 1
        if self.reads:
            self.world.wake(self, BACKOFF_MS)
        else:
            self._join()

    def woken(self) -> None:
        """It is time to do something."""
        if not self.up:
            return
        if not self.reads:
            self._join()
            return
        if self.positions and self.rng.random() < 0.6:
            self._commit()
        self._ask("heartbeat", {})
        self.world.wake(self, self.rng.randrange(HEARTBEAT_MS // 2, HEARTBEAT_MS))

    def _ask(self, kind: str, more: Request) -> None:
        base = {"member_id": self.member_id, "generation": self.generation}
        self.world.ask(self, kind, {**base, "instance": self.instance, **more})

    def _join(self) -> None:
        # What a wake-up of before still wants does not matter any more.
        self.life += 1
        self.reads = False
        self._ask("join", {})

    def _commit(self) -> None:
        for each in self.positions:
            self.positions[each] += self.rng.randrange(5)
        identity = {"member_id": self.member_id, "generation": self.generation}
        self._last_commit = {**identity, "offsets": dict(self.positions)}
        self._ask("commit", self._last_commit)

    def _committed_in_this_generation(self) -> dict[int, int]:
        """Its own commits may be under way still when it reads what is committed."""
        last = (self._last_commit.get("member_id"), self._last_commit.get("generation"))
        same = last == (self.member_id, self.generation)
        return self._last_commit["offsets"] if same else {}

    def _commit_again(self) -> None:
        """A part of the program that has not noticed the rebalance: this must be refused (G3)."""
        if self._last_commit.get("generation", self.generation) < self.generation:
            self._ask("commit", self._last_commit)

    def answered(self, kind: str, response: Any) -> None:
        """An answer to what it asked in this life."""
        if isinstance(response, OttlaError):
            self._refused(kind, response.code)
        elif kind == "join":
            self._joined(response)
        elif kind == "sync":
            self._ask("fetch", {"partitions": tuple(response.assignment)})
        elif kind == "fetch":
            mine = self._committed_in_this_generation()
            self.positions = {each: max(at, mine.get(each, 0)) for each, at in response.items()}
            self.reads = True
            if self.rng.random() < 0.2:
                self._commit_again()
            self.world.wake(self, 1)
        elif kind == "commit":
            self.commits += 1

    def _refused(self, kind: str, code: ErrorCode) -> None:
        if code is ErrorCode.FENCED_INSTANCE_ID:
            self.die()
            self.world.fenced(self)
        elif code in GONE:
            self.member_id = ""
            self._join()
        elif code in AGAIN and kind in ("heartbeat", "commit", "sync"):
            if kind == "heartbeat" and self.positions:
                # What was read so far is committed before the partitions go.
                self._commit()
            self._join()
        elif kind in ("join", "sync", "fetch"):
            self.life += 1
            self.reads = False
            self.world.wake(self, BACKOFF_MS)

    def _joined(self, response: Any) -> None:
        self.member_id = response.member_id
        if response.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            self._ask("join", {})
            return
        assert response.error_code == 0, response
        self.generation = response.generation_id
        self._ask("sync", {"assignments": self._assign(response)})

    def _assign(self, response: Any) -> dict[str, bytes]:
        if response.leader != self.member_id or response.skip_assignment:
            return {}
        members = sorted(each.member_id for each in response.members)
        return {
            member: bytes(range(number, self.world.partitions, len(members)))
            for number, member in enumerate(members)
        }

"""What the programs of this folder share: the list of things, and the records that it sends and expects back."""

import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any, NamedTuple

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
THINGS = {
    "idempotent producer": "idempotent",
    "group: shares and rebalances": "group",
    "commit: sync, async, given": "commit",
    "seek by timestamp": "by_timestamp",
    "list offsets": "list_offsets",
    "describe and alter configs": "configs",
    "list, describe, delete groups": "groups",
    "delete records": "delete_records",
    "delete topics": "delete_topics",
    "unknown topic: made, or refused": "unknown_topic",
    "big record": "big",
    "record too large": "too_big",
}
PARTITIONS = 4
LIMIT_S = 30.0
BIG = 900_000
TOO_BIG = 1_200_000
# A moment long ago, so that a timestamp that was made on the way is noticed; a second between records.
FIRST_MS = 1_600_000_000_000
STEP_MS = 1_000


class Sent(NamedTuple):
    """A record as it is sent and must come back. Header keys repeat, a header may be empty, a key may be missing."""

    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int


def records(count: int = 200) -> list[Sent]:
    """Different ones, in order."""
    return [
        Sent(
            None if number % 3 == 0 else b"key-%d" % number,
            b"%d:" % number + b"value " * (number % 50),
            [("number", b"%d" % number), ("number", b"again"), ("empty", b"")],
            FIRST_MS + number * STEP_MS,
        )
        for number in range(count)
    ]


def same(found: object, expected: object, what: str = "") -> None:
    """Raises AssertionError that shows both, cut short."""
    if found != expected:
        raise AssertionError(f"{what}: found {found!s:.300}, expected {expected!s:.300}")


def until(deadline_s: float, what: str) -> None:
    """Raises AssertionError when it is past; for loops that poll."""
    if time.monotonic() > deadline_s:
        raise AssertionError(f"not in time: {what}")


def unique(client: str) -> str:
    """A prefix for the names of topics and groups."""
    return f"{client}-{time.time_ns() // 1000}"


def ask_to_kill_the_leader(topic: str) -> None:
    """Tell who runs this; it kills the leader of partition 0 and answers with a line."""
    print(f"KILL {topic}", flush=True)
    assert sys.stdin.readline().strip() == "killed"


def run(program: Callable[[str], Any]) -> None:
    """`python -m ... BOOTSTRAP [failover]`: a line a thing, exit code 1 when one failed.

    `program` has a method for each thing, plain or a coroutine function, and `codec(codec)`; or things() of its own.
    """
    made = program(sys.argv[1])
    if sys.argv[2:] == ["failover"]:
        things = {"failover: once and in order": made.failover}
    elif hasattr(made, "things"):
        things = made.things()
    else:
        things = {f"produce and consume: {each}": partial(made.codec, each) for each in CODECS}
        things |= {name: getattr(made, method) for name, method in THINGS.items()}
    results = [_passes(name, thing) for name, thing in things.items()]
    sys.exit(0 if all(results) else 1)


def _passes(name: str, thing: Callable[[], Any]) -> bool:
    try:
        done = thing()
        if isawaitable(done):
            asyncio.run(_finish(done))
    except Exception as error:  # noqa: BLE001 - told, and counted
        print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
        traceback.print_exc()
        return False
    else:
        print(f"PASS {name}", flush=True)
    return True


async def _finish(done: Awaitable[None]) -> None:
    await done

"""The topics that there are, as KIP-848 groups look at them: by name, by regular expression, and by a hash. Pure."""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

import re2

from cluster.groups.errors import InvalidRegularExpressionError
from kraft.metadata.image import TopicImage

REGEX_BYTES_MAX = 10_000
REGEX_MEMORY_MAX = 1 << 20
REGEXES_MAX = 256
"""As many are remembered: a member may come with another one in each heartbeat, and topics may never change."""
_PART = struct.Struct(">16sI")


class Topics:
    """One state of the metadata; `offset` is its place in the metadata log. Equal states are the same object."""

    def __init__(self, by_name: Mapping[str, TopicImage], offset: int = 0) -> None:
        self.by_name = by_name
        self.offset = offset
        self._matched: dict[str, tuple[str, ...]] = {}
        self._names: dict[UUID, str] | None = None

    def topic_id(self, name: str) -> UUID | None:
        """None: there is no such topic (yet)."""
        found = self.by_name.get(name)
        return None if found is None else found.topic_id

    def name(self, topic_id: UUID) -> str | None:
        """None: there is no such topic any more."""
        if self._names is None:
            self._names = {each.topic_id: name for name, each in self.by_name.items()}
        return self._names.get(topic_id)

    def gone_since(self, before: "Topics") -> list[str]:
        """Names of topics that there were before and are not now, though there may be others of these names."""
        return [
            name
            for name, old in before.by_name.items()
            if (now := self.by_name.get(name)) is not old
            and (now is None or now.topic_id != old.topic_id)
        ]

    def partitions(self, names: Iterable[str]) -> dict[UUID, int]:
        """How many partitions those of these topics have that exist."""
        found = (self.by_name.get(each) for each in names)
        return {each.topic_id: len(each.partitions) for each in found if each is not None}

    def matching(self, regex: str) -> tuple[str, ...]:
        """Names that a regular expression matches from end to end, sorted. Raises InvalidRegularExpressionError."""
        found = self._matched.get(regex)
        if found is None:
            pattern = compiled(regex)
            found = tuple(sorted(each for each in self.by_name if pattern.fullmatch(each)))
            if len(self._matched) >= REGEXES_MAX:
                del self._matched[next(iter(self._matched))]
            self._matched[regex] = found
        return found

    def metadata_hash(self, names: Iterable[str]) -> int:
        """Changes when one of these topics comes, goes, is made anew or grows. 0: none of them exists."""
        digest = hashlib.blake2b(digest_size=8)
        some = False
        for name in sorted(set(names)):
            found = self.by_name.get(name)
            if found is not None:
                some = True
                digest.update(_PART.pack(found.topic_id.bytes, len(found.partitions)))
        return int.from_bytes(digest.digest(), "big", signed=True) if some else 0


@lru_cache(maxsize=REGEXES_MAX)
def compiled(regex: str) -> Any:
    """An RE2 pattern: linear in the text, whatever a client sends. Raises InvalidRegularExpressionError."""
    if len(regex.encode()) > REGEX_BYTES_MAX:
        raise InvalidRegularExpressionError(
            f"a regular expression of {len(regex)} characters; {REGEX_BYTES_MAX} bytes are taken"
        )
    options = re2.Options()
    options.log_errors = False
    options.max_mem = REGEX_MEMORY_MAX
    try:
        return re2.compile(regex, options=options)
    except re2.error as error:
        raise InvalidRegularExpressionError(
            f"{regex!r} is no regular expression of RE2: {error}"
        ) from None

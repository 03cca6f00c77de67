"""Which names a topic may have: Kafka's rules."""

import re
from collections.abc import Iterable, Mapping

from kraft.metadata.errors import InvalidTopicNameError

MAX_NAME_LENGTH = 249
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+")


def check_topic_name(name: str) -> None:
    """Raises InvalidTopicNameError saying which rule the name breaks."""
    problem = _problem(name)
    if problem:
        shown = name if len(name) <= MAX_NAME_LENGTH else f"{name[:40]}..."
        raise InvalidTopicNameError(f"topic name {shown!r} is invalid: {problem}")


def _problem(name: str) -> str:
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it is '.' or '..'"
    if len(name) > MAX_NAME_LENGTH:
        return f"it has {len(name)} characters, at most {MAX_NAME_LENGTH} are allowed"
    if not _LEGAL.fullmatch(name):
        return "only ASCII letters, digits, '.', '_' and '-' are allowed"
    return ""


def collision_key(name: str) -> str:
    """Names of one key collide: metrics and files of tools write '.' as '_'."""
    return name.replace(".", "_")


def collision_keys(names: Iterable[str]) -> dict[str, str]:
    """Collision key -> a name that has it."""
    return {collision_key(name): name for name in names}


def check_collision(name: str, taken: Mapping[str, str]) -> None:
    """Raises InvalidTopicNameError when `name` differs from a taken one only in '.' and '_'."""
    other = taken.get(collision_key(name), name)
    if other != name:
        raise InvalidTopicNameError(
            f"topic name {name!r} collides with the topic {other!r}: they differ only in '.' and '_'"
        )

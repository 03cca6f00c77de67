"""Configuration keys made from msgspec Structs: parsing, ranges in words, the nearest key to a wrong one.

A field `min_insync_replicas: Annotated[int, Meta(ge=1, description=...)] = 1` is the key `min.insync.replicas`. Its
type and Meta are the validation, its description the documentation, its default the default.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from kraft.metadata.errors import InvalidConfigError

INT64_MAX = 2**63 - 1
INT32_MAX = 2**31 - 1


def dotted(field: str) -> str:
    """A field's name as a key: `retention_ms` is `retention.ms`."""
    return field.replace("_", ".")


class Definition(Struct, frozen=True):
    """One configuration key."""

    key: str
    field: str
    type: Any
    default: Any
    documentation: str
    minimum: float | None = None
    maximum: float | None = None

    def parse(self, text: str) -> Any:
        """The typed value of a text. Raises InvalidConfigError naming the key, the value and what is allowed."""
        try:
            return msgspec.convert(text.strip(), self.type, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidConfigError(f"{self.key}={text!r}: must be {self.allowed}") from error

    @property
    def default_text(self) -> str:
        """The default as it would be written in a file."""
        return as_text(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        plain = get_args(self.type)[0] if get_origin(self.type) is Annotated else self.type
        if get_origin(plain) is Literal:
            return "one of " + ", ".join(get_args(plain))
        if plain is bool:
            return "true or false"
        noun = {int: "a whole number", float: "a number", str: "text"}[plain]
        return noun + self._range

    @property
    def _range(self) -> str:
        low, high = self.minimum, self.maximum
        if high in (None, INT64_MAX):
            return "" if low is None else f" of at least {low}"
        return f" up to {high}" if low is None else f" from {low} to {high}"


def as_text(value: object) -> str:
    """A typed value as Kafka's tools write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def definitions(struct: type[Struct]) -> dict[str, Definition]:
    """The keys of a Struct, in the order of its fields."""
    hints = get_type_hints(struct, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(struct):
        hint = hints[field.name]
        meta = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Meta)), Meta())
        key = field.encode_name
        found[key] = Definition(
            key,
            field.name,
            hint,
            field.default,
            meta.description or "",
            meta.ge,
            meta.le,
        )
    return found


def lookup(known: Mapping[str, Definition], key: str, what: str) -> Definition:
    """The definition of a key. Raises InvalidConfigError naming the nearest key; `what` is e.g. `topic`."""
    found = known.get(key)
    if found is None:
        raise InvalidConfigError(f"unknown {what} configuration {key!r}{nearest(key, known)}")
    return found


def nearest(key: str, known: Iterable[str]) -> str:
    """Words that name the known key most like `key`, or all of them when none is."""
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(names)}"

"""Writes `wire/messages/`: one module an API, its classes covering all versions at once (`make wire`).

kio (Kafka's own schemas as Python classes, one a version) is the source. Where Kafka counts in milliseconds the name
says so again, as in Kafka's documents.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from kio.index import load_payload_module
from kio.schema.index import PayloadEntityType, api_key_map, schema_name_map
from kio.serial._introspect import (
    EntityField,
    EntityTupleField,
    classify_field,
    get_field_tag,
    get_schema_field_type,
    is_optional,
)
from kio.static.constants import EntityType

from wire.api_versions import MESSAGES

FOLDER = Path(__file__).parent / "messages"
KINDS = {
    "error_code": "int16",
    "timedelta_i32": "int32",
    "timedelta_i64": "int64",
    "datetime_i64": "int64",
}
TYPES = {
    "bool": "bool",
    "bytes": "bytes",
    "records": "bytes",
    "string": "str",
    "uuid": "UUID",
    "float64": "float",
}
ZEROS = {"bool": "False", "bytes": 'b""', "str": '""', "UUID": "UUID(int=0)", "float": "0.0"}


class Seen(NamedTuple):
    """A field as one version has it."""

    name: str
    kind: str
    nullable: bool
    tag: int
    array: bool
    item: str
    default: Any


class Merged:
    """A field over all versions."""

    def __init__(self, seen: Seen, version: int) -> None:
        self.seen = seen
        self.since = self.until = version
        self.nullable_since = version if seen.nullable else -1

    def add(self, seen: Seen, version: int) -> None:
        """The field in a later version."""
        old = self.seen
        same = (old.kind, old.tag, old.array, old.item) == (
            seen.kind, seen.tag, seen.array, seen.item,
        )  # fmt: skip
        assert same, (old, seen)
        assert version == self.until + 1, f"{seen.name} was away before version {version}"
        self.until = version
        if seen.nullable and self.nullable_since < 0:
            self.nullable_since = version
        assert seen.nullable or self.nullable_since < 0, f"{seen.name} is not nullable any more"
        self.seen = seen


class Classes:
    """The classes of one message, parts before the wholes that contain them."""

    def __init__(self) -> None:
        self.fields: dict[str, list[Merged]] = {}
        self._done: set[tuple[str, int]] = set()

    def take(self, entity: type[Any], version: int) -> str:
        """Merge one version of a class and of everything in it."""
        name = entity.__name__
        merged = self.fields.setdefault(name, [])
        if (name, version) in self._done:
            return name
        self._done.add((name, version))
        after = 0
        for field in fields(entity):
            seen = self._look_at(field, version)
            known = next((each for each in merged if each.seen.name == seen.name), None)
            if known is None:
                known = Merged(seen, version)
                merged.insert(after, known)
            else:
                known.add(seen, version)
            after = merged.index(known) + 1
        return name

    def rename(self, old: str, new: str) -> None:
        """Request and response have parts of the same name."""
        self.fields[new] = self.fields.pop(old)
        for merged in self.fields.values():
            for each in merged:
                if each.seen.item == old:
                    each.seen = each.seen._replace(item=new)

    def in_order(self, name: str) -> list[str]:
        """`name` and everything in it, parts first."""
        parts = [each.seen.item for each in self.fields[name] if each.seen.item]
        inner = [part for item in parts for part in self.in_order(item)]
        return list(dict.fromkeys([*inner, name]))

    def _look_at(self, field: Any, version: int) -> Seen:
        shape = classify_field(field)
        tag = get_field_tag(field)
        item, name = "", field.name
        if isinstance(shape, EntityField | EntityTupleField):
            kind = "struct"
            item = self.take(shape.type_, version)
        else:
            raw = get_schema_field_type(field)
            kind = KINDS.get(raw, raw)
            if raw.startswith(("timedelta", "datetime")):
                name = f"{name}_ms"
        # kio makes None of the timestamp -1, which is a number like others here.
        nullable = is_optional(field) and kind != "int64"
        return Seen(
            name, kind, nullable, -1 if tag is None else tag, shape.is_array, item,
            field.default,
        )  # fmt: skip


def default_of(merged: Merged) -> str:
    """The Python source of a field's default."""
    seen = merged.seen
    value = seen.default
    if value is None and merged.nullable_since < 0:
        return "-1"
    if value is MISSING or (seen.array and value is not None):
        if seen.array:
            return "()"
        if merged.nullable_since >= 0:
            return "None"
        if seen.kind == "struct":
            return f"msgspec.field(default_factory={seen.item})"
        return ZEROS.get(TYPES.get(seen.kind, "int"), "0")
    if isinstance(value, timedelta):
        return str(round(value.total_seconds() * 1000))
    if isinstance(value, datetime):
        return str(round(value.timestamp() * 1000))
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, UUID):
        return f"UUID(int={value.int})"
    if isinstance(value, int):
        return str(int(value))
    if seen.kind == "struct":
        return f"msgspec.field(default_factory={seen.item})"
    return repr(value).replace("'", '"')


def annotation_of(merged: Merged) -> str:
    """The Python source of a field's type."""
    seen = merged.seen
    name = seen.item or TYPES.get(seen.kind, "int")
    name = f"tuple[{name}, ...]" if seen.array else name
    return f"{name} | None" if merged.nullable_since >= 0 else name


def class_source(
    name: str, merged: list[Merged], base: str, root: tuple[int, int, int, int] | None
) -> Iterator[str]:
    """One class."""
    yield f"class {name}({base}):"
    yield f'    """Kafka\'s {name}."""'
    yield ""
    for each in merged:
        yield f"    {each.seen.name}: {annotation_of(each)} = {default_of(each)}"
    if merged:
        yield ""
    if root is not None:
        key, first, last, flexible = root
        yield f"    API_KEY: ClassVar[int] = {key}"
        yield f"    VERSIONS: ClassVar[tuple[int, int]] = ({first}, {last})"
        yield f"    FLEXIBLE: ClassVar[int] = {flexible if flexible >= 0 else 'NEVER'}"
    yield "    FIELDS: ClassVar[tuple[Field, ...]] = ("
    for each in merged:
        seen = each.seen
        extra = ""
        if each.nullable_since >= 0:
            extra += f", nullable_since={each.nullable_since}"
        if seen.tag >= 0:
            extra += f", tag={seen.tag}"
        if seen.array:
            extra += ", array=True"
        if seen.item:
            extra += f", item={seen.item}"
        yield f'        Field("{seen.name}", "{seen.kind}", {each.since}, {each.until}{extra}),'
    yield "    )"
    yield ""
    yield ""


def module_source(key: int, first: int, last: int) -> str:
    """One API's module."""
    api = api_key_map[key]
    body: list[str] = []
    taken: set[str] = set()
    kinds: tuple[tuple[PayloadEntityType, str], ...] = (
        (EntityType.request, "Request"),
        (EntityType.response, "Response"),
    )
    for kind, base in kinds:
        classes = Classes()
        flexible, root = -1, ""
        known = [v for v in range(first, last + 1) if v in schema_name_map[api]]
        for version in known:
            module = load_payload_module(key, version, kind)
            entity = next(
                each
                for each in vars(module).values()
                if getattr(each, "__type__", None) is kind and each.__module__ == module.__name__
            )
            root = classes.take(entity, version)
            if entity.__flexible__ and flexible < 0:
                flexible = version
        for name in taken.intersection(classes.fields):
            classes.rename(name, f"Response{name}")
        for name in classes.in_order(root):
            taken.add(name)
            whole = name == root
            body += class_source(
                name,
                classes.fields[name],
                base if whole else "Message",
                (key, known[0], last, flexible) if whole else None,
            )
    text = "\n".join(body)
    imports = ["from typing import ClassVar"]
    if "UUID" in text:
        imports.append("from uuid import UUID")
    if "msgspec." in text:
        imports.append("\nimport msgspec")
    names = [each for each in ("NEVER", "Field", "Message", "Request", "Response") if each in text]
    return (
        f'"""{api}, versions {first} to {last}. Generated by wire/generate.py; not to be edited."""\n\n'
        + "\n".join(imports)
        + f"\n\nfrom wire.schema import {', '.join(names)}\n\n\n"
        + text
    )


def main() -> None:
    """Write all modules."""
    for old in FOLDER.glob("*.py"):
        old.unlink()
    (FOLDER / "__init__.py").write_text(
        '"""The messages, one module an API. Generated by wire/generate.py; not to be edited."""\n'
    )
    for key, (first, last) in sorted(MESSAGES.items()):
        (FOLDER / f"{api_key_map[key]}.py").write_text(module_source(key, first, last))
    subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", str(FOLDER)], check=True)
    subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--quiet", "--fix", str(FOLDER)], check=True
    )


if __name__ == "__main__":
    main()

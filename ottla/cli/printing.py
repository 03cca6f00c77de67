"""How `ottla consume` prints a record."""

import base64
import re
from typing import Any, BinaryIO

import msgspec

from ottla.client.records import ConsumerRecord

_FIELDS = re.compile(r"%[tpoTkvh%]|\\[nt0\\]")
_ESCAPES = {"\\n": b"\n", "\\t": b"\t", "\\0": b"\0", "\\\\": b"\\", "%%": b"%"}


class Printer:
    """`form` is a format of `ottla consume --format`, or "json" for one JSON object a line."""

    def __init__(self, out: BinaryIO, form: str) -> None:
        self._out = out
        self._json = form == "json"
        self._parts = _parse(form)

    def show(self, record: ConsumerRecord) -> None:
        """Print one record and hand it on at once: others read from the pipe."""
        if self._json:
            self._out.write(msgspec.json.encode(_as_json(record)) + b"\n")
        else:
            self._out.write(
                b"".join(part if isinstance(part, bytes) else part(record) for part in self._parts)
            )
        self._out.flush()


def _parse(form: str) -> list[Any]:
    parts: list[Any] = []
    position = 0
    for match in _FIELDS.finditer(form):
        parts.append(form[position : match.start()].encode())
        text = match.group()
        parts.append(_ESCAPES[text] if text in _ESCAPES else _FIELD_VALUES[text])
        position = match.end()
    parts.append(form[position:].encode())
    return parts


def _headers(record: ConsumerRecord) -> bytes:
    return b",".join(key.encode() + b"=" + (value or b"") for key, value in record.headers)


_FIELD_VALUES = {
    "%t": lambda record: record.topic.encode(),
    "%p": lambda record: b"%d" % record.partition,
    "%o": lambda record: b"%d" % record.offset,
    "%T": lambda record: b"%d" % record.timestamp_ms,
    "%k": lambda record: record.key or b"",
    "%v": lambda record: record.value or b"",
    "%h": _headers,
}


def _text(data: bytes | None) -> Any:
    """Text as text; what is not UTF-8 as {"base64": ...}."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _as_json(record: ConsumerRecord) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[key, _text(value)] for key, value in record.headers],
    }

"""Log lines: for people, or one JSON object each. Nobody forges one: what breaks a line, moves a cursor or turns text around is
escaped, and what has no end is cut.
"""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

MAX_CHARS = 16 * 1024
"""Of a message, and of a traceback."""

_HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HARMFUL_BUT_LINE_ENDS = re.compile(_HARMFUL.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
"""Controls (C0, DEL, C1), what Unicode takes for line ends, what sets the direction of text, and halves of characters."""


class Fields(dict[str, Any]):
    """A message of named values: each a field of its own where lines are JSON, JSON behind the head of a line where not."""

    def __str__(self) -> str:
        return as_json(self)


def as_json(values: dict[str, Any]) -> str:
    """One line of JSON that holds these values whatever they are, but for halves of characters: U+FFFD stands for them."""
    try:
        text = msgspec.json.encode(values).decode()
    except UnicodeEncodeError:
        text = msgspec.json.encode({name: _whole(value) for name, value in values.items()}).decode()
    if text.isascii() and "\x7f" not in text:  # JSON has escaped the other controls
        return text
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(text: str, most_chars: int = MAX_CHARS, *, lines: bool = False) -> str:
    """`text` for people; `lines`: it may have several."""
    harmful = _HARMFUL_BUT_LINE_ENDS if lines else _HARMFUL
    return harmful.sub(lambda found: ascii(found[0])[1:-1], cut(text, most_chars))


def cut(text: str, most_chars: int) -> str:
    if len(text) <= most_chars:
        return text
    return f"{text[:most_chars]}... ({len(text)} characters)"


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)
    return value


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = record.msg if isinstance(record.msg, Fields) else None
        line = {
            "time": at.replace("+00:00", "Z"),  # RFC 3339
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": "request" if fields is not None else cut(record.getMessage(), MAX_CHARS),
        }
        if fields is not None:
            line |= fields
        if record.exc_info:
            line["exception"] = cut(self.formatException(record.exc_info), MAX_CHARS)
        if record.stack_info:
            line["stack"] = cut(record.stack_info, MAX_CHARS)
        return as_json(line)


class _ConsoleFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if not isinstance(record.msg, Fields):
            record.message = shown(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return shown(super().formatException(ei), lines=True)


def configure_logging(level: str, style: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonFormatter()
        if style == "json"
        else _ConsoleFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)

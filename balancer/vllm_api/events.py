"""Server-Sent Events in whole bytes: where they end, and what data they carry (WHATWG HTML standard, section 9.2).

Lines end in LF or CRLF; U+2028 and its like are text.
"""

import re
from typing import Any

import msgspec

EVENT_END = re.compile(rb"\r?\n\r?\n")
DONE = b"data: [DONE]\n\n"

_decode = msgspec.json.Decoder().decode


def split(events: bytes) -> tuple[list[bytes], bytes]:
    """Whole events, each with its end; and what has none."""
    found = []
    start = 0
    for end in EVENT_END.finditer(events):
        found.append(events[start : end.end()])
        start = end.end()
    return found, events[start:]


def payload(event: bytes) -> bytes | None:
    """The data of an event: its `data:` lines joined by LF, comments and other fields left out; None without any."""
    lines = [
        line[6:] if line.startswith(b"data: ") else line[5:]
        for line in event.replace(b"\r\n", b"\n").split(b"\n")
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None


def payloads(events: bytes) -> list[bytes]:
    """The data of each event that has any."""
    if events.startswith(b"data: ") and events.endswith(b"\n\n"):
        plain = events[6:-2].split(b"\n\ndata: ")
        # one line of data an event, as nearly all are
        if b"\r" not in events and events.count(b"\n") == 2 * len(plain):
            return plain
    return [data for event in EVENT_END.split(events) if (data := payload(event)) is not None]


def object_in(data: bytes) -> dict[str, Any] | None:
    """The JSON object that some data is, or None: what a replica sends need not be one."""
    try:
        value = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

"""One text field out of a multipart/form-data body (RFC 7578), without decoding the files around it."""

import re
from collections.abc import Iterator

MAX_FIELD_BYTES = 1024
MAX_BOUNDARY_BYTES = 70  # RFC 2046 section 5.1.1

_BOUNDARY = re.compile(r"""boundary=(?:"([^"]+)"|([^\s;,]+))""", re.IGNORECASE)
_NAME = re.compile(rb"""[;\s]name=(?:"([^"]*)"|([^\s;]+))""", re.IGNORECASE)


def form_field(body: bytes, content_type: str, name: str) -> str | None:
    """The first field of that name, or None. Fields may stand in any order around the file."""
    wanted = name.encode()
    for found, start, end in form_parts(body, content_type):
        if found == wanted:
            value = body[start:end]
            return value.decode("utf-8", "replace") if 0 < len(value) <= MAX_FIELD_BYTES else None
    return None


def form_parts(body: bytes, content_type: str) -> Iterator[tuple[bytes, int, int]]:
    """Each part's name, and from where to where its content stands; none, if it is no such form."""
    match = _BOUNDARY.search(content_type)
    if match is None:
        return
    delimiter = b"--" + (match[1] or match[2]).encode("latin-1", "replace")
    if len(delimiter) > MAX_BOUNDARY_BYTES + 2:
        return
    start = body.find(delimiter)
    while start >= 0:
        head_start = start + len(delimiter)
        head_end = body.find(b"\r\n\r\n", head_start)
        if head_end < 0:
            return
        found = _NAME.search(body, head_start, min(head_end, head_start + MAX_FIELD_BYTES))
        start = body.find(b"\r\n" + delimiter, head_end + 2)
        if found:
            begin, end = head_end + 4, start if start >= 0 else len(body)
            yield found[1] or found[2], begin, max(begin, end)
        start = start + 2 if start >= 0 else -1

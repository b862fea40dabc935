"""The body with another model's name in it, and without what was answered here. Every other byte stays as it came.

Whatever parser reads the result finds the new name: of a key that stands twice the last one counts in Python's json and in
msgspec, the first in others, so all are changed. Nested keys of the same name are the prompt's and the tools', and stay.

The spans of the members come from msgspec, which steps over values at the speed of a scan; what it refuses and Python's json
takes (NaN, lone surrogates), and keys that stand twice, are scanned for by a regular expression, which is ten times slower.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec

from balancer.core.request.multipart import form_parts
from balancer.core.tiering.ask import CONSUMED

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY = re.compile(rb'\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*:\s*', re.DOTALL)
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)
_SPACE = re.compile(rb"\s*")
_SPACES = b" \t\r\n"


class _Member(NamedTuple):
    """`start` to `stop`, where the comma or brace is: the key, the value, which ends at `end`, and the space around."""

    key: str
    start: int
    value: int
    end: int
    stop: int


def rewritten(
    body: bytes, model: str, form: str | None = None, consumed: Collection[str] = CONSUMED
) -> bytes:
    """`body`, a JSON object or by its content type `form` a multipart form, with `model` as its model.

    ValueError if it is neither.
    """
    if form is not None and form.startswith("multipart/"):
        return _form(body, form, model.encode())
    encoding = json.detect_encoding(body)
    if encoding != "utf-8":  # json.loads, and so vLLM, reads it
        text = body.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
        return (
            _object(text, model, consumed).decode("utf-8", "surrogatepass").encode(encoding, "surrogatepass")
        )
    return _object(body, model, consumed)


def _object(body: bytes, model: str, consumed: Collection[str]) -> bytes:
    name = json.dumps(model).encode()
    view = memoryview(body)
    begin = stop = body.index(b"{") + 1
    kept: list[bytes | memoryview] = []
    named = False
    for member in _spans(body):
        stop = member.stop
        if member.key == "model":
            kept.append(body[member.start : member.value] + name + body[member.end : stop])
            named = True
        elif member.key not in consumed:
            kept.append(view[member.start : stop])
    if not named:
        kept.insert(0, b'"model": ' + name)
    return b"".join((view[:begin], *_with_commas(kept), view[stop:]))


def _with_commas(kept: list[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    for index, each in enumerate(kept):
        if index:
            yield b","
        yield each


def _spans(body: bytes) -> Iterable[_Member]:
    try:
        lengths = {key: len(memoryview(raw)) for key, raw in _members.decode(body).items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _scanned(body)
    found = []
    at = body.index(b"{") + 1
    for key, length in lengths.items():
        match = _KEY.match(body, at)
        if match is None or _text(match[1]) != key:
            return _scanned(body)  # a key stands twice
        end = match.end() + length
        stop = _behind_space(body, end)
        if body[stop : stop + 1] not in {b",", b"}"}:
            return _scanned(body)
        found.append(_Member(key, at, match.end(), end, stop))
        at = stop + 1
    whole = not found or (body[stop : stop + 1] == b"}" and _behind_space(body, stop + 1) == len(body))
    return found if whole else _scanned(body)


def _scanned(body: bytes) -> Iterator[_Member]:
    at = _behind_space(body, 0)
    if body[at : at + 1] != b"{":
        raise ValueError("no JSON object")
    at += 1
    char = b"{"
    while char != b"}":
        match = _KEY.match(body, at)
        if match is None:
            if char == b"{" and body[_behind_space(body, at) :].startswith(b"}"):
                return
            raise ValueError("no JSON object")
        depth = 0
        for token in _TOKEN.finditer(body, match.end()):
            char, stop = token[0], token.start()
            if not depth and char in {b",", b"}"}:
                break
            depth += (char in {b"[", b"{"}) - (char in {b"]", b"}"})
        else:
            raise ValueError("no whole JSON object")
        end = stop
        while body[end - 1] in _SPACES:
            end -= 1
        yield _Member(_text(match[1]), at, match.end(), end, stop)
        at = stop + 1


def _behind_space(body: bytes, at: int) -> int:
    match = _SPACE.match(body, at)
    assert match is not None  # it matches nothing, too
    return match.end()


def _text(key: bytes) -> str:
    try:
        return str(json.loads(key))
    except ValueError:
        return ""


def _form(body: bytes, content_type: str, model: bytes) -> bytes:
    pieces: list[bytes] = []
    at = 0
    for name, start, end in form_parts(body, content_type):
        if name == b"model":
            pieces += (body[at:start], model)
            at = end
    if not pieces:
        raise ValueError("no form with a model")
    return b"".join((*pieces, body[at:]))

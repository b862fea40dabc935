"""Logs of requests to OpenAI's API, a JSON object a line, replayed word for word.

A line is a body; or an object that holds one under "body" or "request", beside a time and a path if the log has them. OpenAI's
batch files are such lines. Where no path is told, `messages` make a chat and `prompt` a completion.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import inf
from typing import Any
from urllib.parse import urlsplit

import msgspec

from benchmarks.workloads.recorded.lines import Line
from benchmarks.workloads.recorded.request import Request
from benchmarks.workloads.script import CHAT_PATH, COMPLETIONS_PATH, Ask

BODIES = ("body", "request")
_TIMES = ("timestamp", "ts", "created", "time")
_PATHS = ("path", "url", "endpoint")
_ENVELOPE = {*_TIMES, *_PATHS, "custom_id", "method"}
_SET_BY_CLIENT = {"model", "stream", "stream_options"}
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""Times since 1970 from the first number on are in so many parts of a second."""


def openai_log(lines: Iterable[Line]) -> list[Request]:
    return [_request(line) for line in lines]


def _request(line: Line) -> Request:
    told = line.decode(dict[str, Any])
    if str(told.get("method", "POST")).upper() != "POST":
        raise line.wrong(f"method: expected POST, got {told['method']!r}")
    body = _body(line, told)
    time = next((told[name] for name in _TIMES if told.get(name) is not None), None)
    ask = Ask(
        _path(line, told, body),
        {field: value for field, value in body.items() if field not in _SET_BY_CLIENT},
        stream=bool(body.get("stream")),
    )
    return Request(ask, _name(line, told, body), None if time is None else _seconds(line, time))


def _name(line: Line, told: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """What can be sent as a header."""
    for name in (body.get("user"), told.get("custom_id")):
        if isinstance(name, str) and name and name.isascii() and name.isprintable():
            return name
    return f"request {line.number}"


def _body(line: Line, told: Mapping[str, Any]) -> dict[str, Any]:
    place = next((name for name in BODIES if name in told), None)
    if place is None:
        body = {field: value for field, value in told.items() if field not in _ENVELOPE}
    elif isinstance(body := told[place], str):
        try:
            body = msgspec.json.decode(body)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise line.wrong(f"{place}: expected JSON: {error}") from None
    if not isinstance(body, dict) or not {"messages", "prompt", "input"} & body.keys():
        raise line.wrong("expected a request body with messages, prompt or input")
    messages = body.get("messages", [{}])
    if not (isinstance(messages, list) and messages and all(isinstance(each, dict) for each in messages)):
        raise line.wrong("messages: expected a list of objects, at least one")
    return body


def _path(line: Line, told: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    url = next((told[name] for name in _PATHS if told.get(name)), None)
    if url is None:
        if "messages" in body:
            return CHAT_PATH
        if "prompt" in body:
            return COMPLETIONS_PATH
        raise line.wrong(f"expected {', '.join(_PATHS)} or messages or prompt, to tell what route it is for")
    try:
        path = urlsplit(url).path if isinstance(url, str) else ""
    except ValueError:
        path = ""
    if not path.startswith("/") or not path.isprintable() or not path.isascii() or " " in path:
        raise line.wrong(f"expected a path such as {CHAT_PATH}, got {url!r}")
    return path


def _seconds(line: Line, time: object) -> float:
    for read in (_number, _instant):
        try:
            return read(time)
        except (TypeError, ValueError, OverflowError):
            continue
    raise line.wrong(f"expected seconds or an ISO 8601 time, got {time!r}")


def _number(time: Any) -> float:
    number = float(time)
    if isinstance(time, bool) or not 0 <= number < inf:
        raise ValueError(time)
    return number / next((parts for least, parts in _UNITS if number >= least), 1)


def _instant(time: Any) -> float:
    when = datetime.fromisoformat(time)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()

"""What became of one request, by what its client saw and what it ought to have seen. Pure.

The order of questions is the order of harm: wrong text first, whatever came after it; then how the answer ended. An
answer that ends cleanly is whole or it is truncated silently: there is nothing between.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from benchmarks.load.connection import End


class Outcome(StrEnum):
    ANSWERED = "answered"
    RESUMED = "resumed"  # whole, with a comment that tells of another replica
    FAILED = "failed"  # with an error that says so
    UNCLEAR = (
        "unclear"  # failed visibly, without an error in OpenAI's shape: a lost connection, a page of HTML
    )
    TRUNCATED = "truncated"  # a clean end, and not the whole text
    HUNG = "hung"
    WRONG = "wrong"  # text twice, text that was never generated, or a seam that shows
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Truth:
    """The right answer. Token counts are None where nobody knows them."""

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """`status` is None where no head came."""

    end: End
    status: int | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    why: str = ""


class _Wrong(Exception):
    pass


@dataclass(slots=True)
class _Told:
    """What an answer said, as far as it came."""

    text: str = ""
    finish_reason: str | None = None
    done: bool = False
    error: str | None = None
    resumed: bool = False
    usage: dict[str, Any] | None = None
    roles: int = 0
    heads: set[tuple[object, ...]] = field(default_factory=set)


def judge(truth: Truth, seen: Seen, *, stream: bool) -> Verdict:
    if seen.status is None or (seen.status != 200 and seen.end is not End.COMPLETE):
        return _unanswered(seen, "no answer came")
    if seen.status != 200:
        message = _error_message(_decoded(seen.body))
        if message is None:
            return Verdict(Outcome.UNCLEAR, f"status {seen.status}, not an OpenAI error")
        return Verdict(Outcome.FAILED, f"{seen.status} {message}")
    try:
        told = _read_stream(seen.body) if stream else _read_whole(seen)
        _compare(truth, told)
    except _Wrong as wrong:
        return Verdict(Outcome.WRONG, str(wrong))
    if seen.end is not End.COMPLETE:
        if told.error is not None and seen.end is End.LOST:
            return Verdict(Outcome.FAILED, told.error)
        return _unanswered(seen, f"broke off after {len(told.text)} of {len(truth.text)} characters")
    return _ended(truth, told, stream=stream)


def _unanswered(seen: Seen, why: str) -> Verdict:
    outcome = {End.SILENT: Outcome.HUNG, End.LEFT: Outcome.CANCELLED}.get(seen.end, Outcome.UNCLEAR)
    return Verdict(outcome, "" if outcome is Outcome.CANCELLED else why)


def _compare(truth: Truth, told: _Told) -> None:
    if not truth.text.startswith(told.text):
        same = next(i for i, char in enumerate(told.text) if truth.text[i : i + 1] != char)
        expected, got = truth.text[same : same + 20], told.text[same : same + 20]
        raise _Wrong(f"at character {same}: expected {expected!r}, got {got!r}")
    if len(told.heads) > 1:
        raise _Wrong("id, model or created change within the stream")
    if told.roles > 1:
        raise _Wrong("the assistant's role is given twice")


def _ended(truth: Truth, told: _Told, *, stream: bool) -> Verdict:
    if told.error is not None:
        return Verdict(Outcome.FAILED, told.error)
    if told.text != truth.text:
        return Verdict(Outcome.TRUNCATED, f"{len(told.text)} of {len(truth.text)} characters")
    if told.finish_reason != truth.finish_reason:
        return Verdict(Outcome.TRUNCATED, f"finish_reason {told.finish_reason}, not {truth.finish_reason}")
    if stream and not told.done:
        return Verdict(Outcome.TRUNCATED, "no [DONE]")
    for name in ("prompt_tokens", "completion_tokens"):
        right, count = getattr(truth, name), (told.usage or {}).get(name)
        if None not in {right, count} and right != count:
            return Verdict(Outcome.WRONG, f"usage: {name} {count}, not {right}")
    return Verdict(Outcome.RESUMED if told.resumed else Outcome.ANSWERED)


def _read_whole(seen: Seen) -> _Told:
    """Nothing, if it can't be decoded: an answer that is not whole."""
    body = _decoded(seen.body)
    if not isinstance(body, dict):
        return _Told()
    told = _Told(error=_error_message(body), usage=body.get("usage"))
    for choice in body.get("choices") or ():
        told.text += _text(choice)
        told.finish_reason = choice.get("finish_reason")
    return told


def _read_stream(body: bytes) -> _Told:
    told = _Told()
    for line in _lines(body):
        if line.startswith(b":"):
            told.resumed |= b"resumed" in line
        elif line.startswith(b"data:"):
            _take(told, line[5:].strip())
    return told


def _take(told: _Told, data: bytes) -> None:
    if told.done:
        raise _Wrong("the stream goes on after [DONE]")
    if data == b"[DONE]":
        told.done = True
        return
    event = _decoded(data)
    if not isinstance(event, dict):
        raise _Wrong(f"an event that is no JSON object: {data[:60]!r}")
    if (message := _error_message(event)) is not None:
        told.error = message
        return
    told.heads.add((event.get("id"), event.get("model"), event.get("created")))
    told.usage = event.get("usage") or told.usage
    for choice in event.get("choices") or ():
        text = _text(choice)
        if text and (told.finish_reason is not None or told.error is not None):
            raise _Wrong("text after the end")
        told.text += text
        told.roles += bool((choice.get("delta") or {}).get("role"))
        told.finish_reason = choice.get("finish_reason") or told.finish_reason


def _lines(body: bytes) -> Iterator[bytes]:
    """Those of whole events: the last one may have broken off."""
    yield from body[: body.rfind(b"\n\n") + 1].split(b"\n")


def _text(choice: dict[str, Any]) -> str:
    """Of a chunk or a whole answer, of a chat or a completion."""
    spoken = choice.get("delta") or choice.get("message") or {}
    return choice.get("text") or spoken.get("content") or ""


def _error_message(body: object) -> str | None:
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else None


def _decoded(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None

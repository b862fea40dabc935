"""What an answer says, read as its body comes: content, usage, errors, and whether it came to its end. Pure.

Streams of vLLM's four generating routes are told apart by their events; anything else is read whole.
"""

import re
from abc import ABC, abstractmethod
from typing import Any

import msgspec

from balancer.core.types import Usage
from balancer.vllm_api.answers import read_usage
from balancer.vllm_api.events import payloads, split

_FEW_WORDS_CHARS = 120
_WITH_DIGITS = re.compile(r"[^\s,;:()\[\]{}'\"]*\d[^\s,;:()\[\]{}'\"]*")

_STATUSES = {"overloaded_error": 503, "rate_limit_error": 429}
"""What the Messages API's types of errors, which have no code, stand for."""
_ENDS = {"response.completed", "response.incomplete", "message_stop"}


class _Delta(msgspec.Struct, gc=False):
    """Of a chat's chunk, or the message of a whole chat."""

    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: Any = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: Any = None
    finish_reason: Any = None


class _Event(msgspec.Struct, gc=False):
    """One event of a stream, or a whole answer."""

    type: Any = None
    choices: list[_Choice] | None = None
    delta: Any = None
    usage: Any = None
    response: Any = None
    message: Any = None
    content: Any = None
    output: Any = None
    error: Any = None
    object: Any = None
    code: Any = None


_decode = msgspec.json.Decoder(_Event).decode


class Answer(ABC):
    """`texts` are what goes into a conversation's history, of the first choice. `ended` is whether the end mark came."""

    __slots__ = ("_usage", "ended", "error", "error_status", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.ended = False
        self.error: str | None = None
        self.error_status: int | None = None
        self._usage: dict[str, Any] = {}

    @abstractmethod
    def feed(self, data: bytes) -> int:
        """The next part of the body; how many events with content it completed."""

    @abstractmethod
    def close(self) -> None:
        """The body is complete."""

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def usage(self) -> Usage | None:
        """Messages tell prompt and output in different events."""
        return read_usage(self._usage)

    def _take_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: count for name, count in usage.items() if count is not None}

    def _take_finish(self, choice: _Choice) -> None:
        if choice.finish_reason == "abort":
            self.error = "given up by the engine"

    def _take_error(self, event: _Event) -> None:
        error = event.error
        if error is None and isinstance(event.response, dict):
            error = event.response.get("error")
        inner: dict[str, Any] = {"message": error or event.message, "code": event.code}
        if isinstance(error, dict):
            inner = error
        code = inner.get("code")
        self.error_status = code if isinstance(code, int) else _STATUSES.get(str(inner.get("type")))
        self.error = in_few_words(inner.get("message") or inner.get("type") or "error")


class StreamedAnswer(Answer):
    """Server-Sent Events, however they are cut."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        super().__init__()
        self._rest = b""

    def feed(self, data: bytes) -> int:
        if self._rest or not data.endswith(b"\n\n"):
            whole, self._rest = split(self._rest + data)
            data = b"".join(whole)
        tokens = 0
        for event in payloads(data):
            tokens += self._take(event)
        return tokens

    def close(self) -> None:
        """An end mark without the empty line after it is one."""
        if self._rest.strip() == b"data: [DONE]":
            self.ended = True

    def _take(self, data: bytes) -> bool:
        """Whether the event brought content."""
        if data == b"[DONE]":
            self.ended = True
            return False
        try:
            event = _decode(data)
        except msgspec.ValidationError:
            return False
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.error = self.error or "an event that is not JSON"
            return False
        if event.usage is not None:
            self._take_usage(event.usage)
        if event.error is not None or event.object == "error":
            self._take_error(event)
            return False
        if event.choices:
            return self._take_choices(event.choices)
        return isinstance(event.type, str) and self._take_typed(event.type, event)

    def _take_choices(self, choices: list[_Choice]) -> bool:
        content = False
        for choice in choices:
            self._take_finish(choice)
            delta = choice.delta
            text = choice.text if delta is None else delta.content
            if text:
                content = True
                if choice.index == 0 and isinstance(text, str):
                    self.texts.append(text)
            elif delta is not None and _beyond_text(delta):
                content = True
        return content

    def _take_typed(self, kind: str, event: _Event) -> bool:
        """Of the Responses or the Messages API."""
        if kind in _ENDS:
            self.ended = True
        elif kind in {"error", "response.failed"}:
            self._take_error(event)
        inner = event.response if isinstance(event.response, dict) else event.message
        if isinstance(inner, dict):
            self._take_usage(inner.get("usage"))
        if kind == "content_block_delta" and isinstance(event.delta, dict):
            text = event.delta.get("text")
            if isinstance(text, str):
                self.texts.append(text)
            return any(value for name, value in event.delta.items() if name != "type")
        if kind == "response.output_text.delta" and isinstance(event.delta, str):
            self.texts.append(event.delta)
        return bool(event.delta) and kind.startswith("response.") and kind.endswith(".delta")


class WholeAnswer(Answer):
    """A body that is one JSON document, or nothing that is read here."""

    __slots__ = ("_body", "_is_json")

    def __init__(self, *, is_json: bool) -> None:
        super().__init__()
        self._body = bytearray()
        self._is_json = is_json

    def feed(self, data: bytes) -> int:
        if self._is_json:
            self._body += data
        return 0

    def close(self) -> None:
        self.ended = True
        if not self._is_json:
            return
        try:
            answer = _decode(self._body)
        except msgspec.ValidationError:
            return
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.error = "a body that is not JSON"
            return
        self._take_usage(answer.usage)
        if answer.error is not None or answer.object == "error":
            self._take_error(answer)
        for choice in answer.choices or ():
            self._take_finish(choice)
            text = choice.text if choice.message is None else choice.message.content
            if choice.index == 0 and isinstance(text, str):
                self.texts.append(text)
        for block in _blocks(answer):
            if isinstance(text := block.get("text"), str):
                self.texts.append(text)


def in_few_words(message: object) -> str:
    """Without ids and counts, so that equal errors count together."""
    return _WITH_DIGITS.sub("#", " ".join(str(message).split()))[:_FEW_WORDS_CHARS]


def _beyond_text(delta: _Delta) -> bool:
    return bool(
        delta.reasoning or delta.reasoning_content or delta.tool_calls or delta.function_call or delta.refusal
    )


def _blocks(answer: _Event) -> list[dict[str, Any]]:
    """The content blocks of a whole message, or of a response's output items."""
    items = _objects(answer.output)
    return _objects(answer.content) + [block for item in items for block in _objects(item.get("content"))]


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

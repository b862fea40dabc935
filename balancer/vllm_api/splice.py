"""Rewriting a stream's events where the client must not see what the replica sent: token ids that it did not ask for, and
everything in a continuation that would tell of a second answer.

The client's stream keeps the id, time and model of its first event, one role, one prompt, and a usage that counts all of it.
An event that is too long to be kept comes in parts, and passes as it is.
"""

from typing import Any

import msgspec

from balancer.core.types import Usage
from balancer.vllm_api.answers import read_usage
from balancer.vllm_api.events import DONE, object_in, payload, split
from balancer.vllm_api.resume import Continuation
from balancer.vllm_api.tape import Delivered

_encode = msgspec.json.encode


class WithoutIds:
    """Takes token ids out of a stream whose client did not ask for them."""

    def feed(self, events: bytes) -> bytes:
        whole, rest = split(events)
        return b"".join(map(_without_ids, whole)) + rest


class Splice:
    """Makes a continuation's events go on with the client's stream.

    `chat`: what the client's route speaks, whatever the replica was asked; `ids`: the client asked for token ids.
    """

    def __init__(self, delivered: Delivered, continuation: Continuation, *, chat: bool, ids: bool) -> None:
        self._envelope = _envelope(delivered, chat=chat)
        self._delivered_tokens = continuation.delivered_tokens
        self._prompt_tokens = continuation.prompt_tokens
        self._muted = continuation.muted
        self._owed = continuation.owed
        self._chat = chat
        self._ids = ids
        self.usage: Usage | None = None
        self._first = b""
        if continuation.muted and delivered.finish_reason is None:
            self._first = _finish(delivered, chat=chat)

    def begin(self) -> bytes:
        """A comment that tells of the seam; clients skip comments."""
        return b": balancer: resumed after %d tokens\n\n" % self._delivered_tokens + self._first

    def feed(self, events: bytes) -> bytes:
        whole, rest = split(events)
        return b"".join(map(self._joined, whole)) + rest

    def _joined(self, event: bytes) -> bytes:
        data = payload(event)
        if data is None or data == b"[DONE]":
            return event
        chunk = object_in(data)
        if chunk is None or not isinstance(chunk.get("choices"), list):
            return event
        chunk.update(self._envelope)
        chunk.pop("prompt_token_ids", None)
        if isinstance(chunk.get("usage"), dict):
            self._count(chunk["usage"])
        if chunk["choices"]:
            choices = [choice for choice in chunk["choices"] if isinstance(choice, dict)]
            chunk["choices"] = [kept for choice in choices if (kept := self._choice(choice))]
            if not chunk["choices"]:
                return b""
        return _event(chunk)

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any] | None:
        """The choice as the client's route has it; None if it brings the client nothing."""
        if self._muted:
            return None
        choice.pop("prompt_token_ids", None)
        if not self._ids:
            choice.pop("token_ids", None)
        if self._chat and "text" in choice:
            choice = {"index": choice.pop("index", 0), "delta": {"content": choice.pop("text")}, **choice}
            choice.pop("prompt_logprobs", None)
        place = choice.get("delta") if self._chat else choice
        if not isinstance(place, dict):
            return choice
        name = "content" if self._chat else "text"
        begins = place.pop("role", None) is not None and not place.get(name)
        if begins and choice.get("finish_reason") is None:
            return None
        text = place.get(name)
        if self._owed and isinstance(text, str):
            place[name] = self._pay(text)
        return choice

    def _pay(self, text: str) -> str:
        """What was delivered beyond the place that is gone on from comes again: it is given once."""
        same = 0
        while same < min(len(text), len(self._owed)) and text[same] == self._owed[same]:
            same += 1
        self._owed = self._owed[same:] if same == len(text) else ""
        return text[same:]

    def _count(self, usage: dict[str, Any]) -> None:
        prompt, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if not isinstance(prompt, int) or not isinstance(output, int):
            return
        if self._prompt_tokens is None:
            self._prompt_tokens = max(0, prompt - self._delivered_tokens)
        usage["prompt_tokens"] = self._prompt_tokens
        usage["completion_tokens"] = self._delivered_tokens + (0 if self._muted else output)
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        self.usage = read_usage(usage)


def ending(delivered: Delivered, continuation: Continuation, *, chat: bool, usage: bool) -> bytes:
    """The end of an answer of which nothing is left to generate."""
    events = b"" if delivered.finish_reason is not None else _finish(delivered, chat=chat)
    if usage and continuation.prompt_tokens is not None and not delivered.usage_told:
        tokens = {
            "prompt_tokens": continuation.prompt_tokens,
            "completion_tokens": continuation.delivered_tokens,
        }
        tokens["total_tokens"] = sum(tokens.values())
        events += _event(_envelope(delivered, chat=chat) | {"choices": [], "usage": tokens})
    return events + DONE


def _finish(delivered: Delivered, *, chat: bool) -> bytes:
    """The event that says that the answer has come to its limit."""
    place = {"delta": {"content": ""}} if chat else {"text": ""}
    choice = {"index": 0, **place, "logprobs": None, "finish_reason": "length", "stop_reason": None}
    return _event(_envelope(delivered, chat=chat) | {"choices": [choice]})


def _envelope(delivered: Delivered, *, chat: bool) -> dict[str, Any]:
    return {
        "id": delivered.id,
        "object": "chat.completion.chunk" if chat else "text_completion",
        "created": delivered.created,
        "model": delivered.model,
    }


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


def _without_ids(event: bytes) -> bytes:
    if b"token_ids" not in event:
        return event
    data = payload(event)
    chunk = None if data is None else object_in(data)
    if chunk is None:
        return event
    chunk.pop("prompt_token_ids", None)
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            choice.pop("token_ids", None)
            choice.pop("prompt_token_ids", None)
    return _event(chunk)

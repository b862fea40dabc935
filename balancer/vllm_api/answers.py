"""What vLLM's answers tell: usage, response ids, which stream events carry generated tokens or an error.

Nothing here raises on what a replica sent: an answer that cannot be read tells nothing.
"""

from enum import Enum
from typing import Any

import msgspec

from balancer.core.types import Json, Usage
from balancer.vllm_api.events import object_in

MAX_TOKENS = 10**9
"""A count beyond is not believed: what is counted here is added up, and learned from."""


class Event(Enum):
    """What one `data:` event of a stream is."""

    # generated content, reasoning or tool call: the first one ends TTFT
    TOKEN = "token"  # noqa: S105 - no secret
    ERROR = "error"
    ABORT = "abort"  # the engine gave the request up, as vLLM does on SIGTERM: the answer is cut short
    DONE = "done"
    OTHER = "other"  # role-only chunk, usage, envelope of the Responses or Messages API


class _Answer(msgspec.Struct):
    id: Any = None
    usage: Any = None
    response: Any = None
    message: Any = None


_answer = msgspec.json.Decoder(_Answer)


def read_answer(body: bytes) -> tuple[str | None, Usage | None]:
    """Id and usage of a JSON answer, or of one stream event."""
    try:
        answer = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    inner = answer.response if isinstance(answer.response, dict) else answer.message
    if isinstance(inner, dict):  # Responses and Messages events wrap the answer
        answer_id, usage = inner.get("id"), inner.get("usage")
    else:
        answer_id, usage = answer.id, answer.usage
    return answer_id if isinstance(answer_id, str) else None, read_usage(usage)


def is_aborted(body: bytes) -> bool:
    """Whether the engine gave up a plain answer: vLLM 0.32 answers 200 with what it has when it is told to stop."""
    answer = object_in(body) if b'"abort"' in body else None
    choices = None if answer is None else answer.get("choices")
    return isinstance(choices, list) and any(map(_is_given_up, choices))


def _is_given_up(choice: Json) -> bool:
    return isinstance(choice, dict) and choice.get("finish_reason") == "abort"


_LAST_WORDS = (
    b"EngineDeadError",
    b"EngineCore encountered an issue",
    b"cannot schedule new futures after shutdown",
)
"""What vLLM's 500s say when its engine has died, or is being shut down."""


def tells_of_death(body: bytes) -> bool:
    return any(words in body for words in _LAST_WORDS)


def read_usage(usage: Json) -> Usage | None:
    """OpenAI's names (prompt_tokens, completion_tokens) or those of Responses and Anthropic (input_tokens, ...).

    Anthropic's input_tokens leave out what was read from the cache, and written to it, where the answer tells these: with
    --enable-prompt-tokens-details (vLLM 0.32, entrypoints/anthropic/serving.py).
    """
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage.get("prompt_tokens", usage.get("input_tokens")))
    output = _count(usage.get("completion_tokens", usage.get("output_tokens", 0)))
    if prompt is None:
        return None
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if isinstance(details, dict):
        cached = _count(details.get("cached_tokens"))
    else:
        cached, created = (_count(usage.get(f"cache_{what}_input_tokens")) for what in ("read", "creation"))
        prompt += (cached or 0) + (created or 0)
    return Usage(prompt, output or 0, cached)


def _count(value: Json) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def classify_event(data: bytes) -> Event:
    """What the payload of one `data:` line is, in any of vLLM's stream formats."""
    if data == b"[DONE]":
        return Event.DONE
    event = object_in(data)
    if event is None:
        return Event.OTHER
    if event.get("error") is not None or event.get("object") == "error" or event.get("type") == "error":
        return Event.ERROR
    kind = event.get("type")
    if isinstance(kind, str):
        return Event.TOKEN if kind.endswith((".delta", "_delta")) else Event.OTHER
    choices = event.get("choices")
    if not isinstance(choices, list):
        return Event.OTHER
    if any(map(_is_given_up, choices)):
        return Event.ABORT
    return Event.TOKEN if any(_has_token(choice) for choice in choices) else Event.OTHER


_TOKEN_FIELDS = ("content", "reasoning", "reasoning_content", "tool_calls", "refusal", "function_call")


def _has_token(choice: Json) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return any(delta.get(field) for field in _TOKEN_FIELDS)
    return bool(choice.get("text"))


def error_of(body: bytes) -> tuple[str | None, str | None, str | int | None]:
    """Message, type and code of an error body, as far as it tells them: OpenAI's shape, vLLM's before 0.10.2, Anthropic's."""
    answer = object_in(body) or {}
    error = answer.get("error")
    if isinstance(error, str):
        return error, None, None
    told = error if isinstance(error, dict) else answer
    message, kind, code = (told.get(field) for field in ("message", "type", "code"))
    return (
        message if isinstance(message, str) else None,
        kind if isinstance(kind, str) else None,
        code if isinstance(code, str | int) else None,
    )


def error_status(data: bytes) -> int | None:
    """The HTTP status that an error event inside a 200 stands for (vLLM puts it into `code`)."""
    event = object_in(data)
    if event is None:
        return None
    error = event.get("error")
    code = (error if isinstance(error, dict) else event).get("code")
    return code if isinstance(code, int) else None

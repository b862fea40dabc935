"""Answers as vLLM 0.32 shapes them, on the wire: what fuzzing starts from.

Sources: vllm/entrypoints/openai/{chat_completion,completion,responses}/serving.py, entrypoints/anthropic/serving.py and
uvicorn's framing. Each stream also says what is to be understood of it.
"""

import json
from typing import NamedTuple

from balancer.core.types import Usage
from tests.fakes.replica import LAST_CHUNK, chunk


class Stream(NamedTuple):
    """`events` as the replica frames them; `usage`, `output_events`, `tokens` (0 or 1 first tokens) and `id` that they tell."""

    events: tuple[bytes, ...]
    usage: Usage | None
    output_events: int
    tokens: int
    id: str | None

    @property
    def body(self) -> bytes:
        return b"".join(self.events)

    @property
    def raw(self) -> bytes:
        return HEAD + b"".join(map(chunk, self.events)) + LAST_CHUNK


HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Wed, 26 Aug 2026 10:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\nx-request-id: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
)
DONE = b"data: [DONE]\n\n"


def _data(value, event=None):
    name = b"" if event is None else b"event: %s\n" % event.encode()
    return name + b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def _typed(kind, **more):
    """An event of the Responses or the Messages API, which says its kind twice."""
    return _data({"type": kind, **more}, kind)


def _chat(choices, **more):
    envelope = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1767000000, "model": "m"}
    return _data({**envelope, "choices": choices, **more})


def _delta(delta, finish_reason=None):
    return _chat([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}])


def _text(text, finish_reason=None, **more):
    envelope = {"id": "cmpl-9", "object": "text_completion", "created": 1767000000, "model": "m"}
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason, "stop_reason": None}
    return _data({**envelope, "choices": [choice | more], "usage": None})


_USAGE = {
    "prompt_tokens": 31,
    "total_tokens": 34,
    "completion_tokens": 3,
    "prompt_tokens_details": {"cached_tokens": 16},
}
_ROLE = _delta({"role": "assistant", "content": ""})
_RESPONSE = {"id": "resp_9", "object": "response", "model": "m", "status": "in_progress", "usage": None}
_RESPONSE_USAGE = {
    "input_tokens": 31,
    "input_tokens_details": {"cached_tokens": 16},
    "output_tokens": 3,
    "total_tokens": 34,
}
_MESSAGE = {"id": "msg_9", "type": "message", "role": "assistant", "content": [], "model": "m"}

STREAMS = {
    "chat": Stream(
        (
            _ROLE,
            _delta({"content": "Grüße, "}),
            _delta({"content": "日本\u2028"}),
            _delta({"content": "!"}, "stop"),
            _chat([], usage=_USAGE),
            DONE,
        ),
        Usage(31, 3, 16),
        4,
        1,
        "chatcmpl-9",
    ),
    "reasoning and tools": Stream(
        (
            _ROLE,
            _delta({"reasoning_content": "hm"}),
            _delta({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f"}}]}),
            _delta({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":"\\n\\n"}'}}]}),
            _delta({"content": ""}, "tool_calls"),
            DONE,
        ),
        None,
        4,
        1,
        "chatcmpl-9",
    ),
    "completions": Stream(
        (
            _text("a", prompt_token_ids=[1, 2], token_ids=[3]),
            _text("", token_ids=[4]),
            _text("é", "length", token_ids=[5]),
            DONE,
        ),
        None,
        3,
        1,
        "cmpl-9",
    ),
    "responses": Stream(
        (
            _typed("response.created", response=_RESPONSE, sequence_number=0),
            _typed("response.in_progress", response=_RESPONSE, sequence_number=1),
            _typed("response.output_item.added", output_index=0, item={"type": "message"}, sequence_number=2),
            _typed("response.output_text.delta", delta="a", output_index=0, sequence_number=3),
            _typed("response.output_text.done", text="a", output_index=0, sequence_number=4),
            _typed(
                "response.completed",
                response=_RESPONSE | {"status": "completed", "usage": _RESPONSE_USAGE},
                sequence_number=5,
            ),
        ),
        Usage(31, 3, 16),
        2,
        1,
        "resp_9",
    ),
    "messages": Stream(
        (
            _typed("message_start", message=_MESSAGE | {"usage": {"input_tokens": 31, "output_tokens": 0}}),
            _typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}),
            _typed("content_block_stop", index=0),
            _typed(
                "message_delta",
                delta={"stop_reason": "end_turn"},
                usage={"input_tokens": 31, "output_tokens": 3},
            ),
            _typed("message_stop"),
            DONE,
        ),
        Usage(31, 3),
        4,
        1,
        "msg_9",
    ),
    "comments between events, and line ends of two bytes": Stream(
        (
            b": ping - 2026-08-26\r\n\r\n",
            _ROLE.replace(b"\n", b"\r\n"),
            b": ping\r\n\r\n",
            _delta({"content": "x"}).replace(b"\n", b"\r\n"),
            DONE.replace(b"\n", b"\r\n"),
        ),
        None,
        1,
        1,
        "chatcmpl-9",
    ),
    "an error of the client, in band": Stream(
        (
            _ROLE,
            _data({"error": {"message": "bad", "type": "BadRequestError", "param": None, "code": 400}}),
            DONE,
        ),
        None,
        0,
        0,
        "chatcmpl-9",
    ),
}
"""Those that are given whole. What ends before its time is in ENDED."""

BUSY = _data({"error": {"message": "busy", "type": "ServiceUnavailableError", "param": None, "code": 503}})
DEAD = _data(
    {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}
)
UNKNOWN = _data({"error": {"message": "what is it?"}})
ABORT = _delta({"content": ""}, "abort")
ENDED = {"busy": BUSY, "dead": DEAD, "unknown": UNKNOWN, "aborted": ABORT}
"""Events that tell that no more will come."""


def ended_early(how, tokens=2):
    """A chat stream that tells of its end after so many tokens."""
    events = (_ROLE, *[_delta({"content": "x"})] * tokens, ENDED[how], DONE)
    return Stream(events, None, 0, 0, "chatcmpl-9")


_PLAIN = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "created": 1767000000,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "é"}, "finish_reason": "stop"}],
    "usage": _USAGE,
}


def plain(status=200, body=None, **more):
    raw = json.dumps((_PLAIN if body is None else body) | more).encode()
    head = b"HTTP/1.1 %d Status\r\nserver: uvicorn\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n"
    return head % (status, len(raw)) + raw


REFUSED = {"error": {"message": "no", "type": "BadRequestError", "param": None, "code": 400}}
OTHERS = {
    "plain": plain(),
    "plain, aborted": plain(choices=[{"index": 0, "message": {"content": "h"}, "finish_reason": "abort"}]),
    "refused": plain(400, REFUSED),
    "broken inside": plain(500, REFUSED),
    "busy": plain(503, REFUSED).replace(b"\r\n\r\n", b"\r\nRetry-After: 1\r\n\r\n", 1),
    "chunked": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    + chunk(b'{"id": "1",')
    + chunk(b' "choices": []}')
    + LAST_CHUNK,
    "sound": b"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\n\r\nRIFF\x00\x01",
    "empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + plain(),
}

"""Requests of any shape are understood as far as they can be, and sent on as one request: nothing is raised, nothing is changed,
and what a key costs grows no faster than what was sent.
"""

import asyncio
import json

import httptools
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.prefix.blocks import BLOCK_BYTES
from balancer.core.request.multipart import MAX_FIELD_BYTES, form_field
from balancer.core.request.parse import read_form, read_request
from balancer.core.types import Reads, RouteKind
from balancer.forwarding.headers import request_head
from tests.fuzz.mutations import mutated

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CHAT = {
    "model": "m",
    "stream": True,
    "tools": [TOOL],
    "messages": [
        {"role": "system", "content": "You are."},
        {"role": "user", "content": [{"type": "text", "text": "é"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
    ],
    "cache_salt": "s",
    "metadata": {"session_id": "1"},
}  # fmt: skip
BODIES = [
    CHAT,
    {"model": "m", "prompt": "Once upon a time", "n": 1},
    {"model": "m", "prompt": [[1, 2, 3], [4]], "stream": False},
    {
        "model": "m",
        "instructions": "i",
        "input": [{"role": "user", "content": "a"}],
        "previous_response_id": "resp_1",
    },
    {"model": "m", "system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": "a"}]},
    {"model": "m", "input": ["a", "b"], "encoding_format": "float"},
    {"model": "m", "query": "q", "documents": ["a", {"text": "b"}]},
]
RAW = [json.dumps(body).encode() for body in BODIES] + [
    json.dumps(BODIES[0], indent=1, ensure_ascii=False).encode()
]
DEEP = [b"[" * 1200, b'{"messages":' * 1000, b'{"model":"m","prompt":' + b"[" * 1200 + b"]" * 1200 + b"}"]


@pytest.mark.parametrize("reads", Reads)
@given(st.sampled_from(RouteKind), mutated(RAW, most=8) | st.sampled_from(DEEP))
def test_a_body_of_any_shape_is_understood_and_costs_in_proportion(reads, route, body):
    view = read_request(route, body, reads)
    assert view.model is None or isinstance(view.model, str)
    assert isinstance(view.stream, bool)
    assert view.prompt_bytes >= 0
    assert view.prompt_tokens >= 0
    assert len(view.block_keys) <= view.prompt_bytes // BLOCK_BYTES + 1
    assert view.prompt_bytes <= 64 * (len(body) + 64)  # a picture weighs more than its bytes


SOUND = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\x00\r\n\r\n'
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
    b"--b\r\nContent-Disposition: form-data; name=stream\r\n\r\ntrue\r\n--b--\r\n"
)


@given(
    mutated([SOUND, SOUND.replace(b"--b", b"----x")], most=8),
    mutated([b"multipart/form-data; boundary=b", b'multipart/form-data; boundary="--x"', b"multipart/mixed"]),
)
def test_a_form_of_any_shape_is_understood(body, content_type):
    text = content_type.decode("latin-1")
    view = read_form(RouteKind.AUDIO, body, text)
    assert view.model is None or 0 < len(view.model.encode("utf-8", "replace")) <= 3 * MAX_FIELD_BYTES
    form_field(body, text, "stream")


REQUESTS = [
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nAuthorization: Bearer k\r\nX-Request-Id: 7\r\n\r\n{}",
    b"POST /v1/completions?x=1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n2\r\n{}\r\n0\r\nX-T: 1\r\n\r\n",
    b"POST /v1/rerank HTTP/1.1\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"GET /v1/models HTTP/1.0\r\nAccept: */*\r\nUpgrade: h2c\r\n\r\n",
]


class Upstream:
    """What a replica's parser finds in what it is sent."""

    def __init__(self, raw):
        self.begun, self.ended, self.body, self.headers = 0, 0, b"", []
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(raw)

    def on_message_begin(self):
        self.begun += 1

    def on_header(self, name, value):
        self.headers.append((name.lower(), value))

    def on_body(self, piece):
        self.body += piece

    def on_message_complete(self):
        self.ended += 1


@given(mutated(REQUESTS), st.binary(max_size=20), st.none() | st.just(b"Bearer replica"))
def test_whatever_head_the_front_lets_in_a_replica_gets_exactly_one_request(raw, body, authorization):
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(
            BaseProtocol(loop), loop, 2**16, max_line_size=2**16, max_field_size=2**16, max_headers=256
        )
        try:
            messages, _, _ = parser.feed_data(raw)
        except (HttpProcessingError, ValueError):
            return
    finally:
        loop.close()
    for message, _ in messages:
        target = message.path.encode("utf-8", "surrogateescape")
        sent = request_head(
            message.method.encode(),
            target,
            b"replica:1",
            message.raw_headers,
            len(body),
            authorization=authorization,
        )
        found = Upstream(sent + body)
        assert (found.begun, found.ended, found.body) == (1, 1, body)
        names = [name for name, _ in found.headers]
        assert names.count(b"host") == names.count(b"content-length") == 1
        assert not {b"transfer-encoding", b"connection", b"te", b"expect", b"upgrade"} & set(names)
        if authorization is not None:
            assert [value for name, value in found.headers if name == b"authorization"] == [authorization]

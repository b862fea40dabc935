"""Whatever a replica sends, nothing is raised, what a client is given is sound HTTP, nothing ends tidily that did not end
tidily, and no more is held than may be.
"""

import re

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.forwarding.connection import MAX_HEAD_BYTES
from balancer.forwarding.exchange import HOLD_BYTES, Ended, Leg
from balancer.forwarding.sse import MAX_EVENT_BYTES
from balancer.vllm_api.resume import Continuation
from balancer.vllm_api.splice import Splice, WithoutIds
from balancer.vllm_api.tape import Delivered, Tape
from tests.fakes.replica import SSE_HEAD, chunk
from tests.fakes.transport import Bench, bytewise, cut, decoded
from tests.fuzz.answers import ENDED, OTHERS, STREAMS, ended_early
from tests.fuzz.mutations import mutated

ANSWERS = [*(s.raw for s in STREAMS.values()), *OTHERS.values(), *(ended_early(how).raw for how in ENDED)]
LOST = b'data: {"error": "lost"}\n\n'

_FIRST = re.compile(rb"HTTP/1\.1 [1-9]\d\d [\t\x20-\x7e\x80-\xff]*")
_FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")


class Reader:
    """The answers that another parser than ours finds in what a client was given."""

    def __init__(self, raw):
        self.begun = self.ended = 0
        self.body = b""
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(raw)

    def on_message_begin(self):
        self.begun += 1

    def on_body(self, piece):
        self.body += piece

    def on_message_complete(self):
        self.ended += 1


def check_head(raw):
    head, end, _ = raw.partition(b"\r\n\r\n")
    assert end
    first, *fields = head.split(b"\r\n")
    assert _FIRST.fullmatch(first), first
    for field in fields:
        assert _FIELD.fullmatch(field), field


def legs():
    """A part of a stream as each mode has it: first, first with ids kept back, and one that goes on."""
    yield Leg()
    yield Leg(Tape())
    yield Leg(Tape(), WithoutIds())
    delivered = Delivered(id="1", created=1, model="m", text="a ", tokens=1)
    for chat, whitespace in ((True, " "), (False, "")):
        continuation = Continuation("/", b"{}", 1, owed=whitespace)
        yield Leg(Tape(), splice=Splice(delivered, continuation, chat=chat, ids=False))


@pytest.mark.parametrize("leg", range(5))
@given(
    raw=mutated(ANSWERS),
    cuts=st.lists(st.integers(1, 3000), max_size=5) | st.none(),
    http11=st.booleans(),
    keep_alive=st.booleans(),
    fin=st.booleans(),
)
def test_any_answer_ends_and_what_the_client_gets_of_it_is_sound(leg, raw, cuts, http11, keep_alive, fin):
    bench = Bench()
    leg = list(legs())[leg]
    exchange, transport = bench.ask(http11=http11, keep_alive=keep_alive, leg=leg)
    bench.feed(*(bytewise(raw) if cuts is None else cut(raw, cuts) if raw else []))
    if exchange.ended is None:
        bench.lose(None if fin else ConnectionResetError())
    assert exchange.ended is not None
    answered = exchange.ended is Ended.ANSWERED
    if answered and not exchange.committed:
        assert exchange.retryable or leg.splice is not None
        if leg.splice is None:
            exchange.commit()
    if not exchange.committed:
        assert transport.written == b""
        return
    if leg.splice is None:
        check_head(transport.written)
        message = decoded(transport.written)
        found = Reader(transport.written)
        sized = bool(message.all(b"content-length") or message.all(b"transfer-encoding"))
        assert sized or not exchange._client.keep_alive or message.status in {204, 304}
        assert (found.begun, message.surplus) == (1, b"")
        assert found.body == message.body
        if sized or message.status in {204, 304}:
            assert message.whole == answered == bool(found.ended)
    if not answered:
        exchange.break_off(LOST)
        assert transport.is_closing()
        if leg.splice is None and (http11 or exchange.length is not None):
            assert not decoded(transport.written).whole
    exchange.usage()


@given(st.lists(mutated(ANSWERS), min_size=2, max_size=4), st.lists(st.integers(1, 3000), max_size=4))
def test_a_connection_that_is_used_again_never_mixes_answers(raws, cuts):
    bench = Bench()
    for number, raw in enumerate(raws):
        exchange, transport = bench.ask()
        bench.feed(*(cut(raw, cuts) if raw else []))
        if exchange.ended is None:
            bench.lose()
        if exchange.committed and not transport.is_closing():
            assert decoded(transport.written).surplus == b""
            assert Reader(transport.written).begun == 1
        kept = len(bench.idle) > number and bench.idle[-1] is bench.connection
        if bench.connection.closed or not kept:
            assert bench.connection.closed or bench.upstream.is_closing()
            return
        assert exchange.ended in {Ended.ANSWERED, Ended.FAILED}


def held_bytes(bench, exchange):
    held = sum(map(len, exchange._held)) + len(exchange._tail) + sum(map(len, exchange._pieces or ()))
    scanner = exchange.scanner
    if scanner is not None:
        held += len(scanner._carry) + len(scanner._usage_in or b"")
    return held + len(bench.connection._head or b"")


JSON_HEAD = b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ntransfer-encoding: chunked\r\n\r\n"
ENDLESS = {
    "head": (b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 1000 + b"\r\n"),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40),
    "comments": (SSE_HEAD, chunk(b": ping\n\n" * 100)),
    "one event": (SSE_HEAD, chunk(b"data: " + b"x" * 1000)),
    "one line end": (SSE_HEAD, chunk(b"\n")),
    "tokens": (SSE_HEAD, chunk(STREAMS["chat"].events[1] * 5)),
    "usages": (SSE_HEAD, chunk(STREAMS["chat"].events[4] * 5)),
    "chunk sizes": (SSE_HEAD, b"0" * 1000),
    "chunk extensions": (SSE_HEAD + b"1", b";a=b" * 200),
    "trailers": (SSE_HEAD + b"0\r\n", b"X-A: " + b"b" * 1000 + b"\r\n"),
    "json": (JSON_HEAD % (200, b"application/json"), chunk(b"x" * 1000)),
    "an error": (JSON_HEAD % (503, b"application/json"), chunk(b"x" * 1000)),
    "a page": (JSON_HEAD % (502, b"text/html"), chunk(b"x" * 1000)),
    "a busy stream": (SSE_HEAD + chunk(ENDED["busy"]), chunk(b"data: x\n\n" * 100)),
}
MOST_HELD_BYTES = 2 * HOLD_BYTES + MAX_HEAD_BYTES + 2 * MAX_EVENT_BYTES


@pytest.mark.parametrize("leg", range(5))
@pytest.mark.parametrize("what", ENDLESS)
def test_of_an_answer_without_an_end_no_more_is_held_than_may_be(what, leg):
    head, piece = ENDLESS[what]
    bench = Bench()
    exchange, _ = bench.ask(leg=list(legs())[leg])
    if head:
        bench.feed(head)
    for _ in range(2500):
        if exchange.ended is not None:
            break
        bench.feed(piece)
        assert held_bytes(bench, exchange) <= MOST_HELD_BYTES
        assert sum(len(n) + len(v) for n, v in exchange.headers) <= MOST_HELD_BYTES
    if exchange.ended is None:
        bench.connection.abort()

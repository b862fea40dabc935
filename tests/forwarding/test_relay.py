"""However a replica's answer is cut on the wire, the client gets the same answer, framed once, and nothing behind it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.forwarding.ended import Ended
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, chunk, token
from tests.fakes.transport import Bench, bytewise, cut, decoded

JSON = b'{"id": "1", "choices": []}'
EVENTS = (b": wait\n\n", ROLE, token("a"), token("b"), DONE)
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
SSE_TO_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(JSON)

# name -> (bytes of the answer, status, body); it ends with FIN where nothing else ends it
ANSWERS = {
    "sized": (SIZED + JSON, 200, JSON),
    "sized, HTTP/1.0": (SIZED.replace(b"1.1", b"1.0") + JSON, 200, JSON),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "chunked": (CHUNKED + b"\r\n" + chunk(JSON[:9]) + chunk(JSON[9:]) + LAST_CHUNK, 200, JSON),
    "extensions and trailers": (
        CHUNKED + b'Trailer: X-T\r\n\r\n1a;a=b;c="d"\r\n' + JSON + b"\r\n0;x\r\nX-T: 1\r\nX-U: 2\r\n\r\n",
        200,
        JSON,
    ),
    "stream": (SSE_HEAD + b"".join(map(chunk, EVENTS)) + LAST_CHUNK, 200, b"".join(EVENTS)),
    "events across chunks": (
        SSE_HEAD + b"".join(chunk(piece) for piece in bytewise(b"".join(EVENTS))) + LAST_CHUNK,
        200,
        b"".join(EVENTS),
    ),
    "stream until close": (SSE_TO_CLOSE + b"".join(EVENTS), 200, b"".join(EVENTS)),
    "sized stream": (
        SSE_TO_CLOSE[:-2] + b"Content-Length: %d\r\n\r\n" % len(b"".join(EVENTS)) + b"".join(EVENTS),
        200,
        b"".join(EVENTS),
    ),
    "until close": (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + JSON, 200, JSON),
    "sound until close": (b"HTTP/1.0 200 OK\r\nContent-Type: audio/wav\r\n\r\nRIFF\x00\r\n\r\n", 200, b"RIFF\x00\r\n\r\n"),
    "encoded stream": (
        SSE_HEAD[:-2] + b"Content-Encoding: gzip\r\n\r\n" + chunk(b"\x1f\x8bxx") + LAST_CHUNK,
        200,
        b"\x1f\x8bxx",
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, b""),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SIZED + JSON, 200, JSON),
    "an error": (b"HTTP/1.1 422 Unprocessable\r\nContent-Length: 2\r\nX-Id: 7\r\n\r\n{}", 422, b"{}"),
    "no reason": (b"HTTP/1.1 400\r\nContent-Length: 2\r\n\r\n{}", 400, b"{}"),
    "a reason with controls": (b"HTTP/1.1 200 \x00\x7f\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
    "its own status": (b"HTTP/1.1 299 Fine\r\nContent-Length: 2\r\n\r\n{}", 299, b"{}"),
}  # fmt: skip
NAMED = pytest.mark.parametrize("name", ANSWERS)


def relay(pieces, **client):
    bench = Bench()
    exchange, transport = bench.ask(**client)
    bench.feed(*pieces)
    if exchange.ended is None:
        bench.lose()
    return bench, exchange, transport


def check(name, pieces, **client):
    _, status, body = ANSWERS[name]
    bench, exchange, transport = relay(pieces, **client)
    assert exchange.ended is Ended.ANSWERED
    assert exchange.committed
    message = decoded(transport.written)
    assert (message.status, message.body, message.whole, message.surplus) == (status, body, True, b"")
    assert not transport.is_closing()  # closing is the server's, once it is told
    return bench, exchange, message, transport.written


@NAMED
def test_whole_and_byte_by_byte(name):
    raw = ANSWERS[name][0]
    *_, written = check(name, [raw])
    *_, message, bytewise_written = check(name, bytewise(raw))
    if not any(anew in name for anew in ("until close", "stream", "events")):  # framed as they come
        assert bytewise_written == written
    assert message.all(b"connection") == []


@NAMED
@given(cuts=st.lists(st.integers(0, 700), max_size=8))
def test_any_cut(name, cuts):
    raw = ANSWERS[name][0]
    check(name, cut(raw, cuts))
    *_, message, _ = check(name, cut(raw, cuts), http11=False, keep_alive=False)
    assert message.all(b"transfer-encoding") == []


@NAMED
def test_an_old_client_that_keeps_alive_is_told_where_the_answer_ends(name):
    bench = Bench()
    exchange, transport = bench.ask(http11=False, keep_alive=True)
    bench.feed(ANSWERS[name][0])
    if exchange.ended is None:
        bench.lose()
    message = decoded(transport.written)
    sized = message.all(b"content-length") or message.status in {204, 304}
    assert message.all(b"connection") == [b"keep-alive" if sized else b"close"]
    assert exchange._client.keep_alive == bool(sized)


@NAMED
def test_a_client_that_wants_to_close_is_told_so(name):
    *_, message, _ = check(name, [ANSWERS[name][0]], keep_alive=False)
    assert message.all(b"connection") == [b"close"]


def test_trailers_are_no_fields_of_the_head():
    *_, message, written = check("extensions and trailers", [ANSWERS["extensions and trailers"][0]])
    assert (message.all(b"x-t"), message.all(b"x-u")) == ([], [])
    assert written.endswith(b"X-T: 1\r\nX-U: 2\r\n\r\n")


@pytest.mark.parametrize("surplus", [b"x", SIZED + JSON, b"\r\n"])
@pytest.mark.parametrize("name", ["sized", "chunked", "stream", "204"])
def test_what_follows_the_answer_is_never_relayed(name, surplus):
    raw = ANSWERS[name][0]
    for pieces in ([raw + surplus], [raw, surplus], bytewise(raw + surplus)):
        bench, _, transport = relay(pieces)
        if transport.written:
            message = decoded(transport.written)
            assert message.surplus == b""
            assert message.body == ANSWERS[name][2][: len(message.body)]
        if surplus.strip():
            assert bench.upstream.is_closing()  # not to be used again


@pytest.mark.parametrize("name", [name for name in ANSWERS if "close" not in name and name != "interim"])
def test_a_connection_is_kept_where_the_answer_says_so(name):
    raw = ANSWERS[name][0]
    bench, _, _ = relay([raw])
    keeps = b"HTTP/1.0" not in raw
    assert (bench.idle == [bench.connection]) is keeps
    assert bench.upstream.is_closing() is not keeps
    bench, _, _ = relay([raw.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)])
    assert bench.idle == []
    assert bench.upstream.is_closing()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 OK 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\x00z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX" + b"y" * 300_000,
    ],
)
def test_garbage_is_told_from_an_answer(raw):
    for pieces in ([raw], cut(raw, range(0, len(raw), 7 if len(raw) < 1000 else 60_000))):
        bench, exchange, transport = relay(pieces)
        assert exchange.ended is Ended.GARBLED
        assert not exchange.committed
        assert transport.written == b""
        assert bench.upstream.is_closing()
        assert bench.idle == []


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_arbitrary_bytes_never_raise(raw, cuts):
    for head in (b"", b"HTTP/1.1 200 OK\r\n", CHUNKED + b"\r\n", SSE_HEAD):
        bench, exchange, _ = relay(cut(head + raw, cuts) if head + raw else [])
        assert exchange.ended is not None
        bench.connection.abort()


def test_an_answer_that_nobody_asked_for_closes_the_connection():
    bench = Bench()
    bench.feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert bench.upstream.aborted

"""What is held back, for how long, and how an attempt ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.forwarding.client import HIGH_WATER_BYTES
from balancer.forwarding.ended import Ended, Signal
from balancer.forwarding.exchange import HOLD_BYTES
from balancer.forwarding.sse import MAX_EVENT_BYTES
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, chunk, event, token
from tests.fakes.transport import Bench, bytewise, cut, decoded

BUSY = event({"error": {"message": "overloaded", "type": "ServiceUnavailableError", "code": 503}})
WRONG = event({"error": {"message": "no such tool", "type": "BadRequestError", "code": 400}})
DEAD = event(
    {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}
)
UNKNOWN = event({"error": {"message": "what is it?"}})
ABORTED = event({"id": "1", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "abort"}]})
LOST = event({"error": {"message": "lost"}})
SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n"
HEADS = {"HTTP/1.1": SSE_HEAD, "until close": SSE_HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"")}


def asked(**timeouts):
    bench = Bench(**timeouts)
    return bench, *bench.ask()


# -- holding


def test_a_stream_is_held_until_its_first_data():
    bench, exchange, client = asked()
    for piece in (SSE_HEAD, chunk(b": keep-alive\n\n"), chunk(b"event: ping\n\n"), b"1f\r\nda"):
        bench.feed(piece)
        assert not exchange.committed
        assert client.written == b""
    bench, exchange, client = asked()
    bench.feed(SSE_HEAD, chunk(ROLE))
    assert exchange.committed
    assert decoded(client.written).body == ROLE
    assert bench.tokens == 0
    bench.feed(chunk(token("a")), chunk(token("b")))
    assert bench.tokens == 1
    assert exchange.token_at is not None


def test_a_whole_answer_is_held_until_it_is_whole():
    bench, exchange, client = asked()
    bench.feed(SIZED, b'{"a":')
    assert (exchange.committed, client.written) == (False, b"")
    bench.feed(b"1")
    assert exchange.ended is Ended.ANSWERED
    assert exchange.held_body == b'{"a":1'


def test_a_large_answer_is_not():
    size = HOLD_BYTES * 3
    bench, exchange, client = asked()
    bench.feed(SIZED.replace(b" 6", b" %d" % size), *[b"x" * 60_000] * 5)
    assert exchange.committed
    assert not decoded(client.written).whole
    bench.feed(b"x" * (size - 300_000))
    assert decoded(client.written).body == b"x" * size


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_answer_that_another_replica_might_better_is_kept_back(status):
    bench, exchange, client = asked()
    bench.feed(
        SIZED.replace(b"200 OK", b"%d Busy" % status).replace(b"\r\n\r\n", b"\r\nRetry-After: 7\r\n\r\n")
    )
    bench.feed(b"{}busy")
    assert (exchange.ended, exchange.committed, exchange.retryable) == (Ended.ANSWERED, False, True)
    assert exchange.backpressure == (status in {429, 503})
    assert client.written == b""
    exchange.commit()
    message = decoded(client.written)
    assert (message.status, message.body, message.all(b"retry-after")) == (status, b"{}busy", [b"7"])


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501])
def test_an_answer_that_no_other_would_better_is_given(status):
    bench, exchange, client = asked()
    bench.feed(SIZED.replace(b"200", b"%d" % status) + b"{    }")
    assert exchange.committed
    assert decoded(client.written).status == status


@pytest.mark.parametrize("before", [b"", chunk(b": wait\n\n")])
def test_overload_told_in_band_first_is_kept_back(before):
    bench, exchange, client = asked()
    bench.feed(SSE_HEAD, before + chunk(BUSY), chunk(DONE), LAST_CHUNK)
    assert (exchange.ended, exchange.committed) == (Ended.ANSWERED, False)
    assert (exchange.retryable, exchange.backpressure) == (True, True)
    exchange.commit()
    assert decoded(client.written).body.endswith(BUSY + DONE)


def test_an_error_of_the_client_told_in_band_is_given():
    bench, exchange, client = asked()
    bench.feed(SSE_HEAD, chunk(WRONG))
    assert exchange.committed
    assert not exchange.retryable
    assert decoded(client.written).body == WRONG


@pytest.mark.parametrize("end", [BUSY, DEAD, UNKNOWN, ABORTED])
@pytest.mark.parametrize("apart", [True, False])
def test_a_stream_that_tells_of_its_own_end_after_the_first_token_is_cut_before_it(end, apart):
    bench, exchange, client = asked()
    pieces = chunk(token("a")) + chunk(token("b")), chunk(token("c")) + chunk(end)
    bench.feed(SSE_HEAD, *(pieces if apart else [b"".join(pieces)]))
    if not apart:  # nothing was given yet: another replica takes over
        assert (exchange.committed, exchange.retryable) == (False, True)
        return
    assert exchange.ended is Ended.FAILED
    assert bench.upstream.aborted
    assert decoded(client.written).body == token("a") + token("b") + token("c")
    exchange.break_off(LOST)
    message = decoded(client.written)
    assert message.body.endswith(LOST if end is ABORTED else end)
    assert not message.whole


def test_an_error_of_the_client_told_after_the_first_token_is_given():
    bench, exchange, client = asked()
    bench.feed(SSE_HEAD, chunk(token("a")), chunk(WRONG), chunk(DONE), LAST_CHUNK)
    assert exchange.ended is Ended.ANSWERED
    assert decoded(client.written).body == token("a") + WRONG + DONE


def test_a_plain_answer_that_the_engine_gave_up_is_kept_back():
    bench, exchange, client = asked()
    body = b'{"choices": [{"message": {"content": "half"}, "finish_reason": "abort"}]}'
    bench.feed(SIZED.replace(b" 6", b" %d" % len(body)), body)
    assert (exchange.ended, exchange.committed) == (Ended.ANSWERED, False)
    assert (exchange.retryable, exchange.backpressure, exchange.aborted) == (True, False, True)


def test_proxies_are_told_not_to_buffer_a_stream():
    bench, _, client = asked()
    bench.feed(SSE_HEAD, chunk(ROLE))
    assert decoded(client.written).all(b"x-accel-buffering") == [b"no"]
    bench, _, client = asked()
    bench.feed(SSE_HEAD[:-2] + b"X-Accel-Buffering: yes\r\n\r\n", chunk(ROLE))
    assert decoded(client.written).all(b"x-accel-buffering") == [b"yes"]


# -- broken off


def broken(head, pieces, error=None, **client):
    bench = Bench()
    exchange, transport = bench.ask(**client)
    bench.feed(head)
    bench.feed(*pieces)
    bench.lose(error or ConnectionResetError())
    assert exchange.committed
    assert exchange.ended is Ended.BROKEN
    exchange.break_off(LOST)
    assert transport.closed
    return decoded(transport.written)


@pytest.mark.parametrize("kind", HEADS)
@given(cuts=st.lists(st.integers(0, 400), max_size=6))
def test_a_stream_that_breaks_between_events_says_so_in_band(kind, cuts):
    framed = chunk if kind == "HTTP/1.1" else bytes
    raw = b"".join(map(framed, (ROLE, token("a"), token("b"))))
    message = broken(HEADS[kind], cut(raw, cuts))
    assert message.body == ROLE + token("a") + token("b") + LOST
    assert not message.whole


@pytest.mark.parametrize("kind", HEADS)
def test_a_stream_that_breaks_between_events_byte_by_byte(kind):
    framed = chunk if kind == "HTTP/1.1" else bytes
    message = broken(HEADS[kind], bytewise(framed(ROLE) + framed(token("a"))))
    assert message.body == ROLE + token("a") + LOST


def test_an_answer_that_ends_with_its_connection_breaks_by_a_reset():
    bench = Bench()
    exchange, transport = bench.ask(http11=False)
    bench.feed(SSE_HEAD.replace(b"event-stream", b"plain"), chunk(b"half"))
    bench.lose(ConnectionResetError())
    exchange.break_off(LOST)
    assert transport.aborted


@pytest.mark.parametrize("lost", [1, 2, 3, 9])
@pytest.mark.parametrize("kind", HEADS)
def test_of_an_unfinished_event_nothing_is_given(kind, lost):
    framed = chunk if kind == "HTTP/1.1" else bytes
    raw = framed(ROLE) + framed(token("a"))
    message = broken(HEADS[kind], [framed(ROLE), raw[len(framed(ROLE)) : -lost]])
    assert not message.whole
    whole = kind == "HTTP/1.1" and lost <= 2  # the event was whole, its chunk was not
    assert message.body == (ROLE + token("a") if whole else ROLE) + LOST


def test_into_an_event_too_long_to_be_kept_nothing_is_written():
    long = b"data: " + b"x" * MAX_EVENT_BYTES
    message = broken(SSE_HEAD, [chunk(ROLE), chunk(long)])
    assert message.body == ROLE + long


def test_events_with_crlf_break_off_in_band_too():
    crlf = [piece.replace(b"\n", b"\r\n") for piece in (ROLE, token("a"))]
    assert broken(SSE_HEAD, map(chunk, crlf)).body.endswith(LOST)


def test_a_whole_answer_that_breaks_is_short_of_its_length():
    size = HOLD_BYTES * 3
    message = broken(SIZED.replace(b" 6", b" %d" % size), [b"x" * HOLD_BYTES] * 2)
    assert not message.whole
    assert LOST not in message.body


# -- how attempts end


@pytest.mark.parametrize(
    ("reused", "sent", "error", "ended"),
    [
        (True, b"", None, Ended.STALE),
        (True, b"", ConnectionResetError(), Ended.STALE),
        (True, b"HTTP/1", None, Ended.BROKEN),
        (True, SIZED, None, Ended.BROKEN),
        (False, b"", None, Ended.BROKEN),
        (False, b"", ConnectionResetError(), Ended.BROKEN),
        (False, SSE_HEAD + b"5\r\nda", None, Ended.BROKEN),
        (False, SSE_HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"") + b"data", ConnectionResetError(), Ended.BROKEN),
        (False, SSE_HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"") + b"data", None, Ended.ANSWERED),
    ],
)  # fmt: skip
def test_a_connection_that_is_lost(reused, sent, error, ended):
    bench = Bench()
    if reused:
        bench.ask()
        bench.feed(SIZED + b"{    }")
    exchange, _ = bench.ask()
    if sent:
        bench.feed(sent)
    bench.lose(error)
    assert exchange.ended is ended


def test_a_request_that_an_interim_answer_acknowledged_is_not_stale():
    bench = Bench()
    bench.ask()
    bench.feed(SIZED + b"{    }")
    exchange, _ = bench.ask()
    bench.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    bench.lose()
    assert exchange.ended is Ended.BROKEN


def test_a_kept_connection_carries_the_next_exchange():
    bench = Bench()
    for number in range(3):
        exchange, client = bench.ask(body=b"x" * 100_000)
        assert bench.upstream.written.endswith(b"x" * 100_000)
        bench.feed(SIZED, b"{  %d }" % number)
        assert decoded(client.written).body == b"{  %d }" % number
        assert exchange.ended is Ended.ANSWERED
    assert bench.idle == [bench.connection] * 3


def test_aborting_closes_at_once_and_ends_the_exchange():
    bench, exchange, client = asked()
    bench.feed(SSE_HEAD, chunk(ROLE))
    bench.connection.abort()
    assert bench.upstream.aborted
    assert exchange.ended is Ended.CANCELLED
    bench.lose()
    assert exchange.ended is Ended.CANCELLED


def test_a_replica_that_does_not_begin_in_time():
    bench, exchange, _ = asked(first_byte_timeout_s=5)
    bench.loop.advance(4.9)
    assert exchange.ended is None
    bench.loop.advance(0.2)
    assert exchange.ended is Ended.SLOW_FIRST_BYTE
    assert bench.upstream.aborted


@pytest.mark.parametrize("begun", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-", b"H"])
def test_a_replica_that_begins_and_falls_silent_within_its_head(begun):
    bench, exchange, _ = asked(first_byte_timeout_s=5, idle_timeout_s=5)
    bench.feed(begun)
    bench.loop.advance(60)
    assert exchange.ended in {Ended.SLOW_FIRST_BYTE, Ended.SLOW_IDLE}


def test_a_replica_that_falls_silent_within_its_answer():
    bench, exchange, _ = asked(first_byte_timeout_s=5, idle_timeout_s=2)
    for _ in range(3):
        bench.feed(SSE_HEAD if exchange.status == 0 else chunk(token("a")))
        bench.loop.advance(1.9)
    assert exchange.ended is None
    bench.loop.advance(0.2)
    assert exchange.ended is Ended.SLOW_IDLE


def test_an_idle_connection_has_no_timer():
    bench, exchange, _ = asked(first_byte_timeout_s=5, idle_timeout_s=2)
    bench.feed(SIZED + b"{    }")
    bench.loop.advance(100)
    assert exchange.ended is Ended.ANSWERED
    assert not bench.upstream.is_closing()


# -- backpressure


def congested(**timeouts):
    bench, exchange, client = asked(**timeouts)
    bench.feed(SSE_HEAD, chunk(token("a")))
    waiter = exchange.waiting()
    assert not waiter.done()
    client.stuck_bytes = HIGH_WATER_BYTES + 1
    bench.feed(chunk(token("b")))
    assert waiter.value is Signal.CONGESTED
    assert bench.upstream.paused
    return bench, exchange, client


def test_a_slow_client_stops_the_reading_and_a_caught_up_one_resumes_it():
    bench, exchange, client = congested()
    client.stuck_bytes = 0
    bench.connection.resume(exchange)
    assert not bench.upstream.paused
    waiter = exchange.waiting()
    bench.feed(chunk(DONE), LAST_CHUNK)
    assert waiter.value is Signal.ENDED
    assert decoded(client.written).body == token("a") + token("b") + DONE


def test_the_end_of_an_answer_leaves_the_connection_readable():
    bench, _, _ = congested()
    bench.feed(chunk(DONE) + LAST_CHUNK)
    assert bench.idle == [bench.connection]
    assert not bench.upstream.paused


def test_a_late_resume_does_not_touch_the_next_exchange():
    bench, exchange, _ = congested()
    bench.feed(chunk(DONE) + LAST_CHUNK)
    _, client = bench.ask()
    client.stuck_bytes = HIGH_WATER_BYTES + 1
    bench.feed(SSE_HEAD, chunk(token("a")))
    assert bench.upstream.paused
    bench.connection.resume(exchange)
    assert bench.upstream.paused


def test_a_slow_client_is_not_a_silent_replica():
    bench, exchange, _ = congested(idle_timeout_s=2)
    bench.loop.advance(60)
    assert exchange.ended is None


def test_a_replica_that_falls_silent_after_its_client_caught_up():
    bench, exchange, client = congested(idle_timeout_s=2)
    client.stuck_bytes = 0
    bench.connection.resume(exchange)
    bench.loop.advance(60)
    assert exchange.ended is Ended.SLOW_IDLE


def test_nothing_is_written_to_a_client_that_has_gone():
    bench, exchange, client = asked()
    bench.feed(SSE_HEAD, chunk(token("a")))
    client.aborted = True
    bench.feed(chunk(token("b")), chunk(DONE), LAST_CHUNK)
    assert exchange.ended is Ended.ANSWERED

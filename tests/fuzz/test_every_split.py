"""However a replica's answer is cut on the wire, the client gets the same, and the balancer understands the same."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.forwarding.exchange import Ended
from tests.fakes.replica import LAST_CHUNK, chunk
from tests.fakes.transport import Bench, bytewise, cut, decoded
from tests.fuzz.answers import ENDED, HEAD, OTHERS, STREAMS, ended_early

NAMED = pytest.mark.parametrize("name", STREAMS)


def relayed(pieces, **client):
    """What the client is given, what the balancer makes of it, and how often it was told of a first token."""
    bench = Bench()
    exchange, transport = bench.ask(**client)
    bench.feed(*pieces)
    if exchange.ended is None:
        bench.lose()
    assert exchange.ended is Ended.ANSWERED
    if not exchange.committed:
        exchange.commit()
    message = decoded(transport.written)
    assert (message.whole, message.surplus) == (True, b"")
    assert exchange.body_bytes >= len(message.body)
    scanner = exchange.scanner
    told = scanner and (exchange.usage(), scanner.events, bench.tokens, scanner.answer_id)
    return message, told


def framings(stream):
    """The same stream by chunk and event, in chunks that cut events, by length, and until the connection ends."""
    plain = HEAD.replace(b"Transfer-Encoding: chunked\r\n", b"")
    yield stream.raw
    pieces = cut(stream.body, range(0, len(stream.body), 17))
    yield HEAD + b"".join(map(chunk, pieces)) + LAST_CHUNK
    yield plain[:-2] + b"Content-Length: %d\r\n\r\n" % len(stream.body) + stream.body
    yield plain + stream.body


@NAMED
@pytest.mark.parametrize("framing", range(4))
def test_every_cut_of_a_stream_gives_the_same_client_bytes_usage_and_first_token(name, framing):
    stream = STREAMS[name]
    raw = next(itertools.islice(framings(stream), framing, None))
    told = (stream.usage, stream.output_events, stream.tokens, stream.id)
    cuts = [[raw], bytewise(raw), *([raw[:at], raw[at:]] for at in range(1, len(raw)))]
    first, _ = relayed([raw])
    for pieces in cuts:
        message, found = relayed(pieces)
        assert (message.status, message.headers, message.body) == (200, first.headers, stream.body)
        assert found == told, pieces[0][-20:]


@NAMED
@given(cuts=st.lists(st.integers(1, 2500), max_size=12), http11=st.booleans(), framing=st.integers(0, 3))
def test_any_cuts_of_a_stream_for_any_client(name, cuts, http11, framing):
    stream = STREAMS[name]
    raw = next(itertools.islice(framings(stream), framing, None))
    message, found = relayed(cut(raw, cuts), http11=http11)
    assert message.body == stream.body
    assert found == (stream.usage, stream.output_events, stream.tokens, stream.id)


@pytest.mark.parametrize("name", OTHERS)
def test_every_cut_of_a_plain_answer_gives_the_same_client_bytes(name):
    raw = OTHERS[name]
    whole, _ = relayed([raw])
    for pieces in (bytewise(raw), *([raw[:at], raw[at:]] for at in range(1, len(raw)))):
        message, _ = relayed(pieces)
        assert message == whole


@pytest.mark.parametrize("how", ENDED)
@pytest.mark.parametrize("tokens", [0, 2])
def test_every_cut_of_a_stream_that_tells_of_its_own_end_gives_whole_events_before_it_and_no_tidy_end(
    how, tokens
):
    stream = ended_early(how, tokens)
    raw = stream.raw
    before = stream.events[: tokens + 1]
    for pieces in ([raw], bytewise(raw), *([raw[:at], raw[at:]] for at in range(1, len(raw)))):
        bench = Bench()
        exchange, transport = bench.ask()
        bench.feed(*pieces)
        if not exchange.committed:  # nothing was given: another replica may do better
            assert (exchange.ended, exchange.retryable, transport.written) == (Ended.ANSWERED, True, b"")
            continue
        message = decoded(transport.written)
        whole_events = [b"".join(before[:count]) for count in range(1, len(before) + 1)]
        assert message.body in whole_events
        if exchange.ended is Ended.FAILED:
            assert message.body == whole_events[-1]
            exchange.break_off(b"data: lost\n\n")
            assert not decoded(transport.written).whole

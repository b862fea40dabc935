from balancer.forwarding.timing import Gaps
from tests.fakes.replica import DONE, LAST_CHUNK, ROLE, SSE_HEAD, USAGE, chunk, token
from tests.fakes.transport import Bench


def heard(*reads):
    seen = []
    gaps = Gaps(lambda gap_s, count: seen.append((gap_s, count)))
    for tokens, at_s in reads:
        gaps.heard(tokens, at_s)
    return seen


def test_the_first_token_has_no_gap():
    assert heard((0, 1.0)) == []
    assert heard((2, 1.0)) == []


def test_a_gap_is_shared_by_the_tokens_that_ended_it():
    assert heard((0, 1.0), (1, 1.5), (4, 3.0)) == [(0.5, 1), (0.5, 3)]


def test_a_read_without_a_token_ends_no_gap():
    assert heard((0, 1.0), (0, 1.5), (1, 3.0)) == [(2.0, 1)]


def test_of_a_stream_gaps_are_told_from_its_first_token_to_its_last():
    seen = []
    bench = Bench()
    exchange, _ = bench.ask(gaps=Gaps(lambda gap_s, count: seen.append(count)))
    bench.feed(SSE_HEAD, chunk(ROLE), chunk(b": wait\n\n"))
    assert seen == []
    bench.feed(chunk(token("a")))
    assert seen == []
    bench.feed(chunk(token("b")), chunk(token("c") + token("d")))
    assert seen == [1, 2]
    bench.feed(chunk(USAGE + DONE) + LAST_CHUNK)
    assert seen == [1, 2]
    assert exchange.ended is not None

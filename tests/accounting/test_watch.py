"""The last minute of answers: percentiles in bins, by second, and forgotten in time."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.accounting.record import Record
from balancer.accounting.watch import (
    BIN,
    LINGER_S,
    MOST_CANDIDATES,
    MOST_TEXT,
    WINDOW_S,
    Ttfts,
    Watch,
    Window,
)
from balancer.core.types import Candidate, Decision, ReplicaId, Usage

TIMES = st.floats(1e-3, 1e4)


def ended(at, ttft=None, *, status=200, replica="r", usage=None):
    record = Record(
        "/v1/chat/completions", at - 10.0, status=status, replica=replica, usage=usage, ended_at=at
    )
    record.token_at = None if ttft is None else record.arrived_at + ttft
    return record


def ranked(values, share):
    return sorted(values)[ceil(share * len(values)) - 1]


@given(st.lists(TIMES, min_size=1), st.lists(TIMES))
def test_percentiles_are_right_to_half_a_bin(values, others):
    ttfts, more = Ttfts(), Ttfts()
    for value in values:
        ttfts.add(value)
    for value in others:
        more.add(value)
    ttfts.take(more, 1)
    assert ttfts.count == len(values) + len(others)
    ttfts.take(more, -1)
    p50, p90 = ttfts.told()
    assert p50 == pytest.approx(ranked(values, 0.5), rel=BIN, abs=1e-4)
    assert p90 == pytest.approx(ranked(values, 0.9), rel=BIN, abs=1e-4)


def test_nothing_has_no_percentiles():
    assert Ttfts().told() is None
    ttfts = Ttfts()
    ttfts.add(1.0)
    assert ttfts.told() is not None
    ttfts.take(ttfts_of(1.0), -1)
    assert ttfts.told() is None


def ttfts_of(*values):
    found = Ttfts()
    for value in values:
        found.add(value)
    return found


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0.01, 5)), max_size=60), st.floats(0, 400))
def test_a_window_is_what_its_last_minute_was(answers, later):
    window = Window()
    answers = sorted(answers)
    for at, ttft in answers:
        window.add(ended(1000 + at, ttft))
    now = 1000 + max([at for at, _ in answers], default=0) + later
    kept = [ttft for at, ttft in answers if int(1000 + at) > int(now) - WINDOW_S]
    points = window.points(now)
    assert len(points) == WINDOW_S
    assert sum(each.answers for each in window.seconds(now)) == len(kept)
    assert [each is not None for each in points] == [
        any(int(1000 + at) == second for at, _ in answers)
        for second in range(int(now) - WINDOW_S + 1, int(now) + 1)
    ]
    found = window.ttft(now)
    if kept:
        assert found[1] == pytest.approx(ranked(kept, 0.9), rel=BIN, abs=1e-3)
    else:
        assert found is None


def test_what_a_second_counts():
    window = Window()
    window.add(ended(5.0, 0.1, usage=Usage(100, 7, 60)))
    window.add(ended(5.1, usage=Usage(50, 3)))
    window.add(ended(5.2, status=503))
    window.add(ended(5.3, status=404))
    (second,) = window.seconds(5.4)
    assert (second.answers, second.errors, second.output_tokens) == (2, 1, 10)
    assert (second.known_tokens, second.cached_tokens) == (100, 60)  # who does not tell counts for neither


def decision(candidates=()):
    return Decision(ReplicaId("r"), "cached", candidates=candidates)


def decided(watch, at, **more):
    record = Record("/v1/chat/completions", at, **more)
    record.sends(decision(), at)
    watch.decided(record, decision())
    return record


def test_who_stops_looking_ends_it():
    watch = Watch()
    watch.look(100.0)
    decided(watch, 100.0 + LINGER_S)
    assert (watch.on, watch.number) == (True, 1)
    decided(watch, 100.1 + LINGER_S)
    assert (watch.on, watch.number) == (False, 1)
    watch.look(500.0)
    assert (watch.on, watch.since_s, watch.since(0)) == (True, 500.0, [])


def test_a_retry_is_of_the_same_request():
    watch = Watch()
    watch.look(0.0)
    record = decided(watch, 1.0)
    other = decided(watch, 1.0)
    record.sends(decision(), 2.0)
    watch.decided(record, decision())
    for each in (other, record):
        each.ended_at, each.status = 3.0, 200
        watch.ended(each)
    told = [(each.kind, each.value["number"], each.value["request"]) for each in watch.since(0)]
    assert told == [
        ("decision", 1, 1),
        ("decision", 2, 2),
        ("decision", 3, 1),
        ("outcome", 2, 2),
        ("outcome", 3, 1),
    ]


def test_what_clients_say_is_cut_and_so_is_a_long_list():
    watch = Watch()
    watch.look(0.0)
    candidates = [Candidate(ReplicaId(f"r{number}"), float(number)) for number in range(100)]
    record = Record("/v1/chat/completions", 1.0, model="m" * 5000, tenant="t" * 5000)
    record.sends(decision(), 1.0)
    watch.decided(record, decision(candidates))
    (event,) = watch.since(0)
    assert (len(event.value["model"]), len(event.value["tenant"])) == (MOST_TEXT, MOST_TEXT)
    assert (len(event.value["candidates"]), event.value["candidates_in_all"]) == (MOST_CANDIDATES, 100)

"""The last minute of answers: percentiles in bins, by second, and forgotten in time."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.accounting.receipts import Receipts
from balancer.accounting.record import Record
from balancer.accounting.watch import (
    BIN,
    LINGER_S,
    WINDOW_S,
    Ttfts,
    Watch,
    Window,
)
from balancer.core.types import Usage

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


def receipts(*records, most=100):
    kept = Receipts(most)
    for number, record in enumerate(records):
        record.decision_id = f"d{number}"
        kept.begins(record)
        kept.ended(record)
    return kept


def test_who_stops_looking_ends_it():
    watch = Watch()
    assert not watch.on
    watch.look(100.0, receipts())
    watch.ended(ended(100.0 + LINGER_S, 1.0))
    assert watch.on
    watch.ended(ended(100.1 + LINGER_S, 1.0))
    assert not watch.on
    watch.look(500.0, receipts())
    assert (watch.on, watch.replicas, list(watch.total.seconds(500.0))) == (True, {}, [])


def test_it_begins_with_what_is_still_known():
    watch = Watch()
    before = [ended(at, 0.5, replica="a") for at in (30.0, 45.0, 99.0)]
    watch.look(100.0, receipts(*before))
    assert watch.since_s == 40.0  # all of that minute is known
    assert sum(each.answers for each in watch.total.seconds(100.0)) == 2
    assert watch.replicas["a"].ttft(100.0) is not None
    watch.ended(ended(100.0, 0.5, replica="b"))
    watch.look(101.0, receipts(*before))  # it goes on, and counts none of them twice
    assert sum(each.answers for each in watch.total.seconds(101.0)) == 3
    # of a minute whose beginning is forgotten no more is told
    few = Watch()
    few.look(100.0, receipts(*before[1:], ended(99.5, 0.5), most=2))
    assert few.since_s == 99.0
    none = Watch()
    none.look(100.0, receipts(*before, most=0))
    assert (none.since_s, none.total.ttft(100.0)) == (100.0, None)

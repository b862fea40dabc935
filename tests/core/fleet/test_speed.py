"""Speeds are learned from answers: right when they are plain, steady when some are odd, and anew when they change."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.core.fleet.meter import Passed
from balancer.core.fleet.speed import BUDGET_TOKENS, PRIOR, Coefficients, Siblings, Speed

SLOW = Coefficients(
    base=25e-3, prefill=180e-6, attention=4e-10, sequence=150e-6, context=80e-9, request=20e-3
)


def answer(speed, truth, rng, now, noise=0.05):
    """One request is prefilled there and decodes among others."""
    sequences, prefilled = rng.uniform(0, 60), rng.uniform(100, 9_000)
    context, attention = sequences * rng.uniform(500, 3_000), prefilled * rng.uniform(0, 10_000)
    step_s = truth.step_s(sequences, context)
    ttft_s = truth.request + (1 + prefilled / BUDGET_TOKENS) * step_s
    ttft_s += truth.prefill * prefilled + truth.attention * attention
    sent = Passed(ttft_s * rng.lognormvariate(0, noise), prefilled, attention, sequences, context)
    speed.saw_answer(sent, 1, now)
    tokens, others = rng.randrange(20, 400), rng.uniform(0, 20_000)
    decode_s = tokens * step_s + truth.prefill * others
    begun = Passed(decode_s * rng.lognormvariate(0, noise), others, 0.0, sequences, context)
    speed.saw_tokens(begun, tokens, now)


def taught(speed, truth, *, start_s=0.0, seconds=30.0, seed=1, noise=0.05):
    rng = random.Random(seed)
    now = start_s
    while now < start_s + seconds:
        now += rng.expovariate(4)
        answer(speed, truth, rng, now, noise)
    return now


def seconds_of(believed):
    """A request of 4,000 uncached tokens, and a step of 30 sequences of 1,500."""
    return believed.request + 4_000 * believed.prefill, believed.step_s(30, 45_000)


def test_what_is_learned_predicts():
    speed = Speed(Siblings(PRIOR))
    taught(speed, SLOW)
    assert seconds_of(speed.now) == pytest.approx(seconds_of(SLOW), rel=0.15)
    assert speed.error < 0.15


def test_outliers_hardly_count():
    speed = Speed(Siblings(PRIOR))
    now = taught(speed, SLOW)
    for _ in range(10):
        speed.saw_answer(Passed(60.0, 500, 0.0, 5, 5_000), 1, now)
    assert seconds_of(speed.now) == pytest.approx(seconds_of(SLOW), rel=0.3)


def test_a_gpu_that_throttles_is_followed_within_a_minute():
    speed = Speed(Siblings(PRIOR))
    now = taught(speed, SLOW)
    throttled = Coefficients(*(2 * x for x in SLOW))
    taught(speed, throttled, start_s=now, seconds=60.0)
    assert seconds_of(speed.now) == pytest.approx(seconds_of(throttled), rel=0.15)


def test_what_traffic_does_not_show_keeps_its_value():
    speed = Speed(Siblings(PRIOR))
    now = taught(speed, SLOW)
    for _ in range(400):  # for a long time nothing but short answers of a single sequence
        now += 0.5
        speed.saw_tokens(Passed(50 * SLOW.step_s(1, 500), 0.0, 0.0, 1, 500), 50, now)
    assert speed.now.prefill == pytest.approx(SLOW.prefill, rel=0.2)


def test_a_new_replica_begins_as_its_siblings_are():
    siblings = Siblings(PRIOR)
    known, idle = Speed(siblings), Speed(siblings)
    assert idle.now == PRIOR
    taught(known, SLOW)
    assert idle.now == known.now
    assert Speed(siblings).now == known.now
    known.leave()
    assert idle.now == PRIOR


def test_siblings_of_different_speed_stay_apart():
    siblings = Siblings(PRIOR)
    slow, fast = Speed(siblings), Speed(siblings)
    rng = random.Random(1)
    for step in range(200):
        answer(slow, SLOW, rng, step / 4)
        answer(fast, PRIOR, rng, step / 4)
    assert seconds_of(slow.now) == pytest.approx(seconds_of(SLOW), rel=0.2)
    assert seconds_of(fast.now) == pytest.approx(seconds_of(PRIOR), rel=0.2)


def test_one_that_once_seemed_slow_is_taken_for_its_siblings_in_time():
    siblings = Siblings(PRIOR)
    unlucky, other = Speed(siblings), Speed(siblings)
    taught(unlucky, Coefficients(*(5 * x for x in SLOW)), seconds=5.0)
    taught(other, SLOW)
    assert seconds_of(unlucky.believed(5.0))[0] > 3 * seconds_of(other.now)[0]
    ages = [seconds_of(unlucky.believed(now))[0] for now in (5.0, 30.0, 120.0)]
    assert ages == sorted(ages, reverse=True)
    assert ages[-1] == pytest.approx(seconds_of(other.now)[0], rel=0.05)


positive = st.floats(0, 1e6, allow_nan=False)


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e4), positive, positive, positive, positive, st.integers(1, 10_000)))
)
def test_whatever_is_seen_costs_stay_positive_and_finite(samples):
    speed = Speed(Siblings(PRIOR))
    for now, (seconds, prefilled, attention, sequences, context, tokens) in enumerate(samples):
        passed = Passed(seconds, prefilled, attention, sequences, context)
        speed.saw_answer(passed, 1, now)
        speed.saw_tokens(passed, tokens, now)
        speed.saw_answer(passed, tokens, now)
    assert all(0 < cost < float("inf") for cost in speed.now)

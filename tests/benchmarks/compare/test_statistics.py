"""Intervals cover what is true, differences are found where they are and not where they are not: seeded, so never by chance."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.compare import statistics
from benchmarks.compare.statistics import (
    LEAST,
    SLOTS,
    Interval,
    Percentile,
    PerSecond,
    Series,
    block_length,
    differs,
    interval,
    ratio,
    told,
)

P90 = Percentile(90)
SPREAD = 0.7
TRUE_P90 = float(np.exp(SPREAD * 1.2815516))


@pytest.fixture
def few_draws(monkeypatch):
    """Enough to tell an edge from the middle, many times over."""
    monkeypatch.setattr(statistics, "DRAWS", 200)


def queue(rng, count, memory):
    """A normal series in which each value remembers the one before it."""
    fresh = rng.normal(size=count) * np.sqrt(1 - memory * memory)
    values = np.empty(count)
    values[0] = rng.normal()
    for at in range(1, count):
        values[at] = memory * values[at - 1] + fresh[at]
    return values


def pair(rng, count, memory, times=1.0):
    """Two arms under the same load: most of what slows one slows the other."""
    common = queue(rng, count, memory)
    at_s = np.sort(rng.uniform(0, 100, count))
    arms = []
    for factor in (1.0, times):
        own = 0.8 * common + 0.6 * queue(rng, count, memory)
        arms.append(Series(at_s, factor * np.exp(SPREAD * own), 0.0, 100.0))
    return arms


def series(values, start_s=0.0, end_s=100.0):
    values = np.asarray(values, dtype=float)
    return Series(np.linspace(start_s, end_s, len(values), endpoint=False), values, start_s, end_s)


@pytest.mark.parametrize(("memory", "runs", "least"), [(0.0, 1, 0.88), (0.8, 3, 0.85), (0.9, 4, 0.85)])
def test_intervals_cover_the_truth_nearly_as_often_as_they_say(few_draws, memory, runs, least):
    rng = np.random.default_rng(7)
    covered = ratio_covered = 0
    trials = 40
    for _ in range(trials):
        pairs = [pair(rng, 400, memory, 1.2) for _ in range(runs)]
        ours, theirs = [b for _, b in pairs], [a for a, _ in pairs]
        alone, both = interval(theirs, P90), ratio(ours, theirs, P90)
        covered += alone.low <= TRUE_P90 <= alone.high
        ratio_covered += both.low <= 1.2 <= both.high
    assert covered / trials >= least
    assert ratio_covered / trials >= least


def test_requests_taken_as_independent_would_cover_far_less():
    """What the blocks are for: the same data, its memory shuffled away, promises too much."""
    rng = np.random.default_rng(3)
    runs = [Series(np.arange(2_000) / 20, np.exp(SPREAD * queue(rng, 2_000, 0.98)), 0.0, 100.0)]
    shuffled = [Series(runs[0].at_s, rng.permutation(runs[0].values), 0.0, 100.0)]
    kept, lost = interval(runs, P90), interval(shuffled, P90)
    assert kept.value == lost.value
    assert (kept.high - kept.low) > 2 * (lost.high - lost.low)


def test_pairs_see_a_difference_that_their_common_noise_hides():
    rng = np.random.default_rng(5)
    runs = [pair(rng, 800, 0.9, 1.25) for _ in range(3)]
    ours, theirs = [b for _, b in runs], [a for a, _ in runs]
    assert differs(ratio(ours, theirs, P90))
    alone = [interval(side, P90) for side in (ours, theirs)]
    assert alone[0].low < alone[1].high


def test_equal_arms_seldom_differ(few_draws):
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(40):
        runs = [pair(rng, 300, 0.9) for _ in range(3)]
        found += differs(ratio([b for _, b in runs], [a for a, _ in runs], P90))
    assert found <= 4


def test_values_are_numpys_percentile_and_the_sum_over_the_time():
    first, second = series(range(100)), series(range(100, 300), 50.0, 150.0)
    assert interval([first, second], P90).value == np.percentile(np.arange(300), 90)
    assert interval([first, second], PerSecond()).value == pytest.approx(np.arange(300).sum() / 200)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.001, 1_000), min_size=LEAST, max_size=60), st.floats(0.1, 10))
def test_a_scaled_copy_is_exactly_its_factor_whatever_the_noise(values, factor):
    theirs = series(values)
    ours = series(np.asarray(values) * factor)
    for statistic in (P90, PerSecond()):
        found = ratio([ours], [theirs], statistic)
        assert (found.value, found.low, found.high) == pytest.approx((factor, factor, factor))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.001, 1_000), min_size=LEAST, max_size=60), st.integers(1, 3))
def test_an_interval_lies_within_what_was_measured(values, runs):
    found = interval([series(values)] * runs, P90)
    assert min(values) <= found.low <= found.high <= max(values)


def test_too_little_has_no_interval_and_nothing_no_value():
    assert interval([series([])], P90) is None
    assert interval([series([1.0])], P90) == Interval(1.0)
    assert ratio([series([1.0])], [series([])], P90) is None
    assert ratio([series([1.0])], [series([0.0])], P90) is None
    assert ratio([series([2.0])], [series([1.0])], P90) == Interval(2.0)
    with pytest.raises(ValueError, match="ours: expected as many runs"):
        ratio([series([1.0])], [], P90)


def test_values_outside_the_time_count_in_its_first_and_last_slot():
    assert list(Series(np.array([-1.0, 0.0, 100.0, 101.0]), np.ones(4), 0.0, 100.0).slots) == [
        0,
        0,
        SLOTS - 1,
        SLOTS - 1,
    ]


def test_blocks_are_longer_where_memory_is_longer():
    rng = np.random.default_rng(2)
    lengths = [
        np.mean([block_length(queue(rng, SLOTS, memory)) for _ in range(20)])
        for memory in (0.0, 0.5, 0.8, 0.95)
    ]
    assert all(shorter < longer for shorter, longer in pairwise(lengths))
    assert lengths[0] < 3
    assert block_length(np.zeros(SLOTS)) == 1.0


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "not measured"),
        (Interval(1.0), "too few requests"),
        (Interval(0.9, 0.8, 1.01), "no difference"),
        (Interval(0.88, 0.81, 0.95), "12 % lower [5, 19]"),
        (Interval(1.3, 1.1, 1.5), "30 % higher [10, 50]"),
        (Interval(57.2, 40.0, 80.0), "57.2 x [40, 80]"),
    ],
)
def test_a_difference_in_words(found, words):
    assert told(found) == words

"""The sequential test errs in at most one of twenty tests, looked at after every single outcome, and finds what is there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.reports.sequential import Better, compare, comparisons, judge

RUNS = 300
LENGTH = 600

NO_DIFFERENCE = {
    "half": (lambda rng, n: (rng.random(n) < 0.5).astype(float), 0.5, Better.HIGHER),
    "rare failures": (lambda rng, n: (rng.random(n) < 0.97).astype(float), 0.5, Better.HIGHER),
    "stars": (
        lambda rng, n: rng.choice([0, 0.25, 0.5, 0.75, 1.0], n, p=[0.4, 0.1, 0.1, 0.1, 0.3]),
        0.5,
        Better.HIGHER,
    ),
    "small arm": (lambda rng, n: (rng.random(n) < 0.8).astype(float), 0.1, Better.HIGHER),
    "heavy tails": (lambda rng, n: rng.pareto(1.1, n), 0.5, Better.LOWER),
    "heavy tails, small arm": (lambda rng, n: rng.lognormal(0, 2, n), 0.1, Better.LOWER),
}


@pytest.mark.parametrize("case", NO_DIFFERENCE)
def test_looking_at_every_step_errs_in_one_of_twenty_at_most(case):
    outcomes, share, better = NO_DIFFERENCE[case]
    rng = np.random.default_rng(11)
    decided = missed = 0
    for _ in range(RUNS):
        verdict = compare(outcomes(rng, LENGTH), rng.random(LENGTH) < share, better)
        decided += verdict.decided  # at any step
        missed += not verdict.low <= 0 <= verdict.high
    assert decided / RUNS <= 0.05
    assert missed / RUNS <= 0.05


@pytest.mark.parametrize("difference", [0.1, -0.2])
def test_the_interval_holds_the_true_difference_at_all_looks(difference):
    rng = np.random.default_rng(12)
    missed = 0
    for _ in range(RUNS):
        first = rng.random(LENGTH) < 0.5
        outcomes = (rng.random(LENGTH) < np.where(first, 0.6 + difference, 0.6)).astype(float)
        verdict = compare(outcomes, first, Better.HIGHER)
        missed += not verdict.low <= difference <= verdict.high
    assert missed / RUNS <= 0.05


def test_it_finds_a_difference_and_says_when():
    rng = np.random.default_rng(13)
    first = rng.random(3000) < 0.5
    outcomes = (rng.random(3000) < np.where(first, 0.9, 0.75)).astype(float)
    verdict = compare(outcomes, first, Better.HIGHER)
    assert verdict.decided
    assert verdict.at < verdict.comparisons
    assert 0 < verdict.low < 0.15 < verdict.high
    assert verdict.e_value >= 20
    other = compare(outcomes, ~first, Better.HIGHER)
    assert (other.low, other.high) == pytest.approx((-verdict.high, -verdict.low), abs=1e-9)


def test_the_faster_arm_is_the_better_one_whatever_the_unit():
    rng = np.random.default_rng(14)
    first = rng.random(2000) < 0.5
    seconds = rng.lognormal(np.where(first, 0.0, 0.5), 1.0)
    verdict = compare(seconds, first, Better.LOWER)
    assert verdict.decided
    assert verdict.low > 0
    assert compare(seconds * 1000, first, Better.LOWER) == verdict


def test_without_two_arms_there_is_nothing_to_say():
    verdict = compare(np.ones(50), np.ones(50, bool), Better.HIGHER)
    assert (verdict.comparisons, verdict.low, verdict.high, verdict.decided) == (0, -1.0, 1.0, False)


def test_a_comparison_is_made_as_soon_as_both_have_something():
    outcomes = np.array([1.0, 0.0, 1.0, 0.5, 0.25])
    first = np.array([True, True, False, False, True])
    assert comparisons(outcomes, first, Better.HIGHER).tolist() == [-0.5, -0.25]
    assert comparisons(outcomes, first, Better.LOWER).tolist() == [0.5, 1.0]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_more_outcomes_only_narrow_the_interval(rows):
    outcomes = np.array([each for each, _ in rows], float)
    first = np.array([each for _, each in rows], bool)
    found = comparisons(outcomes, first, Better.HIGHER)
    assert np.all(np.abs(found) <= 1)
    before = judge(found[: found.size // 2])
    after = judge(found)
    assert -1 <= after.low <= after.high <= 1
    assert after.e_value >= before.e_value
    if (after.low, after.high) != (-1.0, 1.0):
        assert before.low <= after.low + 1e-9
        assert after.high <= before.high + 1e-9

"""Inverse propensity weighting finds the truth that the log hides, its intervals hold it, and it knows when it can't."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from balancer.reports.weighting import LEAST, as_served, of_tier, weigh, wilson


def logged(rng, conversations, share, turns=3):
    """(ratings, strong served, propensity, cluster, truth of all-strong, truth of all-weak); hard ones go to the strong tier."""
    difficulty = rng.random(conversations)
    preferred = difficulty + rng.normal(0, 0.15, conversations) > 0.7
    explored = rng.random(conversations) < share
    strong = np.where(explored, rng.random(conversations) < 0.5, preferred)
    propensity = share / 2 + (1 - share) * (strong == preferred)
    q_strong, q_weak = 0.95 - 0.1 * difficulty, 0.95 - 0.6 * difficulty
    agree = rng.random((conversations, 1))
    luck = np.where(rng.random((conversations, turns)) < 0.5, agree, rng.random((conversations, turns)))
    ratings = (luck < np.where(strong, q_strong, q_weak)[:, None]).astype(float).ravel()
    cluster = np.repeat(np.arange(conversations), turns)
    return ratings, np.repeat(strong, turns), np.repeat(propensity, turns), cluster, 0.9, 0.65


def estimates(seed, conversations=1500, share=0.3):
    ratings, strong, p, cluster, all_strong, all_weak = logged(
        np.random.default_rng(seed), conversations, share
    )
    a = of_tier(ratings, strong, np.where(strong, p, 1 - p), cluster, conversations)
    b = of_tier(ratings, ~strong, np.where(strong, 1 - p, p), cluster, conversations)
    return a, b, all_strong, all_weak, ratings[strong].mean()


def test_it_finds_what_plain_means_do_not():
    found = [estimates(seed) for seed in range(100)]
    strong = np.mean([each[0].value for each in found])
    weak = np.mean([each[1].value for each in found])
    assert strong == pytest.approx(0.9, abs=0.005)
    assert weak == pytest.approx(0.65, abs=0.01)
    assert np.mean([each[4] for each in found]) < 0.885  # the strong tier had the hard ones


@pytest.mark.parametrize(("conversations", "share"), [(1500, 0.3), (3000, 0.1), (400, 1.0)])
def test_its_intervals_hold_the_truth_as_often_as_they_say(conversations, share):
    held = {"strong": 0, "weak": 0, "difference": 0}
    runs = 300
    for seed in range(runs):
        a, b, all_strong, all_weak, _ = estimates(1000 + seed, conversations, share)
        for name, each, truth in (
            ("strong", a.estimate(), all_strong),
            ("weak", b.estimate(), all_weak),
            ("difference", a.minus(b), all_strong - all_weak),
        ):
            assert each.enough
            held[name] += each.low <= truth <= each.high
    for name, count in held.items():
        assert count / runs >= 0.91, (name, held)  # 95 % less three standard errors


def test_requests_of_a_conversation_do_not_count_as_independent():
    ratings, _, _, cluster, _, _ = logged(np.random.default_rng(5), 200, 1.0, turns=10)
    clustered = as_served(ratings, cluster, 200).estimate()
    apart = as_served(ratings, np.arange(ratings.size), ratings.size).estimate()
    assert clustered.value == apart.value
    assert clustered.high - clustered.low > 1.4 * (apart.high - apart.low)


def test_too_little_evidence_gives_no_interval():
    for seed in range(50):
        a, b, *_ = estimates(seed, conversations=200, share=0.02)
        # a tier had few of those that went to the other, or by bad luck none, and then nothing in what it had would tell
        assert max(a.effective, b.effective) < LEAST
        assert not a.estimate().enough
        assert not a.minus(b).enough


def test_nothing_served_is_no_estimate():
    nothing = np.zeros(5)
    assert of_tier(nothing, np.zeros(5, bool), np.ones(5), np.arange(5), 5) is None
    assert weigh(nothing[:0], nothing[:0], np.arange(0), 0) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1), st.integers(0, 4)), min_size=1, max_size=40))
def test_an_estimate_lies_among_the_outcomes(rows):
    outcome, p, cluster = (np.array(each) for each in zip(*rows, strict=True))
    found = of_tier(outcome, np.ones(len(rows), bool), p, cluster, 5)
    assert outcome.min() - 1e-9 <= found.value <= outcome.max() + 1e-9
    assert found.effective <= len(set(cluster.tolist())) + 1e-9
    estimate = found.estimate(least=3)
    if estimate.enough:
        assert 0 <= estimate.low <= found.value + 1e-9
        assert found.value - 1e-9 <= estimate.high <= 1


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662), (10, 10, 0.7225, 1.0)],
)
def test_wilson(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=2e-4)
    assert wilson(0, 0) == (0.0, 1.0)

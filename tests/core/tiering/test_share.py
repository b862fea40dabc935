"""The share that goes to the stronger tier, whatever the scores are."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.core.tiering.share import FEWEST, OLD_S, Calibrated, Fixed, Floor, ShareKeeper, cut_of
from balancer.core.tiering.types import QualityFloor, StrongShare, Threshold

SCORES = {
    "even": lambda rng, _: rng.random(),
    "low": lambda rng, _: rng.betavariate(1, 9),
    "high": lambda rng, _: rng.betavariate(9, 1),
    "all alike": lambda rng, _: 0.5,
    "all 0": lambda rng, _: 0.0,
    "all 1": lambda rng, _: 1.0,
    "two values": lambda rng, _: float(rng.random() < 0.4),
    "steps": lambda rng, _: round(rng.random(), 1),
    "drifting": lambda rng, n: min(1.0, 0.3 * rng.betavariate(2, 2) + n / 6000),
    "jumping up": lambda rng, n: 0.1 * rng.random() + (0.9 if n >= 2000 else 0.0),
    "jumping down": lambda rng, n: 0.1 * rng.random() + (0.0 if n >= 2000 else 0.9),
}


def sent_up(keeper, scores, draws=None, start_s=0.0):
    """Which of these went up, one a tenth of a second; by comparison alone where there are no draws."""
    sent = []
    for number, score in enumerate(scores):
        now = start_s + 0.1 * number
        chance = keeper.chance(score, now) if draws else float(score >= keeper.threshold(now))
        strong = (draws() if draws else 0.5) < chance
        keeper.add(score, now, strong=strong)
        sent.append(strong)
    return sent


def share(sent):
    return sum(sent) / len(sent)


@pytest.mark.parametrize("drawn", [True, False], ids=["drawn", "compared"])
@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_the_share_is_held_whatever_the_scores_are(scores, drawn):
    rng = Random(1)
    sent = sent_up(ShareKeeper(0.3), [scores(rng, n) for n in range(8000)], rng.random if drawn else None)
    for first in (2000, 4000, 6000):
        assert share(sent[first : first + 2000]) == pytest.approx(0.3, abs=0.03)


@settings(max_examples=25, deadline=None)
@given(
    asked=st.floats(0.0, 1.0),
    values=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20),
    seed=st.integers(0, 999),
)
def test_any_share_of_any_few_values(asked, values, seed):
    rng = Random(seed)
    sent = sent_up(ShareKeeper(asked), [rng.choice(values) for _ in range(4000)], rng.random)
    assert share(sent[2000:]) == pytest.approx(asked, abs=0.03)


def test_what_is_sent_up_by_others_is_paid_back():
    """A third of the requests goes up whatever its score is: of the rest fewer do."""
    keeper, rng, sent = ShareKeeper(0.5), Random(2), []
    for number in range(6000):
        score, now = rng.random(), 0.1 * number
        strong = number % 3 == 0 or rng.random() < keeper.chance(score, now)
        keeper.add(score, now, strong=strong)
        sent.append(strong)
    assert share(sent[2000:]) == pytest.approx(0.5, abs=0.02)
    free = [strong for number, strong in enumerate(sent) if number % 3 and number >= 2000]
    assert share(free) == pytest.approx(0.25, abs=0.02)


def test_more_than_the_share_by_rules_alone_leaves_nothing_to_the_scores_and_is_soon_forgiven():
    keeper, rng = ShareKeeper(0.3), Random(3)
    for number in range(3000):
        keeper.add(rng.random(), 0.1 * number, strong=True)
    assert keeper.chance(0.999, 300.0) == 0.0
    sent = sent_up(keeper, [rng.random() for _ in range(4000)], rng.random, start_s=300.0)
    assert share(sent[2000:]) == pytest.approx(0.3, abs=0.03)


def test_requests_without_a_score_count():
    keeper, rng, sent = ShareKeeper(0.4), Random(4), []
    for number in range(6000):
        now = 0.1 * number
        unknown = number % 4 == 0
        score = rng.random()
        strong = unknown or rng.random() < keeper.chance(score, now)
        keeper.add(None if unknown else score, now, strong=strong)
        sent.append(strong)
    assert share(sent[2000:]) == pytest.approx(0.4, abs=0.02)


def test_a_request_that_was_moved_counts_where_it_went():
    keeper = ShareKeeper(0.3)
    before = keeper.threshold(0.0)
    for _ in range(60):
        keeper.add(None, 0.0, strong=False)
        keeper.moved(1)
    assert keeper.threshold(0.0) > before


def test_before_anything_was_seen_scores_are_percentiles():
    assert ShareKeeper(0.3).threshold(0.0) == pytest.approx(0.7, abs=0.02)


def test_memory_is_bounded():
    keeper, rng = ShareKeeper(0.3, window=500), Random(5)
    for number in range(2000):
        keeper.add(rng.random(), 0.1 * number)
    assert "500 scores" in repr(keeper)


def test_old_scores_are_forgotten_but_for_a_few():
    keeper = ShareKeeper(0.3)
    for number in range(1000):
        keeper.add(0.9, 0.01 * number)
    keeper.add(0.1, 10.0 + OLD_S)
    assert f"{FEWEST} scores" in repr(keeper)


def test_an_old_debt_is_forgotten():
    keeper = ShareKeeper(0.3)
    for _ in range(100):
        keeper.add(None, 0.0, strong=True)
    owing, later = keeper.threshold(0.0), keeper.threshold(20 * OLD_S)
    assert owing > later
    assert later == pytest.approx(0.7, abs=0.03)


def test_a_threshold_is_what_it_says():
    cut = Fixed(0.7)
    cut.add(0.9, 0.0, strong=True)
    cut.moved(1)
    assert [cut.chance(score, 0.0) for score in (0.69, 0.7, 0.71)] == [0.0, 1.0, 1.0]


def test_a_floor_sends_up_what_is_as_hard_as_what_calibration_sent_up():
    """Harder traffic than that of calibration: more than its share goes up."""
    keeper, rng = Floor(Calibrated(share=0.4, score=0.6)), Random(6)
    hard = [0.5 + 0.5 * rng.random() for _ in range(4000)]
    assert share(sent_up(keeper, hard, rng.random)[2000:]) == pytest.approx(0.8, abs=0.03)
    easy = [0.5 * rng.random() for _ in range(6000)]
    assert share(sent_up(keeper, easy, rng.random, start_s=400.0)[4000:]) == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize(
    ("target", "calibrated", "first", "second"),
    [
        (StrongShare(0.3), None, 0.7, 0.91),
        (Threshold(0.7), None, 0.7, 0.91),
        (QualityFloor(0.95), Calibrated(0.5, 0.6), 0.5, 0.75),
        (QualityFloor(0.95), None, 0.0, 0.0),
    ],
)
def test_each_step_passes_the_same_share_of_what_came_so_far(target, calibrated, first, second):
    assert cut_of(target, 1, calibrated).threshold(0.0) == pytest.approx(first, abs=0.02)
    assert cut_of(target, 2, calibrated).threshold(0.0) == pytest.approx(second, abs=0.02)


def test_without_calibration_a_floor_is_kept_by_the_strong_tier_alone():
    cut = cut_of(QualityFloor(0.95))
    assert [cut.chance(score, 0.0) for score in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
